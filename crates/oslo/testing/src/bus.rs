//! Buses for tests: a private RabbitMQ broker, started from the installed package and gone with the test.

use crate::port;
use crate::server::{missing, program};
use base::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A RabbitMQ broker of one's own. Killed when dropped.
pub struct RabbitMq {
    broker: Option<Child>,
    epmd: Child,
    folder: PathBuf,
    ports: [u16; 4],
}

/// PEM files of a broker that speaks TLS and wants to see its clients' certificates.
pub struct BrokerTls<'a> {
    /// Whom it trusts.
    pub ca: &'a Path,
    /// What it shows.
    pub cert: &'a Path,
    /// The key of that.
    pub key: &'a Path,
}

impl RabbitMq {
    /// Starts a broker; without the package the error says what to install.
    pub async fn start() -> Result<RabbitMq> {
        RabbitMq::configured("").await
    }

    /// A broker with virtual hosts of these names beside `/`, each a world of its own.
    pub async fn with_vhosts(names: &[String]) -> Result<RabbitMq> {
        let quoted = |name: &String| format!(r#"{{"name":"{name}"}}"#);
        let may = |name: &String| {
            format!(
                r#"{{"user":"guest","vhost":"{name}","configure":".*","write":".*","read":".*"}}"#
            )
        };
        let list =
            |item: &dyn Fn(&String) -> String| names.iter().map(item).collect::<Vec<_>>().join(",");
        let definitions = format!(
            r#"{{"users":[{{"name":"guest","tags":"administrator","limits":{{}},
                "hashing_algorithm":"rabbit_password_hashing_sha256","password_hash":"{GUEST}"}}],
                "vhosts":[{}],"permissions":[{}]}}"#,
            list(&quoted),
            list(&may)
        );
        let file = std::env::temp_dir().join(format!("rmq-{}.json", base::new_hex_id()));
        std::fs::write(&file, definitions)?;
        let broker =
            RabbitMq::configured(&format!("load_definitions = {}\n", file.display())).await;
        std::fs::remove_file(&file)?;
        broker
    }

    /// A broker that listens with TLS as well; see [`RabbitMq::tls_url`].
    pub async fn with_tls(files: BrokerTls<'_>) -> Result<RabbitMq> {
        let lines = format!(
            "ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
             listeners.ssl.1 = 127.0.0.1:PORT\n",
            files.ca.display(),
            files.cert.display(),
            files.key.display()
        );
        RabbitMq::configured(&lines).await
    }

    async fn configured(lines: &str) -> Result<RabbitMq> {
        let folder = std::env::temp_dir().join(format!("rmq-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder)?;
        let ports = [port::free()?, port::free()?, port::free()?, port::free()?];
        let lines = lines.replace("PORT", &ports[3].to_string());
        std::fs::write(folder.join("rabbitmq.conf"), lines)?;
        // Erlang's name service would outlive the broker if the broker started it.
        let epmd = program("epmd")
            .args(["-port", &ports[2].to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| missing("epmd", "rabbitmq-server", &e))?;
        let mut server = RabbitMq {
            broker: None,
            epmd,
            folder,
            ports,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts the broker again after [`RabbitMq::kill`], with the data and the port it had.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let in_folder = |name: &str| self.folder.join(name);
        let [port, dist, epmd, _] = self.ports.map(|p| p.to_string());
        let broker = program("/usr/lib/rabbitmq/bin/rabbitmq-server")
            .env("HOME", &self.folder)
            .env("RABBITMQ_NODENAME", format!("test{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port)
            .env("RABBITMQ_DIST_PORT", dist)
            .env("ERL_EPMD_PORT", epmd)
            .env("RABBITMQ_MNESIA_BASE", in_folder("data"))
            .env("RABBITMQ_LOG_BASE", in_folder("log"))
            .env("RABBITMQ_PID_FILE", in_folder("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", in_folder("plugins"))
            .env("RABBITMQ_CONFIG_FILE", in_folder("rabbitmq.conf"))
            // The script becomes the broker instead of watching it, so that it can be killed; it ends with its input.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| missing("rabbitmq-server", "rabbitmq-server", &e))?;
        let broker = self.broker.insert(broker);
        let deadline = Instant::now() + Duration::from_secs(90);
        while std::net::TcpStream::connect(("127.0.0.1", self.ports[0])).is_err() {
            if broker.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(Error::internal("rabbitmq-server does not start"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The `transport_url` of the broker.
    pub fn url(&self) -> String {
        format!("rabbit://guest:guest@127.0.0.1:{}/", self.ports[0])
    }

    /// The `transport_url` of one of its virtual hosts.
    pub fn vhost_url(&self, name: &str) -> String {
        format!("{}{name}", self.url())
    }

    /// The `transport_url` of its TLS listener.
    pub fn tls_url(&self) -> String {
        format!("rabbits://guest:guest@localhost:{}/", self.ports[3])
    }

    /// Stops the broker as a crash would; its data stays for [`RabbitMq::restart`].
    pub fn kill(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            // Both fail only when it is gone already.
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `guest`, salted and hashed as the broker wants it: with definitions of our own it makes no user by itself.
const GUEST: &str = "kI3GCrswBLNZQzHJJ95QLoyfAVooYhnvf7jbqiW9BjOYUloe";
