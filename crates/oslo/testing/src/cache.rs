//! Caches for tests: a private Memcached, started from the installed package and gone with the test.

use crate::port;
use crate::server::{Server, program};
use base::{Error, Result};
use std::time::Duration;

/// A Memcached of one's own. Killed when dropped.
pub struct Memcached {
    server: Server,
    port: u16,
}

impl Memcached {
    /// Starts a server; without the package the error says what to install.
    pub async fn start() -> Result<Memcached> {
        // A port that was free a moment ago; if somebody took it meanwhile, another is tried.
        let mut outcome = Err(Error::internal("memcached does not start"));
        for _ in 0..5 {
            let port = port::free()?;
            let mut server = Memcached {
                server: Server::default(),
                port,
            };
            outcome = server.restart().await.map(|()| server);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Starts the server again after [`Memcached::kill`], empty, on the port it had.
    pub async fn restart(&mut self) -> Result<()> {
        let port = self.port.to_string();
        let mut command = program("memcached");
        command
            .args(["-l", "127.0.0.1", "-p", &port])
            .args(["-U", "0", "-u", "root", "-m", "16"]);
        let patience = Duration::from_secs(10);
        self.server
            .start(&mut command, "memcached", self.port, patience)
            .await
    }

    /// What `[cache] memcache_servers` wants: `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the server as a crash would; what it held is lost.
    pub fn kill(&mut self) {
        self.server.kill();
    }
}
