//! Caches for tests: a private Memcached, started from the installed package and gone with the test.

use crate::port;
use base::{Error, Result};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Memcached of one's own. Killed when dropped.
pub struct Memcached {
    child: Option<Child>,
    port: u16,
}

impl Memcached {
    /// Starts a server; without the package the error says what to install.
    pub async fn start() -> Result<Memcached> {
        // A port that was free a moment ago; if somebody took it meanwhile, another is tried.
        let mut outcome = Err(Error::internal("memcached does not start"));
        for _ in 0..5 {
            let port = port::free()?;
            let mut server = Memcached { child: None, port };
            outcome = server.restart().await.map(|()| server);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Starts the server again after [`Memcached::kill`], empty, on the port it had.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let port = self.port.to_string();
        let child = program("memcached")
            .args(["-l", "127.0.0.1", "-p", &port])
            .args(["-U", "0", "-u", "root", "-m", "16"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| missing(&e))?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(Error::internal("memcached does not start"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What `[cache] memcache_servers` wants: `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the server as a crash would; what it held is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own server; privsep is for the cloud's programs"
)]
fn program(name: &str) -> Command {
    Command::new(name)
}

fn missing(error: &std::io::Error) -> Error {
    Error::internal(format!(
        "cannot start memcached ({error}): install the package memcached (Debian, Fedora) to run this test"
    ))
}
