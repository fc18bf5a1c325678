//! Storage daemons: one `qemu-storage-daemon` per connection, found again after a crash of ours, started again after one
//! of its own, and never twice.
//!
//! A record on disk says which shall run; `/proc` says which do. The mark in the daemon's own command line joins the two,
//! so there is no moment at which one runs that nobody knows.

use base::{Error, Result, Secret, id::named_id};
use host_privsep::{Privsep, Program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A daemon that is asked to end flushes what it holds; one that cannot, for its other end is away, is killed.
const GRACE: Duration = Duration::from_secs(3);
const READY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(1);
const RECORD: &str = "record.json";

/// RFC 7919's group of 2048 bits: without one, GnuTLS makes its own for minutes.
const DH_PARAMS: &str = "-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
";

/// Where one daemon has its things.
pub(crate) struct Place {
    pub folder: PathBuf,
    pub socket: PathBuf,
    /// Its name among all daemons of the machine.
    pub mark: String,
}

/// How one is started.
pub(crate) struct Start {
    pub args: Vec<OsString>,
    pub file: Option<OwnedFd>,
}

pub(crate) type Starter = fn(&Place, &Value) -> Result<Start>;

/// The daemons of one kind on one host.
#[derive(Clone)]
pub(crate) struct Daemons {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    prefix: String,
    privsep: Privsep,
    /// One change at a time.
    busy: Mutex<()>,
}

impl Daemons {
    pub fn new(folder: &Path, kind: &str, owner: &str, privsep: Privsep) -> Daemons {
        // The daemons start elsewhere; and clouds beside each other on one machine must not end each other's.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let cloud = named_id(&format!("{owner} {}", folder.display()));
        let inner = Inner {
            folder,
            prefix: format!("{kind}-{}-", &cloud[..8]),
            privsep,
            busy: Mutex::default(),
        };
        Daemons {
            inner: Arc::new(inner),
        }
    }

    pub fn socket(&self, key: &str) -> PathBuf {
        self.inner.place(key).socket
    }

    /// The records, by key.
    pub async fn records(&self) -> Result<HashMap<String, Value>> {
        self.inner.records().await
    }

    /// Writes the record and starts the daemon, unless both are so already.
    pub async fn ensure(
        &self,
        key: &str,
        record: &Value,
        psk: (&str, &Secret),
        starter: Starter,
    ) -> Result<()> {
        let _one = self.inner.busy.lock().await;
        let place = self.inner.place(key);
        if self.inner.record(key).await?.as_ref() != Some(record) {
            self.inner.finish(&place.mark).await?;
            write(&place, record, psk).await?;
        }
        self.inner.start(&place, record, starter).await
    }

    /// Ends the daemon: when this returns, nothing reads or writes through it any more.
    pub async fn end(&self, key: &str) -> Result<()> {
        let _one = self.inner.busy.lock().await;
        let place = self.inner.place(key);
        // Without its record nobody starts it again; the folder goes last, so that this can be repeated.
        match tokio::fs::remove_file(place.folder.join(RECORD)).await {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        self.inner.finish(&place.mark).await?;
        match tokio::fs::remove_dir_all(&place.folder).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Ends all daemons; their records stay, so that they come back.
    pub async fn stop(&self) -> Result<()> {
        let _one = self.inner.busy.lock().await;
        for mark in self.inner.running().await?.into_keys() {
            self.inner.finish(&mark).await?;
        }
        Ok(())
    }

    /// Starts what has a record and does not run, ends what runs and has none; says how many that were.
    pub async fn reconcile(&self, starter: Starter) -> Result<u64> {
        self.inner.reconcile(starter).await
    }

    /// Does that every second, until the last clone is gone.
    pub fn keep(&self, starter: Starter) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut complaint = String::new();
            while let Some(inner) = inner.upgrade() {
                let words = match inner.reconcile(starter).await {
                    Ok(_) => String::new(),
                    Err(error) => error.to_string(),
                };
                if words != complaint && !words.is_empty() {
                    tracing::warn!(error = %words, "a storage daemon could not be started; it is tried again");
                }
                complaint = words;
                drop(inner);
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

impl Inner {
    fn place(&self, key: &str) -> Place {
        let folder = self.folder.join(key);
        Place {
            socket: folder.join("sock"),
            folder,
            mark: format!("{}{key}", self.prefix),
        }
    }

    async fn record(&self, key: &str) -> Result<Option<Value>> {
        match tokio::fs::read(self.place(key).folder.join(RECORD)).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn records(&self) -> Result<HashMap<String, Value>> {
        let mut found = HashMap::new();
        let mut entries = match tokio::fs::read_dir(&self.folder).await {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(e.into()),
        };
        while let Some(entry) = entries.next_entry().await? {
            if let Ok(key) = entry.file_name().into_string()
                && let Some(record) = self.record(&key).await?
            {
                found.insert(key, record);
            }
        }
        Ok(found)
    }

    async fn start(&self, place: &Place, record: &Value, starter: Starter) -> Result<()> {
        if self.running().await?.contains_key(&place.mark) {
            return Ok(());
        }
        let start = starter(place, record)?;
        let (ready, log) = (place.folder.join("pid"), place.folder.join("log"));
        let _ = tokio::fs::remove_file(&ready).await;
        let mut command = self
            .privsep
            .command(Program::QemuStorageDaemon)
            .args(start.args);
        command = command.arg("--pidfile").arg(&ready);
        if let Some(file) = start.file {
            command = command.file(file);
        }
        command.spawn_daemon(&log).await?;
        let limit = Instant::now() + READY;
        let mut seen = false;
        // It writes its process id once all is open.
        while !tokio::fs::try_exists(&ready).await? {
            let runs = self.running().await?.contains_key(&place.mark);
            if (seen && !runs) || Instant::now() > limit {
                let log = tokio::fs::read_to_string(&log).await.unwrap_or_default();
                let last = log.trim().lines().last().unwrap_or("").to_string();
                return Err(
                    Error::unavailable("The volume's export could not be reached.").log(last),
                );
            }
            seen |= runs || Instant::now() + READY > limit + Duration::from_secs(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracing::info!(daemon = %place.mark, "a storage daemon serves");
        Ok(())
    }

    /// Ends all processes of that mark, and waits until they are gone.
    async fn finish(&self, mark: &str) -> Result<()> {
        let begun = Instant::now();
        let mut signal = Signal::SIGTERM;
        while let Some(pids) = self.running().await?.remove(mark) {
            if begun.elapsed() > GRACE {
                signal = Signal::SIGKILL;
            }
            for pid in pids {
                // Gone meanwhile is as good.
                let _ = kill(Pid::from_raw(pid), signal);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Processes of ours, by mark.
    async fn running(&self) -> Result<HashMap<String, Vec<i32>>> {
        let prefix = format!("id={}", self.prefix);
        let look = move || marks(&prefix);
        tokio::task::spawn_blocking(look)
            .await
            .map_err(Error::internal)?
    }

    async fn reconcile(&self, starter: Starter) -> Result<u64> {
        let (records, running) = (self.records().await?, self.running().await?);
        let (mut changed, mut failed) = (0, None);
        for key in records.keys() {
            let place = self.place(key);
            if running.contains_key(&place.mark) {
                continue;
            }
            // One at a time: a daemon that waits for a host that is away holds up nobody else for long.
            let _one = self.busy.lock().await;
            let Some(record) = self.record(key).await? else {
                continue;
            };
            match self.start(&place, &record, starter).await {
                Ok(()) => changed += 1,
                Err(error) => failed = Some(error),
            }
        }
        for mark in running.keys() {
            let key = mark.strip_prefix(&self.prefix).unwrap_or("");
            let _one = self.busy.lock().await;
            if self.record(key).await?.is_none() {
                tracing::warn!(daemon = %mark, "ending a storage daemon that nobody wants");
                self.finish(mark).await?;
                changed += 1;
            }
        }
        failed.map_or(Ok(changed), Err)
    }
}

async fn write(place: &Place, record: &Value, (user, key): (&str, &Secret)) -> Result<()> {
    let folder = place.folder.clone();
    let keys = format!("{user}:{}\n", key.expose());
    let record = serde_json::to_vec(record)?;
    let write = move || -> std::io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder)?;
        let files: [(&str, &[u8]); 3] = [
            ("dh-params.pem", DH_PARAMS.as_bytes()),
            ("keys.psk", keys.as_bytes()),
            // Last, and at once: a record means that the rest is there.
            (RECORD, &record),
        ];
        for (name, bytes) in files {
            let fresh = folder.join(format!("{name}.new"));
            let mut options = std::fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            std::io::Write::write_all(&mut options.open(&fresh)?, bytes)?;
            std::fs::rename(fresh, folder.join(name))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(write)
        .await
        .map_err(Error::internal)??;
    Ok(())
}

/// The marks that begin with `prefix` in the command lines of storage daemons.
fn marks(prefix: &str) -> Result<HashMap<String, Vec<i32>>> {
    let mut found: HashMap<String, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
        else {
            continue;
        };
        // Empty for one that has ended and waits to be reaped.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        let mut args = line.split('\0');
        if !args
            .next()
            .is_some_and(|a| a.ends_with(Program::QemuStorageDaemon.name()))
        {
            continue;
        }
        let mark = args
            .flat_map(|a| a.split(','))
            .find(|p| p.starts_with(prefix));
        if let Some(mark) = mark.and_then(|m| m.strip_prefix("id=")) {
            found.entry(mark.to_string()).or_default().push(pid);
        }
    }
    Ok(found)
}
