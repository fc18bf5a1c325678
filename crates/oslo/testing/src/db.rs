//! Databases for tests: a private MariaDB server, started from the installed package and gone with the test.

use base::{Error, Result};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A MariaDB server of one's own, on a unix socket in a temporary folder. Killed when dropped.
pub struct MariaDb {
    child: Child,
    folder: PathBuf,
}

impl MariaDb {
    /// Starts a server; without the package the error says what to install.
    pub async fn start() -> Result<MariaDb> {
        let folder = std::env::temp_dir().join(format!("mdb-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder)?;
        let data = format!("--datadir={}", folder.join("data").display());
        let install = program("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .args([
                "--skip-test-db",
                "--skip-name-resolve",
                "--user=root",
                &data,
            ])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| missing("mariadb-install-db", &e))?;
        if !install.status.success() {
            let words = String::from_utf8_lossy(&install.stderr).into_owned();
            return Err(Error::internal(format!(
                "mariadb-install-db failed: {words}"
            )));
        }
        let socket = folder.join("socket");
        let mariadbd = match PathBuf::from("/usr/sbin/mariadbd") {
            path if path.exists() => path,
            _ => PathBuf::from("mariadbd"),
        };
        let child = program(mariadbd)
            .args([
                "--no-defaults",
                "--user=root",
                "--skip-networking",
                "--skip-log-bin",
                &data,
            ])
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M",
            ])
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--performance-schema=OFF",
                "--max-connections=1000",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| missing("mariadbd", &e))?;
        let mut server = MariaDb { child, folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let dead = server.child.try_wait()?;
            if dead.is_some() || Instant::now() > deadline {
                return Err(Error::internal("mariadbd does not start"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// The url of a new, empty database on this server.
    pub async fn database(&self) -> Result<String> {
        let name = format!("test_{}", base::new_hex_id());
        let socket = self.folder.join("socket");
        let url = format!("mysql://root@localhost/{name}?socket={}", socket.display());
        oslo_db::create_database(&url).await?;
        Ok(url)
    }

    /// What `[database] connection` wants: the url of a set of new databases, with `%s` for a service's name.
    pub fn template(&self) -> String {
        let socket = self.folder.join("socket");
        let id = base::new_hex_id();
        format!(
            "mysql://root@localhost/c{}_%s?socket={}",
            &id[..8],
            socket.display()
        )
    }

    /// Stops the server for good, as a crash would.
    pub fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own server; privsep is for the cloud's programs"
)]
fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

fn missing(program: &str, error: &std::io::Error) -> Error {
    Error::internal(format!(
        "cannot start {program} ({error}): install the package mariadb-server (Debian, Fedora) to run this test"
    ))
}

/// A folder for database files, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty folder.
    pub fn new() -> Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("db-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Scratch(folder))
    }

    /// The url of the SQLite file of that name in it.
    pub fn sqlite(&self, name: &str) -> String {
        format!("sqlite://{}", self.0.join(name).display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
