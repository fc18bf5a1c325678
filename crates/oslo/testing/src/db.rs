//! Databases for tests: a private MariaDB server, started from the installed package and gone with the test.

mod galera;

pub use galera::Galera;

use crate::server::{missing, program};
use base::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A MariaDB server of one's own, on a unix socket in a temporary folder. Killed when dropped.
pub struct MariaDb {
    child: Option<Child>,
    folder: PathBuf,
}

impl MariaDb {
    /// Starts a server; without the package the error says what to install.
    pub async fn start() -> Result<MariaDb> {
        let folder = std::env::temp_dir().join(format!("mdb-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder)?;
        install(&folder)?;
        let mut server = MariaDb {
            child: None,
            folder,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts the server again after [`MariaDb::kill`], with the data and the socket it had.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let socket = self.folder.join("socket");
        // What a killed server left; with it there a client would be refused rather than wait.
        let _ = std::fs::remove_file(&socket);
        let data = format!("--datadir={}", self.folder.join("data").display());
        let child = program(mariadbd())
            .env("TMPDIR", &self.folder)
            .args([
                "--no-defaults",
                "--user=root",
                "--skip-networking",
                "--skip-log-bin",
                &data,
            ])
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", self.folder.join("pid").display()))
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M",
            ])
            .args([
                "--innodb-flush-log-at-trx-commit=2",
                "--performance-schema=OFF",
                "--max-connections=1000",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| missing("mariadbd", "mariadb-server", &e))?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(Error::internal("mariadbd does not start"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
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

    /// Stops the server as a crash would; its data stays for [`MariaDb::restart`].
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes the system tables in `folder`/data.
fn install(folder: &Path) -> Result<()> {
    let install = program("mariadb-install-db")
        // Each clears what it takes for its own leftovers there.
        .env("TMPDIR", folder)
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg("--user=root")
        .arg(format!("--datadir={}", folder.join("data").display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| missing("mariadb-install-db", "mariadb-server", &e))?;
    if install.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&install.stderr).into_owned();
    Err(Error::internal(format!(
        "mariadb-install-db failed: {words}"
    )))
}

fn mariadbd() -> PathBuf {
    match PathBuf::from("/usr/sbin/mariadbd") {
        path if path.exists() => path,
        _ => PathBuf::from("mariadbd"),
    }
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
