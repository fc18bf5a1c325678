//! What lies on disk for one instance.

use base::Result;
use nova_types::rpc::InstanceSpec;
use std::io::{ErrorKind, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// COMPAT: nova's `MAX_CONSOLE_BYTES`.
const CONSOLE_BYTES: u64 = 100 * 1024;
const SPEC: &str = "instance.json";

/// The folder of one instance.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn root_disk(&self) -> PathBuf {
        self.0.join("disk")
    }

    pub(super) fn ephemeral_disk(&self) -> PathBuf {
        self.0.join("disk.eph0")
    }

    pub(super) fn swap_disk(&self) -> PathBuf {
        self.0.join("disk.swap")
    }

    pub(super) fn config_drive(&self) -> PathBuf {
        self.0.join("disk.config")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// The spec as it is now.
    pub(super) async fn read(&self) -> Result<Option<InstanceSpec>> {
        match fs::read(self.0.join(SPEC)).await {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Keeps the spec, without the password (that is on the config drive only).
    pub(super) async fn write(&self, spec: &InstanceSpec) -> Result<()> {
        fs::create_dir_all(&self.0).await?;
        let spec = InstanceSpec {
            admin_pass: None,
            ..spec.clone()
        };
        let fresh = self.0.join("instance.json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(&spec)?).await?;
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600)).await?;
        fs::rename(fresh, self.0.join(SPEC)).await?;
        Ok(())
    }

    pub(super) async fn change(&self, change: impl FnOnce(&mut InstanceSpec)) -> Result<()> {
        let Some(mut spec) = self.read().await? else {
            return Ok(());
        };
        change(&mut spec);
        self.write(&spec).await
    }

    pub(super) async fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// The end of the console log; virtlogd turns the file over when it is large.
    pub(super) async fn console_end(&self) -> Result<String> {
        let mut bytes = end_of(&self.console()).await?;
        if (bytes.len() as u64) < CONSOLE_BYTES {
            let mut older = end_of(&self.0.join("console.log.0")).await?;
            older.append(&mut bytes);
            let surplus = older.len().saturating_sub(CONSOLE_BYTES as usize);
            bytes = older.split_off(surplus);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

async fn end_of(path: &Path) -> Result<Vec<u8>> {
    let mut file = match fs::File::open(path).await {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_BYTES)))
        .await?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_BYTES).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Every instance that has a folder.
pub(super) async fn list(instances: &Path) -> Result<Vec<String>> {
    let mut entries = fs::read_dir(instances).await?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().join(SPEC).exists()
        {
            found.push(name);
        }
    }
    Ok(found)
}
