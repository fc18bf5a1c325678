//! From cinder's connection info to a disk of this host, and back.
//!
//! Answers to os-brick. The protocols that are known are listed in [`Source`]; a volume of another type is
//! refused in words that name it.

mod daemon;
mod target;

pub use target::{Export, Target};

use base::{Error, Result, Secret};
use daemon::Daemons;
use host_privsep::Privsep;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How a volume's bytes are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or block device of this host.
    Path(PathBuf),
    /// An NBD export.
    Nbd {
        /// Host, or path of a Unix socket that begins with `/`.
        host: String,
        /// TCP port; 0 with a Unix socket.
        port: u16,
        /// The export's name.
        export: String,
        /// The name and key with which the export is asked for, over TLS.
        psk: Option<(String, Secret)>,
    },
}

/// A volume as a hypervisor opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDevice {
    /// Where its bytes are.
    pub source: Source,
    /// `raw` or `qcow2`; always said, never guessed from bytes that a guest has written.
    pub format: String,
    /// Whether it is a block device (not a file).
    pub block: bool,
    /// Whether the guest must not write.
    pub read_only: bool,
    /// What the guest may do at most, by QEMU's names for it (`total_iops_sec`).
    pub limits: Vec<(&'static str, u64)>,
}

impl LocalDevice {
    /// Its path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) => Some(path),
            Source::Nbd { .. } => None,
        }
    }
}

/// This host's end of its volumes.
///
/// A hypervisor speaks no TLS with keys of its own per volume, so each volume that comes over TLS has a storage daemon on
/// this host too: it asks the export with its key and gives the hypervisor a Unix socket. It outlives us, and whatever
/// happens at the other end, it asks again until the export is back: guests wait.
#[derive(Clone)]
pub struct Brick {
    daemons: Daemons,
}

impl Brick {
    /// Keeps its daemons' papers in `folder`; `owner` is this host's name.
    pub fn new(folder: &Path, owner: &str, privsep: Privsep) -> Brick {
        Brick {
            daemons: Daemons::new(folder, "proxy", owner, privsep),
        }
    }

    /// Starts again what ended by itself, for as long as this exists. Needs a runtime.
    pub fn keep(&self) {
        self.daemons.keep(proxy);
    }

    /// Makes the volume reachable from this host. Repeating it is harmless.
    pub async fn connect(&self, connection_info: &Value) -> Result<LocalDevice> {
        let device = parse(connection_info)?;
        if let Some(path) = device.path() {
            let path = path.to_path_buf();
            let meta = tokio::fs::metadata(&path).await.map_err(|e| {
                Error::not_found("The volume's data was not found on this host.")
                    .log(format!("{}: {e}", path.display()))
            })?;
            let block = std::os::unix::fs::FileTypeExt::is_block_device(&meta.file_type());
            return Ok(LocalDevice { block, ..device });
        }
        let Source::Nbd {
            port,
            export,
            psk: Some((user, key)),
            host,
        } = &device.source
        else {
            return Ok(device);
        };
        let record = json!({"host": host, "port": port, "export": export, "user": user,
            "read_only": device.read_only});
        self.daemons
            .ensure(user, &record, (user, key), proxy)
            .await?;
        let source = Source::Nbd {
            host: self.daemons.socket(user).display().to_string(),
            port: 0,
            export: export.clone(),
            psk: None,
        };
        Ok(LocalDevice { source, ..device })
    }

    /// Undoes [`Brick::connect`]. Repeating it is harmless.
    pub async fn disconnect(&self, connection_info: &Value) -> Result<()> {
        match parse(connection_info)?.source {
            Source::Nbd {
                psk: Some((user, _)),
                ..
            } => self.daemons.end(&user).await,
            _ => Ok(()),
        }
    }
}

/// How long guests wait for an export that is away, in seconds; longer than a storage host takes to come back.
pub const RECONNECT_DELAY: u32 = 3600;

/// The daemon between an export and the hypervisor.
fn proxy(place: &daemon::Place, record: &Value) -> Result<daemon::Start> {
    let text = |key: &str| record[key].as_str().unwrap_or("").replace(',', ",,");
    let writable = if record["read_only"] == true {
        "off"
    } else {
        "on"
    };
    let (folder, socket) = (place.folder.display(), place.socket.display());
    let socket_file = place.socket.clone();
    // What an earlier daemon left would keep the next one from listening.
    let _ = std::fs::remove_file(socket_file);
    Ok(daemon::Start {
        args: [
            "--object".to_string(),
            format!("tls-creds-psk,id=tls0,endpoint=client,dir={folder},username={}", text("user")),
            "--blockdev".to_string(),
            format!(
                "driver=nbd,node-name=far,server.type=inet,server.host={},server.port={},export={},tls-creds=tls0,\
                 reconnect-delay={RECONNECT_DELAY},open-timeout=5,read-only={}",
                text("host"),
                record["port"],
                text("export"),
                if writable == "on" { "off" } else { "on" }
            ),
            "--nbd-server".to_string(),
            format!("addr.type=unix,addr.path={socket}"),
            "--export".to_string(),
            format!(
                "type=nbd,id={},node-name=far,name={},writable={writable}",
                place.mark,
                text("export")
            ),
        ]
        .into_iter()
        .map(Into::into)
        .collect(),
        file: None,
    })
}

/// What may stand in a file of keys and in an option of QEMU.
fn plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The size of the volume now, bytes; asked after cinder has extended it.
pub async fn size(device: &LocalDevice) -> Result<Option<u64>> {
    match device.path() {
        Some(path) if device.format == "raw" && !device.block => {
            Ok(Some(tokio::fs::metadata(path).await?.len()))
        }
        _ => Ok(None),
    }
}

/// Reads connection info without touching the host.
pub fn parse(connection_info: &Value) -> Result<LocalDevice> {
    let kind = connection_info["driver_volume_type"].as_str().unwrap_or("");
    let data = &connection_info["data"];
    let text = |key: &str| data[key].as_str().filter(|t| !t.is_empty());
    let missing =
        |key: &str| Error::bad_request(format!("connection info of type {kind} lacks {key}"));
    let source = match kind {
        "local" | "file" => {
            let path = text("path")
                .or_else(|| text("device_path"))
                .ok_or_else(|| missing("path"))?;
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(Error::bad_request(
                    "the volume's path is not absolute and plain",
                ));
            }
            Source::Path(path.into())
        }
        "nbd" => {
            let host = text("host")
                .or_else(|| text("socket"))
                .ok_or_else(|| missing("host"))?;
            let port = data["port"].as_u64().and_then(|p| u16::try_from(p).ok());
            if port.is_none() && !host.starts_with('/') {
                return Err(missing("port"));
            }
            let export = text("export").unwrap_or("").to_string();
            let psk = match (text("tls_username"), text("tls_psk")) {
                (Some(user), Some(key)) => Some((user.to_string(), Secret::new(key))),
                _ => None,
            };
            if psk
                .as_ref()
                .is_some_and(|(user, key)| !plain(user) || !plain(key.expose()))
            {
                return Err(Error::bad_request(
                    "the key of the volume's export is no key",
                ));
            }
            Source::Nbd {
                host: host.into(),
                port: port.unwrap_or(0),
                export,
                psk,
            }
        }
        other => {
            let words = format!("Volumes of type '{other}' cannot be attached on this host.");
            return Err(Error::bad_request(words).class("InvalidVolumeType"));
        }
    };
    let format = text("format").unwrap_or("raw");
    if !matches!(format, "raw" | "qcow2") {
        return Err(Error::bad_request(format!(
            "a volume of format '{format}' cannot be attached"
        )));
    }
    let read_only = text("access_mode") == Some("ro");
    Ok(LocalDevice {
        source,
        format: format.into(),
        block: false,
        read_only,
        limits: limits(&data["qos_specs"])?,
    })
}

/// What QEMU can limit.
const LIMITS: &[&str] = &[
    "total_bytes_sec",
    "read_bytes_sec",
    "write_bytes_sec",
    "total_iops_sec",
    "read_iops_sec",
    "write_iops_sec",
    "total_bytes_sec_max",
    "read_bytes_sec_max",
    "write_bytes_sec_max",
    "total_iops_sec_max",
    "read_iops_sec_max",
    "write_iops_sec_max",
    "size_iops_sec",
];

/// The limits among what cinder says of a volume's quality; words that QEMU does not know are somebody else's.
fn limits(specs: &Value) -> Result<Vec<(&'static str, u64)>> {
    let mut out = Vec::new();
    for name in LIMITS {
        let limit = match &specs[*name] {
            Value::Null => continue,
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        let limit = limit.ok_or_else(|| {
            Error::bad_request(format!(
                "the volume's limit {name} is not a whole number: {}",
                specs[*name]
            ))
        })?;
        out.push((*name, limit));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_are_read_and_other_words_left() {
        let info = |specs: Value| json!({"driver_volume_type": "local", "data": {"path": "/a", "qos_specs": specs}});
        let limits = |specs| parse(&info(specs)).map(|d| d.limits);
        let known = json!({"write_iops_sec": "20", "total_bytes_sec": 1000, "colour": "red"});
        assert_eq!(
            limits(known).unwrap(),
            [("total_bytes_sec", 1000), ("write_iops_sec", 20)]
        );
        assert_eq!(limits(Value::Null).unwrap(), []);
        assert!(limits(json!({"total_iops_sec": "many"})).is_err());
    }

    #[tokio::test]
    async fn files_are_found_or_missed() {
        let path = std::env::temp_dir().join(format!("brick-{}", std::process::id()));
        let info = json!({"driver_volume_type": "local", "data": {"path": path, "format": "raw"}});
        let brick = Brick::new(&std::env::temp_dir(), "h", Privsep::new());
        assert!(brick.connect(&info).await.unwrap_err().is_not_found());
        std::fs::write(&path, [0; 1024]).unwrap();
        let device = brick.connect(&info).await.unwrap();
        assert_eq!(device.path(), Some(path.as_path()));
        assert_eq!(size(&device).await.unwrap(), Some(1024));
        brick.disconnect(&info).await.unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_attached_says_so() {
        for info in [
            json!({}),
            json!({"driver_volume_type": "iscsi", "data": {}}),
            json!({"driver_volume_type": "local", "data": {}}),
            json!({"driver_volume_type": "local", "data": {"path": "relative"}}),
            json!({"driver_volume_type": "local", "data": {"path": "/a/../etc/shadow"}}),
            json!({"driver_volume_type": "local", "data": {"path": "/a", "format": "vmdk"}}),
            json!({"driver_volume_type": "nbd", "data": {"host": "h"}}),
            json!({"driver_volume_type": "nbd", "data": {"host": "h", "port": 1, "tls_username": "../x", "tls_psk": "0"}}),
        ] {
            assert_eq!(
                parse(&info).unwrap_err().kind(),
                base::Kind::BadRequest,
                "{info}"
            );
        }
    }
}
