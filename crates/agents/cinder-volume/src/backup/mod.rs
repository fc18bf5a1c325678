//! The backup agent: keeps volumes' bytes elsewhere, as cinder says. It stands beside the volume agent and its driver,
//! and reads and writes volumes where they are.

mod config;
mod format;
mod posix;
mod restore;
mod store;
mod write;

pub use config::BackupConf;
pub use format::Algorithm;
pub use store::BackupStore;

use crate::driver::{GIB, VolumeDriver};
use crate::locks::Locks;
use async_trait::async_trait;
use base::{Error, Result};
use cinder_types::{BackupApi, BackupInfo, BackupRef, BackupSpec, SourceRef};
use format::{LARGEST, Metadata};
use oslo_context::RequestContext;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use store::{checked_container, checked_prefix};
use tokio::sync::Semaphore;
use write::{Place, Plan, read_metadata, write};

/// The backup agent beside a volume agent.
pub struct Backups {
    driver: Arc<dyn VolumeDriver>,
    store: Arc<dyn BackupStore>,
    conf: BackupConf,
    /// How many volumes are read or written at once.
    workers: Semaphore,
    /// Requests of one backup wait for each other.
    busy: Locks,
}

impl Backups {
    /// `None` if no driver keeps backups here. A mistake in the configuration is told in words for the operator.
    pub fn open(conf: &BackupConf, driver: Arc<dyn VolumeDriver>) -> Result<Option<Arc<Backups>>> {
        let store: Arc<dyn BackupStore> = match conf.backup_driver {
            config::Driver::None => return Ok(None),
            config::Driver::Posix => Arc::new(posix::Posix::new(&conf.backup_posix_path)),
        };
        let whole = conf.backup_file_size > 0 && conf.backup_file_size <= LARGEST / 2;
        if !whole || conf.backup_workers == 0 {
            return Err(Error::bad_request(
                "[cinder_backup] backup_file_size is 1 to 134217728, backup_workers at least 1",
            ));
        }
        Ok(Some(Arc::new(Backups {
            driver,
            store,
            workers: Semaphore::new(conf.backup_workers),
            conf: conf.clone(),
            busy: Locks::default(),
        })))
    }

    /// Upstream's name of what keeps the backups.
    pub fn service(&self) -> &'static str {
        self.store.service()
    }

    fn container(&self, backup: &BackupRef) -> Result<String> {
        match &backup.container {
            Some(name) => checked_container(name).map(str::to_string),
            None if !base::id::is_uuid_like(&backup.id) => {
                Err(Error::bad_request("no backup's id"))
            }
            None => Ok(self.store.container(&backup.id)),
        }
    }

    async fn file(&self, volume_id: &str, write: bool) -> Result<File> {
        let connection = self.driver.connection(volume_id, !write).await?;
        let path = connection["data"]["path"].as_str().map(PathBuf::from);
        let path = path.filter(|_| self.driver.protocol() == "local");
        let path =
            path.ok_or_else(|| Error::conflict("The volume's driver has no bytes to keep."))?;
        let open = move || File::options().read(true).write(write).open(path);
        let opened = tokio::task::spawn_blocking(open)
            .await
            .map_err(Error::internal)?;
        opened.map_err(|e| Error::conflict("The volume's bytes cannot be reached.").log(e))
    }

    fn info(&self, container: String, metadata: Metadata) -> BackupInfo {
        BackupInfo {
            container,
            object_count: metadata.objects.len() as i64,
            extra: metadata.extra,
            parent_prefix: metadata.parent,
            size: metadata.size.div_ceil(GIB) as i64,
        }
    }

    /// The volume to read: of a snapshot, and of what somebody writes to, a copy.
    async fn source(&self, spec: &BackupSpec) -> Result<String> {
        if spec.snapshot_id.is_none() && !spec.in_use {
            return Ok(spec.volume_id.clone());
        }
        // What an earlier try left may be half a copy.
        let copy = spec.backup.copy_id();
        self.driver.delete(&copy).await?;
        if let Some(snapshot) = &spec.snapshot_id {
            let driver = &self.driver;
            driver
                .create_from_snapshot(&copy, spec.size, snapshot)
                .await?;
            return Ok(copy);
        }
        let volume = SourceRef {
            id: spec.volume_id.clone(),
            in_use: true,
        };
        match self
            .driver
            .create_from_volume(&copy, spec.size, &volume)
            .await
        {
            Ok(_) => Ok(copy),
            // Whoever backs up by force what is in use takes it as it is read.
            Err(error) => {
                tracing::info!(volume.id = %spec.volume_id, %error, "no copy of one moment: read while it is in use");
                Ok(spec.volume_id.clone())
            }
        }
    }

    async fn remove(&self, container: &str, prefix: &str) -> Result<()> {
        // The description first: what is half gone is not taken for whole.
        let described = format::metadata_name(prefix);
        self.store.delete(container, &described).await?;
        for ending in ["_sha256-", "-"] {
            for name in self
                .store
                .list(container, &format!("{prefix}{ending}"))
                .await?
            {
                self.store.delete(container, &name).await?;
            }
        }
        Ok(())
    }

    async fn create(&self, spec: &BackupSpec, container: &str, prefix: &str) -> Result<BackupInfo> {
        let place = Place {
            store: &*self.store,
            container,
            prefix,
        };
        match read_metadata(&place).await {
            // An earlier try has ended well, and nobody heard of it.
            Ok(metadata) => return Ok(self.info(container.to_string(), metadata)),
            Err(e) if e.is_not_found() => self.remove(container, prefix).await?,
            Err(e) => return Err(e),
        }
        let size = spec.size as u64 * GIB;
        let mut metadata = Metadata::new(
            &spec.volume_id,
            size,
            self.conf.backup_compression_algorithm,
        );
        metadata.extra = spec.extra.clone();
        let mut parent_container = String::new();
        let parent = match &spec.parent {
            None => None,
            Some(parent) => {
                parent_container = self.container(parent)?;
                metadata.parent = Some(checked_prefix(&parent.prefix)?.to_string());
                Some(parent)
            }
        };
        let parent = match parent {
            None => None,
            Some(parent) => {
                let place = Place {
                    store: &*self.store,
                    container: &parent_container,
                    prefix: &parent.prefix,
                };
                Some((read_metadata(&place).await?, place))
            }
        };
        let source = self.source(spec).await?;
        let file = self.file(&source, false).await?;
        let plan = Plan {
            metadata,
            parent,
            chunk: self.conf.backup_file_size,
        };
        let metadata = write(file, &place, plan).await?;
        self.driver.delete(&spec.backup.copy_id()).await?;
        Ok(self.info(container.to_string(), metadata))
    }
}

#[async_trait]
impl BackupApi for Backups {
    async fn create_backup(&self, ctx: &RequestContext, spec: BackupSpec) -> Result<BackupInfo> {
        let lock = self.busy.of(&spec.backup.id);
        let _one = lock.lock().await;
        let _worker = self.workers.acquire().await.map_err(Error::internal)?;
        let (container, prefix) = (
            self.container(&spec.backup)?,
            checked_prefix(&spec.backup.prefix)?,
        );
        tracing::info!(backup.id = %spec.backup.id, volume.id = %spec.volume_id, request.id = %ctx.request_id, "backing up");
        self.create(&spec, &container, prefix).await
    }

    async fn restore_backup(
        &self,
        ctx: &RequestContext,
        chain: Vec<BackupRef>,
        volume_id: String,
        size: i64,
    ) -> Result<()> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        let _worker = self.workers.acquire().await.map_err(Error::internal)?;
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, "restoring a backup");
        let mut containers = Vec::new();
        for backup in &chain {
            containers.push(self.container(backup)?);
        }
        let mut places = Vec::new();
        for (backup, container) in chain.iter().zip(&containers) {
            places.push(Place {
                store: &*self.store,
                container,
                prefix: checked_prefix(&backup.prefix)?,
            });
        }
        let file = self.file(&volume_id, true).await?;
        restore::restore(file, places, size as u64 * GIB).await
    }

    async fn delete_backup(&self, ctx: &RequestContext, backup: BackupRef) -> Result<()> {
        let lock = self.busy.of(&backup.id);
        let _one = lock.lock().await;
        tracing::info!(backup.id = %backup.id, request.id = %ctx.request_id, "deleting a backup");
        let (container, prefix) = (self.container(&backup)?, checked_prefix(&backup.prefix)?);
        self.driver.delete(&backup.copy_id()).await?;
        self.remove(&container, prefix).await
    }

    async fn look_at_backup(&self, _: &RequestContext, backup: BackupRef) -> Result<BackupInfo> {
        let container = self.container(&backup)?;
        let place = Place {
            store: &*self.store,
            container: &container,
            prefix: checked_prefix(&backup.prefix)?,
        };
        let metadata = read_metadata(&place).await?;
        Ok(self.info(container.clone(), metadata))
    }
}
