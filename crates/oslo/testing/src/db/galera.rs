//! A Galera cluster for tests: MariaDB servers that replicate to each other, each on a loopback address of its own with
//! the usual ports, so that nothing has to be guessed to be free.

use super::mariadbd;
use crate::server::{missing, program};
use base::{Error, Result};
use oslo_db::{Db, Options};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The servers of a cluster; all take writes. Killed when dropped.
pub struct Galera {
    folder: PathBuf,
    /// The middle of 127.x.y.n.
    net: (u8, u8),
    /// What the servers become when root starts them.
    user: &'static str,
    nodes: Vec<Option<Child>>,
}

impl Galera {
    /// Starts a cluster of so many nodes; without the packages the error says what to install.
    pub async fn start(nodes: usize) -> Result<Galera> {
        let id = base::new_hex_id();
        let byte = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).unwrap_or(1) % 250 + 1;
        let folder = std::env::temp_dir().join(format!("gal-{id}"));
        let mut cluster = Galera {
            net: (byte(0), byte(2)),
            user: if is_root() { "mysql" } else { "root" },
            folder,
            nodes: (0..nodes).map(|_| None).collect(),
        };
        for node in 0..nodes {
            // The first makes the system tables, the others are given everything by a state transfer.
            std::fs::create_dir_all(cluster.path(node).join("data"))?;
            std::fs::create_dir_all(cluster.path(node).join("tmp"))?;
        }
        super::install(&cluster.path(0))?;
        if cluster.user != "root" {
            // As in production: the daemon of a state transfer would become nobody if root started it.
            let owner = format!("{}:", cluster.user);
            let done = program("chown")
                .args(["-R", &owner])
                .arg(&cluster.folder)
                .status()?;
            if !done.success() {
                return Err(Error::internal(
                    "the folders of a Galera cluster keep their owner",
                ));
            }
        }
        cluster.launch(0, &["--wsrep-new-cluster"])?;
        cluster.wait_ready(0).await?;
        for node in 1..nodes {
            cluster.launch(node, &[])?;
            cluster.wait_ready(node).await?;
        }
        Ok(cluster)
    }

    /// The address of a node; it listens on port 3306.
    pub fn address(&self, node: usize) -> String {
        format!("127.{}.{}.{}", self.net.0, self.net.1, node + 1)
    }

    /// The urls of a new, empty database, through each node.
    pub async fn database(&self) -> Result<Vec<String>> {
        let name = format!("test_{}", base::new_hex_id());
        let urls: Vec<_> = (0..self.nodes.len())
            .map(|node| format!("mysql://root@{}:3306/{name}", self.address(node)))
            .collect();
        for url in &urls {
            // Through all of them, because each must have seen it.
            oslo_db::create_database(url).await?;
        }
        Ok(urls)
    }

    /// Stops a node as a crash would.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a killed node again, which takes what it missed from the others.
    pub async fn restart(&mut self, node: usize) -> Result<()> {
        self.kill(node);
        let position = self.recover(node)?;
        let start = position.map(|p| format!("--wsrep-start-position={p}"));
        self.launch(node, &start.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.wait_ready(node).await
    }

    /// Starts all again after all were killed: first the node that has the most, which begins the cluster anew.
    pub async fn restart_all(&mut self) -> Result<()> {
        let mut newest = (0, -1);
        for node in 0..self.nodes.len() {
            self.kill(node);
            let position = self.recover(node)?.unwrap_or_default();
            let seqno = position.rsplit(':').next().and_then(|s| s.parse().ok());
            if let Some(seqno) = seqno.filter(|s| *s > newest.1) {
                newest = (node, seqno);
            }
        }
        let first = newest.0;
        let state = self.path(first).join("data/grastate.dat");
        let text = std::fs::read_to_string(&state)?;
        std::fs::write(
            &state,
            text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"),
        )?;
        // Each remembers the view it was last in and would wait for the others in it.
        let _ = std::fs::remove_file(self.path(first).join("data/gvwstate.dat"));
        self.launch(first, &["--wsrep-new-cluster"])?;
        self.wait_ready(first).await?;
        for node in (0..self.nodes.len()).filter(|n| *n != first) {
            self.restart(node).await?;
        }
        Ok(())
    }

    /// Up to where a stopped node has the cluster's history: `UUID:NUMBER`.
    fn recover(&self, node: usize) -> Result<Option<String>> {
        let log = self.path(node).join("recover.log");
        let _ = std::fs::remove_file(&log);
        self.command(node)
            .arg("--wsrep-recover")
            .arg(format!("--log-error={}", log.display()))
            .output()
            .map_err(|e| missing("mariadbd", "mariadb-server", &e))?;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let found = text.rsplit_once("Recovered position:");
        Ok(found.and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_string)))
    }

    fn path(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node{}", node + 1))
    }

    fn command(&self, node: usize) -> std::process::Command {
        let (dir, address) = (self.path(node), self.address(node));
        let all: Vec<_> = (0..self.nodes.len()).map(|n| self.address(n)).collect();
        let mut command = program(mariadbd());
        command
            .env("TMPDIR", dir.join("tmp"))
            .args(["--no-defaults", "--skip-log-bin", "--skip-name-resolve"])
            .arg(format!("--user={}", self.user))
            .arg(format!("--datadir={}", dir.join("data").display()))
            .arg(format!("--socket={}", dir.join("socket").display()))
            .arg(format!("--pid-file={}", dir.join("pid").display()))
            .arg(format!("--bind-address={address}"))
            .args(["--port=3306", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"])
            .args(["--innodb-flush-log-at-trx-commit=2", "--performance-schema=OFF"])
            .args(["--max-connections=1000", "--wsrep-on=ON", "--wsrep-slave-threads=2"])
            .arg("--wsrep-provider=/usr/lib/galera/libgalera_smm.so")
            .arg(format!("--wsrep-cluster-name=test-{}-{}", self.net.0, self.net.1))
            .arg(format!("--wsrep-cluster-address=gcomm://{}", all.join(",")))
            .arg(format!("--wsrep-node-name=node{}", node + 1))
            .arg(format!("--wsrep-node-address={address}"))
            .arg(format!("--wsrep-node-incoming-address={address}:3306"))
            .arg("--wsrep-sst-method=rsync")
            .arg(format!("--wsrep-sst-receive-address={address}:4444"))
            .arg(format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://{address}:4567;ist.recv_addr={address}:4568;\
                 gcache.size=32M;evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;\
                 evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S"
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn launch(&mut self, node: usize, more: &[&str]) -> Result<()> {
        let child = self
            .command(node)
            .args(more)
            .arg(format!(
                "--log-error={}",
                self.path(node).join("node.log").display()
            ))
            .spawn()
            .map_err(|e| missing("mariadbd", "mariadb-server", &e))?;
        self.nodes[node] = Some(child);
        Ok(())
    }

    /// Waits until a node has all that the others have and answers.
    async fn wait_ready(&mut self, node: usize) -> Result<()> {
        let options = Options {
            pool_size: 1,
            pool_timeout: Duration::from_millis(100),
            ..Options::default()
        };
        let url = format!("mysql://root@{}:3306/mysql", self.address(node));
        let db = Db::open_with(&url, options).await?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while db.ping().await.is_err() {
            let ended = match &mut self.nodes[node] {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended || Instant::now() > deadline {
                let log =
                    std::fs::read_to_string(self.path(node).join("node.log")).unwrap_or_default();
                let errors: Vec<_> = log.lines().filter(|l| l.contains("[ERROR]")).collect();
                return Err(Error::internal(format!(
                    "a Galera node does not start: install the packages galera-4 and rsync (Debian); it said: {}",
                    errors.join("\n")
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        db.close().await;
        Ok(())
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

impl Drop for Galera {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
