//! The far end: volumes of this host, each exported to one other host over NBD with TLS and a key of its own.

use crate::daemon::{Daemons, Place, Start};
use base::{Error, Result, Secret};
use host_privsep::Privsep;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A volume for one attachment.
#[derive(Clone, Debug)]
pub struct Export {
    /// The attachment: letters, digits and hyphens.
    pub key: String,
    /// The volume.
    pub volume_id: String,
    /// Its file, raw.
    pub path: String,
    /// Whether the other host must not write.
    pub read_only: bool,
}

/// Exports of this host. Each is a process that outlives us, and is started again when it ends by itself.
#[derive(Clone)]
pub struct Target {
    daemons: Daemons,
    address: String,
    ports: std::ops::RangeInclusive<u16>,
}

impl Target {
    /// Listens on `address`, on ports of `ports`; papers are kept in `folder`; `owner` is the backend's name.
    pub fn new(
        folder: &Path,
        owner: &str,
        address: &str,
        ports: std::ops::RangeInclusive<u16>,
        privsep: Privsep,
    ) -> Target {
        Target {
            daemons: Daemons::new(folder, "export", owner, privsep),
            address: address.to_string(),
            ports,
        }
    }

    /// Starts again what ended by itself, for as long as this exists. Needs a runtime.
    pub fn keep(&self) {
        self.daemons.keep(server);
    }

    /// Brings back what should be served and is not; says how many daemons were started or ended.
    pub async fn reconcile(&self) -> Result<u64> {
        self.daemons.reconcile(server).await
    }

    /// Serves a volume; `{driver_volume_type, data}`. Repeating it gives the same answer.
    pub async fn create(&self, export: &Export) -> Result<Value> {
        if export.key.is_empty() || !crate::plain(&export.key) {
            return Err(Error::bad_request(
                "an attachment's id has letters, digits and hyphens",
            ));
        }
        let records = self.daemons.records().await?;
        let (port, psk) = match records.get(&export.key) {
            Some(known) => (
                known["port"].as_u64().unwrap_or(0) as u16,
                Secret::new(known["psk"].as_str().unwrap_or("")),
            ),
            None => {
                let used: HashSet<u64> = records
                    .values()
                    .filter_map(|r| r["port"].as_u64())
                    .collect();
                let two = [base::new_hex_id(), base::new_hex_id()];
                (self.free_port(&used).await?, Secret::new(two.concat()))
            }
        };
        let record = json!({"volume_id": export.volume_id, "path": export.path, "address": self.address, "port": port,
            "psk": psk.expose(), "read_only": export.read_only});
        self.daemons
            .ensure(&export.key, &record, (&export.key, &psk), server)
            .await?;
        Ok(json!({"driver_volume_type": "nbd", "data": {
            "host": self.address, "port": port, "export": export.volume_id, "format": "raw",
            "access_mode": if export.read_only { "ro" } else { "rw" }, "volume_id": export.volume_id,
            "encrypted": false, "tls_username": export.key, "tls_psk": psk.expose()}}))
    }

    /// Ends the processes; the next start of the host's agent brings the exports back.
    pub async fn stop(&self) -> Result<()> {
        self.daemons.stop().await
    }

    /// Ends an export. When this returns, nobody reads or writes through it any more.
    pub async fn remove(&self, key: &str) -> Result<()> {
        if key.is_empty() || !crate::plain(key) {
            return Ok(());
        }
        self.daemons.end(key).await
    }

    /// Ends all exports of a volume.
    pub async fn remove_volume(&self, volume_id: &str) -> Result<()> {
        for (key, record) in self.daemons.records().await? {
            if record["volume_id"] == volume_id {
                self.daemons.end(&key).await?;
            }
        }
        Ok(())
    }

    /// The attachments that are served.
    pub async fn list(&self) -> Result<Vec<String>> {
        Ok(self.daemons.records().await?.into_keys().collect())
    }

    async fn free_port(&self, used: &HashSet<u64>) -> Result<u16> {
        for port in self
            .ports
            .clone()
            .filter(|p| !used.contains(&u64::from(*p)))
        {
            if listen(&self.address, port).is_ok() {
                return Ok(port);
            }
        }
        Err(Error::unavailable(
            "No port is left for another export of a volume.",
        ))
    }
}

/// QEMU's server does not set TCP_NODELAY, but connections take it over from the socket they arrive at: without it,
/// each small read waits 40 ms for an acknowledgement.
fn listen(address: &str, port: u16) -> Result<OwnedFd> {
    let ip = address.parse().map_err(|_| {
        Error::bad_request(format!("[cinder_volume] my_ip: '{address}' is no address"))
    })?;
    let at = SocketAddr::new(ip, port);
    let socket = match at {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(at)?;
    Ok(socket.listen(16)?.into_std()?.into())
}

fn server(place: &Place, record: &Value) -> Result<Start> {
    let text = |key: &str| record[key].as_str().unwrap_or("").replace(',', ",,");
    let port = record["port"].as_u64().unwrap_or(0) as u16;
    let socket = listen(&text("address"), port)?;
    let (writable, read_only) = match record["read_only"] == true {
        true => ("off", "on"),
        false => ("on", "off"),
    };
    let args = [
        "--object".to_string(),
        format!(
            "tls-creds-psk,id=tls0,endpoint=server,dir={}",
            place.folder.display()
        ),
        "--blockdev".to_string(),
        format!(
            "driver=file,node-name=volume,filename={},discard=unmap,read-only={read_only}",
            text("path")
        ),
        "--nbd-server".to_string(),
        format!(
            "addr.type=fd,addr.str={},tls-creds=tls0",
            socket.as_raw_fd()
        ),
        "--export".to_string(),
        format!(
            "type=nbd,id={},node-name=volume,name={},writable={writable}",
            place.mark,
            text("volume_id")
        ),
    ];
    Ok(Start {
        args: args.into_iter().map(Into::into).collect(),
        file: Some(socket),
    })
}
