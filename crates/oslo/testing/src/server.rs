//! A program that listens on a port of this machine, started by a test and gone with it.

use base::{Error, Result};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program, while it runs. Killed when dropped.
#[derive(Default)]
pub(crate) struct Server(Option<Child>);

impl Server {
    /// Starts it instead of what ran before, and waits until somebody listens on `port`. `package` is where it comes
    /// from.
    pub(crate) async fn start(
        &mut self,
        command: &mut Command,
        package: &str,
        port: u16,
        patience: Duration,
    ) -> Result<()> {
        self.kill();
        command.stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = self
            .0
            .insert(child.map_err(|e| missing(package, package, &e))?);
        let deadline = Instant::now() + patience;
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(Error::internal(format!("{package} does not start")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program by its name or path.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own server; privsep is for the cloud's programs"
)]
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

/// What to do about a program that is not there.
pub(crate) fn missing(program: &str, package: &str, error: &std::io::Error) -> Error {
    Error::internal(format!(
        "cannot start {program} ({error}): install the package {package} to run this test"
    ))
}
