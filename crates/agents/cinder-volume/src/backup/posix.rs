//! Objects as files below one folder, which may be a share that all storage hosts see: 0600, written under another name
//! and renamed when they are whole.

use super::store::{BackupStore, missing};
use async_trait::async_trait;
use base::{Error, Result};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PARTIAL: &str = ".partial";

/// A folder.
pub struct Posix {
    root: PathBuf,
}

impl Posix {
    /// The folder is made with the first backup.
    pub fn new(root: &Path) -> Posix {
        Posix {
            root: root.to_path_buf(),
        }
    }

    fn path(&self, container: &str, name: &str) -> PathBuf {
        self.root.join(container).join(name)
    }
}

/// Files are slow; nothing else waits for them.
async fn off<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| Error::internal("an object without a folder"))?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path);
    let file = opened.map_err(|e| match e.kind() {
        ErrorKind::NotFound => missing(&path.display().to_string()),
        _ => e.into(),
    })?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(super::store::damaged(
            &path.display().to_string(),
            "larger than it may be",
        ));
    }
    Ok(bytes)
}

fn remove(root: &Path, path: &Path) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    for path in [Path::new(&partial), path] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    // Folders that are empty now go too; the first that is not ends it.
    let folders = path.ancestors().skip(1);
    for folder in folders.take_while(|f| *f != root && f.starts_with(root)) {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

fn list(folder: &Path, beginning: &str, parent: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(beginning)) else {
            continue;
        };
        // What was half written goes with what it would have become.
        let name = name.strip_suffix(PARTIAL).unwrap_or(name);
        names.push(match parent {
            "" => name.to_string(),
            parent => format!("{parent}/{name}"),
        });
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[async_trait]
impl BackupStore for Posix {
    fn service(&self) -> &'static str {
        "cinder.backup.drivers.posix.PosixBackupDriver"
    }

    fn container(&self, backup_id: &str) -> String {
        format!("{:.2}/{:.2}/{backup_id}", backup_id, &backup_id[2..])
    }

    async fn put(&self, container: &str, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.path(container, name);
        off(move || write(&path, &bytes)).await
    }

    async fn get(&self, container: &str, name: &str, most: u64) -> Result<Vec<u8>> {
        let path = self.path(container, name);
        off(move || read(&path, most)).await
    }

    async fn delete(&self, container: &str, name: &str) -> Result<()> {
        let (root, path) = (self.root.clone(), self.path(container, name));
        off(move || remove(&root, &path)).await
    }

    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<String>> {
        let (parent, beginning) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let folder = self.path(container, parent);
        let (parent, beginning) = (parent.to_string(), beginning.to_string());
        off(move || list(&folder, &beginning, &parent)).await
    }
}
