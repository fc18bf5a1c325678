//! Raw sparse files `volume-<id>` and `snapshot-<id>` in one folder, 0600, made under another name and renamed when
//! complete. A snapshot is a file of its own (blocks are shared where the filesystem can), so nothing depends on another.

use super::copy::copy;
use super::manage::{self, SNAPSHOT, VOLUME};
use super::{Capacity, GIB, VolumeDriver};
use crate::image::ImageSource;
use async_trait::async_trait;
use base::{Error, Result, id::is_uuid_like};
use cinder_types::{ImageRef, Manageable, Noun, SourceRef, VolumeInfo};
use host_imagefmt::Format;
use host_privsep::Privsep;
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files in a folder.
pub struct FileDriver {
    folder: PathBuf,
    privsep: Privsep,
}

/// Files in the making; never taken for volumes or snapshots.
const PARTIAL: &str = ".partial";
const IMAGE: &str = ".image";

impl FileDriver {
    /// Makes the folder if it is missing.
    pub fn new(folder: &Path, privsep: Privsep) -> Result<FileDriver> {
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        Ok(FileDriver { folder, privsep })
    }

    /// An id comes from cinder, but a path is made of it.
    fn path(&self, id: &str, ending: &str) -> Result<PathBuf> {
        if !is_uuid_like(id) {
            return Err(Error::bad_request(format!("'{id}' is not a volume's id")));
        }
        Ok(self.folder.join(format!("{VOLUME}{id}{ending}")))
    }

    fn snapshot_path(&self, id: &str, ending: &str) -> Result<PathBuf> {
        if !is_uuid_like(id) {
            return Err(Error::bad_request(format!("'{id}' is not a snapshot's id")));
        }
        Ok(self.folder.join(format!("{SNAPSHOT}{id}{ending}")))
    }

    fn path_of(&self, noun: Noun, id: &str) -> Result<PathBuf> {
        match noun {
            Noun::Volume => self.path(id, ""),
            Noun::Snapshot => self.snapshot_path(id, ""),
        }
    }

    /// A volume with the bytes of `from`, grown to `size` GiB.
    async fn create_copy(
        &self,
        id: &str,
        size: i64,
        from: PathBuf,
        in_use: bool,
    ) -> Result<VolumeInfo> {
        if let Some(info) = self.existing(id).await? {
            return Ok(info);
        }
        let (partial, wanted) = (self.path(id, PARTIAL)?, bytes(size)?);
        let made = async {
            copy(from, partial.clone(), in_use).await?;
            let file = tokio::fs::OpenOptions::new()
                .write(true)
                .open(&partial)
                .await?;
            if file.metadata().await?.len() > wanted {
                return Err(Error::bad_request(format!(
                    "What a volume of {size} GiB shall begin with is larger."
                )));
            }
            file.set_len(wanted).await?;
            file.sync_all().await?;
            Ok(())
        };
        if let Err(error) = made.await {
            remove(&partial).await?;
            return Err(error);
        }
        self.finish(id, &partial).await
    }

    /// The ids in the names that begin with `prefix`.
    async fn ids(&self, prefix: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| n.strip_prefix(prefix));
            if let Some(id) = id.filter(|id| id.len() == 36 && is_uuid_like(id)) {
                ids.push(id.to_string());
            }
        }
        Ok(ids)
    }

    /// The names in the folder are on disk.
    async fn sync_folder(&self) -> Result<()> {
        tokio::fs::File::open(&self.folder)
            .await?
            .sync_all()
            .await?;
        Ok(())
    }

    async fn finish(&self, id: &str, partial: &Path) -> Result<VolumeInfo> {
        let path = self.path(id, "")?;
        tokio::fs::rename(partial, &path).await?;
        Ok(info(id, &path))
    }

    async fn existing(&self, id: &str) -> Result<Option<VolumeInfo>> {
        let path = self.path(id, "")?;
        Ok(tokio::fs::try_exists(&path).await?.then(|| info(id, &path)))
    }
}

fn info(id: &str, path: &Path) -> VolumeInfo {
    VolumeInfo {
        provider_id: Some(format!("{VOLUME}{id}")),
        provider_location: Some(path.display().to_string()),
    }
}

fn bytes(size: i64) -> Result<u64> {
    u64::try_from(size)
        .ok()
        .and_then(|s| s.checked_mul(GIB))
        .filter(|b| *b > 0 && *b < i64::MAX as u64)
        .ok_or_else(|| Error::bad_request(format!("a volume of {size} GiB cannot be made")))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

/// A new private file, empty even if an earlier attempt left one.
async fn private(path: &Path) -> Result<tokio::fs::File> {
    let path = path.to_path_buf();
    let open = move || {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
    };
    let file = tokio::task::spawn_blocking(open)
        .await
        .map_err(Error::internal)??;
    Ok(tokio::fs::File::from_std(file))
}

async fn remove(path: &Path) -> Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

#[async_trait]
impl VolumeDriver for FileDriver {
    fn protocol(&self) -> &'static str {
        "local"
    }

    async fn create(&self, id: &str, size: i64) -> Result<VolumeInfo> {
        if let Some(info) = self.existing(id).await? {
            return Ok(info);
        }
        let partial = self.path(id, PARTIAL)?;
        private(&partial).await?.set_len(bytes(size)?).await?;
        self.finish(id, &partial).await
    }

    async fn create_from_image(
        &self,
        id: &str,
        size: i64,
        image: &ImageRef,
        source: &dyn ImageSource,
    ) -> Result<VolumeInfo> {
        if let Some(info) = self.existing(id).await? {
            return Ok(info);
        }
        let (partial, download) = (self.path(id, PARTIAL)?, self.path(id, IMAGE)?);
        let made = async {
            let file = private(&download).await?;
            source.copy(&image.id, file).await?;
            self.convert(&download, &partial, size, image).await
        };
        let made = made.await;
        remove(&download).await?;
        if let Err(error) = made {
            remove(&partial).await?;
            return Err(error);
        }
        self.finish(id, &partial).await
    }

    async fn create_from_snapshot(
        &self,
        id: &str,
        size: i64,
        snapshot_id: &str,
    ) -> Result<VolumeInfo> {
        let from = self.snapshot_path(snapshot_id, "")?;
        let made = self.create_copy(id, size, from, false).await;
        made.map_err(|e| missing(e, "Snapshot", snapshot_id))
    }

    async fn create_from_volume(
        &self,
        id: &str,
        size: i64,
        source: &SourceRef,
    ) -> Result<VolumeInfo> {
        let from = self.path(&source.id, "")?;
        let made = self.create_copy(id, size, from, source.in_use).await;
        made.map_err(|e| missing(e, "Volume", &source.id))
    }

    async fn create_snapshot(&self, id: &str, volume: &SourceRef) -> Result<VolumeInfo> {
        let (path, partial) = (
            self.snapshot_path(id, "")?,
            self.snapshot_path(id, PARTIAL)?,
        );
        if !tokio::fs::try_exists(&path).await? {
            let from = self.path(&volume.id, "")?;
            if let Err(error) = copy(from, partial.clone(), volume.in_use).await {
                remove(&partial).await?;
                return Err(missing(error, "Volume", &volume.id));
            }
            tokio::fs::rename(&partial, &path).await?;
            self.sync_folder().await?;
        }
        Ok(VolumeInfo {
            provider_id: Some(format!("{SNAPSHOT}{id}")),
            provider_location: Some(path.display().to_string()),
        })
    }

    async fn delete_snapshot(&self, id: &str) -> Result<()> {
        for ending in ["", PARTIAL] {
            remove(&self.snapshot_path(id, ending)?).await?;
        }
        Ok(())
    }

    async fn revert_to_snapshot(&self, volume_id: &str, snapshot_id: &str) -> Result<()> {
        let (path, partial) = (self.path(volume_id, "")?, self.path(volume_id, PARTIAL)?);
        tokio::fs::metadata(&path)
            .await
            .map_err(|e| gone(volume_id, e))?;
        let from = self.snapshot_path(snapshot_id, "")?;
        if let Err(error) = copy(from, partial.clone(), false).await {
            remove(&partial).await?;
            return Err(missing(error, "Snapshot", snapshot_id));
        }
        // One moment it is the old file, the next the new one.
        tokio::fs::rename(&partial, &path).await?;
        self.sync_folder().await
    }

    async fn list_snapshots(&self) -> Result<Vec<String>> {
        self.ids(SNAPSHOT).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        for ending in ["", PARTIAL, IMAGE] {
            remove(&self.path(id, ending)?).await?;
        }
        Ok(())
    }

    async fn extend(&self, id: &str, size: i64) -> Result<()> {
        let path = self.path(id, "")?;
        let wanted = bytes(size)?;
        let file = tokio::fs::OpenOptions::new().write(true).open(&path).await;
        let file = file.map_err(|e| gone(id, e))?;
        // Never shrink: a repeated older request must not cut a newer size.
        if file.metadata().await?.len() < wanted {
            file.set_len(wanted).await?;
        }
        Ok(())
    }

    async fn manageable(&self, noun: Noun) -> Result<Vec<Manageable>> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut found = Vec::new();
            for (name, id) in manage::names(&folder, noun, "")? {
                let Some(file) = manage::open(&folder.join(&name)) else {
                    continue;
                };
                let bytes = file.metadata()?.len();
                let reason = (bytes == 0).then(|| "it is empty".to_string());
                found.push(Manageable {
                    name,
                    size: bytes.div_ceil(GIB) as i64,
                    id,
                    reason,
                });
            }
            Ok(found)
        })
        .await
    }

    async fn measure(&self, _: Noun, reference: &Value) -> Result<i64> {
        let (folder, wanted) = (self.folder.clone(), reference.clone());
        let (path, bytes) = blocking(move || {
            let (path, file) = manage::find(&folder, &wanted, "")?;
            Ok((path, file.metadata()?.len()))
        })
        .await?;
        // Volumes are raw: a disk of another format would be the guest's as it lies there, with a head that is no disk's.
        let format = host_imagefmt::inspect_file(&path).await?.format;
        if bytes == 0 || !matches!(format, Format::Raw | Format::Gpt | Format::Iso) {
            return Err(Error::bad_request(format!(
                "Manage existing volume failed due to invalid backend reference {reference}: Only raw disks can be \
                 managed."
            ))
            .class("ManageExistingInvalidReference"));
        }
        Ok(bytes.div_ceil(GIB) as i64)
    }

    async fn manage(&self, noun: Noun, id: &str, reference: &Value) -> Result<()> {
        let path = self.path_of(noun, id)?;
        if tokio::fs::try_exists(&path).await? {
            return Ok(());
        }
        let size = self.measure(noun, reference).await?;
        let (folder, wanted, length) = (self.folder.clone(), reference.clone(), bytes(size)?);
        blocking(move || {
            let (from, found) = manage::find(&folder, &wanted, "")?;
            found.set_permissions(PermissionsExt::from_mode(0o600))?;
            // Whole GiB, as volumes are; what is added reads as zeroes.
            std::fs::File::options()
                .write(true)
                .open(&from)?
                .set_len(length)?;
            std::fs::rename(&from, &path)?;
            Ok(())
        })
        .await?;
        self.sync_folder().await
    }

    async fn unmanage(&self, noun: Noun, id: &str) -> Result<()> {
        let path = self.path_of(noun, id)?;
        if tokio::fs::try_exists(&path).await? {
            tokio::fs::rename(&path, manage::aside(&path)?).await?;
        }
        self.sync_folder().await
    }

    async fn connection(&self, id: &str, read_only: bool) -> Result<Value> {
        let path = self.path(id, "")?;
        tokio::fs::metadata(&path).await.map_err(|e| gone(id, e))?;
        let mode = if read_only { "ro" } else { "rw" };
        Ok(json!({"driver_volume_type": "local", "data": {
            "path": path, "device_path": path, "format": "raw", "access_mode": mode,
            "volume_id": id, "encrypted": false, "discard": true}}))
    }

    async fn capacity(&self) -> Result<Capacity> {
        let folder = self.folder.clone();
        let stat = tokio::task::spawn_blocking(move || statvfs(&folder))
            .await
            .map_err(Error::internal)?
            .map_err(|e| Error::internal(format!("statvfs: {e}")))?;
        let gib = |blocks: u64| blocks as f64 * stat.fragment_size() as f64 / GIB as f64;
        Ok(Capacity {
            total: gib(stat.blocks()),
            free: gib(stat.blocks_available()),
        })
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.ids(VOLUME).await
    }

    async fn clean(&self) -> Result<()> {
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .and_then(|n| n.strip_prefix(VOLUME).or(n.strip_prefix(SNAPSHOT)))
            else {
                continue;
            };
            let id = name.strip_suffix(PARTIAL).or(name.strip_suffix(IMAGE));
            if id.is_some_and(is_uuid_like) {
                remove(&entry.path()).await?;
            }
        }
        Ok(())
    }
}

/// The same for an error that was made already.
fn missing(error: Error, what: &str, id: &str) -> Error {
    if error.is_not_found() {
        return Error::not_found(format!("{what} {id} was not found on its backend."));
    }
    error
}

fn gone(id: &str, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::not_found(format!("Volume {id} was not found on its backend."));
    }
    error.into()
}

impl FileDriver {
    /// Judges the bytes, not what their owner says of them, then makes `to` a raw disk of the volume's size.
    async fn convert(&self, from: &Path, to: &Path, size: i64, image: &ImageRef) -> Result<()> {
        let found = host_imagefmt::inspect_file(from).await?;
        found.require_safe()?;
        if !found.format.agrees_with(&image.disk_format) {
            return Err(Error::bad_request(format!(
                "Image {} is not the {} that it is said to be.",
                image.id, image.disk_format
            )));
        }
        let wanted = bytes(size)?;
        if found.virtual_size > wanted {
            return Err(Error::bad_request(format!(
                "Image {} virtual size is {}GB and doesn't fit in a volume of size {size}GB.",
                image.id,
                found.virtual_size.div_ceil(GIB)
            )));
        }
        match found.format {
            Format::Raw | Format::Gpt | Format::Iso => tokio::fs::rename(from, to).await?,
            format => {
                // Made first, so that the bytes are never readable by others.
                private(to).await?;
                host_imagefmt::convert(&self.privsep, from, to, format, Format::Raw).await?;
            }
        }
        let file = tokio::fs::OpenOptions::new().write(true).open(to).await?;
        file.set_len(wanted).await?;
        file.sync_all().await?;
        Ok(())
    }
}
