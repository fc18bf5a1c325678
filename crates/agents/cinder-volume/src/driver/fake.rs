//! Volumes that are only records: one small JSON file each, so that they outlive the process.

use super::manage;
use super::{Capacity, VolumeDriver};
use crate::image::ImageSource;
use async_trait::async_trait;
use base::{Error, Result, id::is_uuid_like};
use cinder_types::{ImageRef, Manageable, Noun, SourceRef, VolumeInfo};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records in a folder.
pub struct FakeDriver {
    folder: PathBuf,
    delay: Duration,
    capacity: u64,
}

impl FakeDriver {
    /// Makes the folder if it is missing.
    pub fn new(folder: &Path, delay: Duration, capacity: u64) -> Result<FakeDriver> {
        std::fs::create_dir_all(folder)?;
        Ok(FakeDriver {
            folder: folder.to_path_buf(),
            delay,
            capacity,
        })
    }

    fn path(&self, kind: &str, id: &str) -> Result<PathBuf> {
        if !is_uuid_like(id) {
            return Err(Error::bad_request(format!("'{id}' is not a {kind}'s id")));
        }
        Ok(self.folder.join(format!("{kind}-{id}.json")))
    }

    async fn write(&self, kind: &str, id: &str, size: i64) -> Result<VolumeInfo> {
        tokio::time::sleep(self.delay).await;
        let path = self.path(kind, id)?;
        let partial = path.with_extension("partial");
        tokio::fs::write(&partial, json!({"size": size}).to_string()).await?;
        tokio::fs::rename(&partial, &path).await?;
        Ok(VolumeInfo {
            provider_id: Some(format!("fake-{id}")),
            provider_location: None,
        })
    }

    async fn size(&self, kind: &str, id: &str) -> Result<i64> {
        match tokio::fs::read(self.path(kind, id)?).await {
            Ok(bytes) => {
                let record: Value = serde_json::from_slice(&bytes)?;
                Ok(record["size"].as_i64().unwrap_or(0))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let what = if kind == SNAPSHOT {
                    "Snapshot"
                } else {
                    "Volume"
                };
                Err(Error::not_found(format!(
                    "{what} {id} was not found on its backend."
                )))
            }
            Err(e) => Err(e.into()),
        }
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<()> {
        tokio::time::sleep(self.delay).await;
        match tokio::fs::remove_file(self.path(kind, id)?).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn ids(&self, kind: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| {
                n.strip_prefix(kind)?
                    .strip_prefix('-')?
                    .strip_suffix(".json")
            });
            ids.extend(id.filter(|id| is_uuid_like(id)).map(str::to_string));
        }
        Ok(ids)
    }
}

fn kind(noun: Noun) -> &'static str {
    match noun {
        Noun::Volume => VOLUME,
        Noun::Snapshot => SNAPSHOT,
    }
}

const VOLUME: &str = "volume";
const SNAPSHOT: &str = "snapshot";

#[async_trait]
impl VolumeDriver for FakeDriver {
    fn protocol(&self) -> &'static str {
        "fake"
    }

    async fn create(&self, id: &str, size: i64) -> Result<VolumeInfo> {
        self.write(VOLUME, id, size).await
    }

    async fn create_from_image(
        &self,
        id: &str,
        size: i64,
        _image: &ImageRef,
        _source: &dyn ImageSource,
    ) -> Result<VolumeInfo> {
        self.write(VOLUME, id, size).await
    }

    async fn create_from_snapshot(
        &self,
        id: &str,
        size: i64,
        snapshot_id: &str,
    ) -> Result<VolumeInfo> {
        self.size(SNAPSHOT, snapshot_id).await?;
        self.write(VOLUME, id, size).await
    }

    async fn create_from_volume(
        &self,
        id: &str,
        size: i64,
        source: &SourceRef,
    ) -> Result<VolumeInfo> {
        self.size(VOLUME, &source.id).await?;
        self.write(VOLUME, id, size).await
    }

    async fn create_snapshot(&self, id: &str, volume: &SourceRef) -> Result<VolumeInfo> {
        let size = self.size(VOLUME, &volume.id).await?;
        self.write(SNAPSHOT, id, size).await
    }

    async fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.remove(SNAPSHOT, id).await
    }

    async fn revert_to_snapshot(&self, volume_id: &str, snapshot_id: &str) -> Result<()> {
        self.size(VOLUME, volume_id).await?;
        let size = self.size(SNAPSHOT, snapshot_id).await?;
        self.write(VOLUME, volume_id, size).await.map(drop)
    }

    async fn list_snapshots(&self) -> Result<Vec<String>> {
        self.ids(SNAPSHOT).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.remove(VOLUME, id).await
    }

    async fn extend(&self, id: &str, size: i64) -> Result<()> {
        let now = self.size(VOLUME, id).await?;
        self.write(VOLUME, id, now.max(size)).await.map(drop)
    }

    async fn manageable(&self, noun: Noun) -> Result<Vec<Manageable>> {
        let mut found = Vec::new();
        for (name, id) in manage::names(&self.folder, noun, ".json")? {
            let bytes = tokio::fs::read(self.folder.join(format!("{name}.json"))).await?;
            let record: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let size = record["size"].as_i64().unwrap_or(0);
            found.push(Manageable {
                reason: (size < 1).then(|| "it is empty".to_string()),
                name,
                size,
                id,
            });
        }
        Ok(found)
    }

    async fn measure(&self, _: Noun, reference: &Value) -> Result<i64> {
        let (_, file) = manage::find(&self.folder, reference, ".json")?;
        let record: Value = serde_json::from_reader(file)?;
        let size = record["size"].as_i64().filter(|size| *size > 0);
        size.ok_or_else(|| Error::bad_request("Manage existing volume failed: it is empty."))
    }

    async fn manage(&self, noun: Noun, id: &str, reference: &Value) -> Result<()> {
        let path = self.path(kind(noun), id)?;
        if !tokio::fs::try_exists(&path).await? {
            self.measure(noun, reference).await?;
            let (from, _) = manage::find(&self.folder, reference, ".json")?;
            tokio::fs::rename(from, path).await?;
        }
        Ok(())
    }

    async fn unmanage(&self, noun: Noun, id: &str) -> Result<()> {
        let path = self.path(kind(noun), id)?;
        if tokio::fs::try_exists(&path).await? {
            tokio::fs::rename(&path, manage::aside(&path)?).await?;
        }
        Ok(())
    }

    async fn connection(&self, id: &str, read_only: bool) -> Result<Value> {
        self.size(VOLUME, id).await?;
        let mode = if read_only { "ro" } else { "rw" };
        Ok(json!({"driver_volume_type": "local", "data": {
            "path": format!("/dev/fake/volume-{id}"), "device_path": format!("/dev/fake/volume-{id}"),
            "format": "raw", "access_mode": mode, "volume_id": id, "encrypted": false}}))
    }

    async fn capacity(&self) -> Result<Capacity> {
        let total = self.capacity as f64;
        Ok(Capacity { total, free: total })
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.ids(VOLUME).await
    }

    async fn clean(&self) -> Result<()> {
        Ok(())
    }
}
