//! What a cloud stands on: MariaDB, RabbitMQ and Memcached, private ones, gone with this process.

use anyhow::{Context, Result, anyhow};
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// All three.
pub struct Servers {
    database: MariaDb,
    broker: RabbitMq,
    _memcached: Child,
    /// `[database] connection`.
    pub template: String,
    /// `[DEFAULT] transport_url`.
    pub transport_url: String,
    /// `[cache] memcache_servers`.
    pub memcached: String,
}

impl Servers {
    pub async fn start() -> Result<Servers> {
        let words = |e: base::Error| anyhow!("{}", e.log_message());
        let database = MariaDb::start().await.map_err(words)?;
        let broker = RabbitMq::start().await.map_err(words)?;
        let (child, memcached) = memcached().await?;
        Ok(Servers {
            template: database.template(),
            transport_url: broker.url(),
            database,
            broker,
            _memcached: child,
            memcached,
        })
    }

    /// Ends them; the folders of the first two go with them.
    pub fn stop(mut self) {
        self.broker.kill();
        self.database.kill();
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the benchmark's own server; privsep is for the cloud's programs"
)]
async fn memcached() -> Result<(Child, String)> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let child = Command::new("memcached")
        .args(["-l", "127.0.0.1", "-U", "0", "-u", "root", "-m", "64", "-p"])
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("memcached; install the package memcached")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        anyhow::ensure!(Instant::now() < deadline, "memcached does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((child, address))
}
