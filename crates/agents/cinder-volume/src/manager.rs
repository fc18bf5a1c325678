//! The agent: cinder's requests to the driver, one at a time per volume; reports; orphans.

use crate::config::VolumeConf;
use crate::driver::VolumeDriver;
use crate::image::ImageSource;
use crate::locks::Locks;
use crate::upload::Upload;
use async_trait::async_trait;
use base::{Error, Result, id::named_id};
use cinder_types::{
    BackendReport, Manageable, Noun, SchedulerClient, SnapshotSpec, SourceRef, VolumeApi,
    VolumeInfo, VolumeSpec,
};
use host_brick::{Export, Target};
use host_privsep::Privsep;
use oslo_context::RequestContext;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A backend's agent.
pub struct Manager {
    pub driver: Arc<dyn VolumeDriver>,
    /// What serves volumes to other hosts; without it they are reached by path.
    target: Option<Target>,
    images: Arc<dyn ImageSource>,
    conf: VolumeConf,
    scheduler: SchedulerClient,
    privsep: Privsep,
    /// What keeps backups beside it.
    pub backup_service: Option<String>,
    /// Requests of one volume wait for each other: a repeated create must not meet the first one half-way.
    busy: Locks,
    suspects: Mutex<HashSet<String>>,
    suspect_exports: Mutex<HashSet<String>>,
}

impl Manager {
    pub fn new(
        driver: Arc<dyn VolumeDriver>,
        target: Option<Target>,
        images: Arc<dyn ImageSource>,
        conf: VolumeConf,
        scheduler: SchedulerClient,
        privsep: Privsep,
    ) -> Manager {
        Manager {
            driver,
            target,
            images,
            conf,
            scheduler,
            privsep,
            backup_service: None,
            busy: Locks::default(),
            suspects: Mutex::default(),
            suspect_exports: Mutex::default(),
        }
    }

    /// `host@backend`, under which it serves.
    pub fn name(&self) -> String {
        format!("{}@{}", self.conf.host, self.conf.volume_backend_name)
    }

    /// Tells the scheduler what there is.
    pub async fn report(&self) -> Result<()> {
        let capacity = self.driver.capacity().await?;
        let mut capabilities = Map::new();
        for (key, value) in [
            ("volume_backend_name", json!(self.conf.volume_backend_name)),
            ("storage_protocol", json!(self.driver.protocol())),
            ("vendor_name", json!("Ferrostack")),
            ("driver_version", json!(env!("CARGO_PKG_VERSION"))),
            ("QoS_support", json!(false)),
            ("multiattach", json!(true)),
        ] {
            capabilities.insert(key.to_string(), value);
        }
        for (key, text) in [
            ("filter_function", &self.conf.filter_function),
            ("goodness_function", &self.conf.goodness_function),
            (
                "max_over_subscription_ratio",
                &self.conf.max_over_subscription_ratio,
            ),
        ] {
            if !text.is_empty() {
                capabilities.insert(key.to_string(), json!(text));
            }
        }
        let report = BackendReport {
            host: self.name(),
            pool: self.conf.volume_backend_name.clone(),
            cluster: self.conf.cluster.clone(),
            availability_zone: self.conf.storage_availability_zone.clone(),
            total_capacity_gb: capacity.total,
            free_capacity_gb: capacity.free,
            reserved_percentage: self.conf.reserved_percentage,
            thin: true,
            capabilities,
            pools: Vec::new(),
            backup_service: self.backup_service.clone(),
        };
        self.scheduler
            .report_backend(&RequestContext::internal(), report)
            .await
    }

    /// Removes volumes and snapshots that cinder did not know twice in a row; says how many.
    pub async fn remove_orphans(&self) -> Result<u64> {
        let ctx = RequestContext::internal();
        let volumes = self.driver.list().await?;
        let volumes = self
            .scheduler
            .unknown_volumes(&ctx, self.name(), volumes)
            .await?;
        let snapshots = self.driver.list_snapshots().await?;
        let snapshots = self
            .scheduler
            .unknown_snapshots(&ctx, self.name(), snapshots)
            .await?;
        let before = {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            let now = volumes.iter().chain(&snapshots).cloned().collect();
            std::mem::replace(&mut *suspects, now)
        };
        let mut removed = 0;
        for id in volumes.iter().filter(|id| before.contains(*id)) {
            let lock = self.busy.of(id);
            let _one = lock.lock().await;
            tracing::warn!(volume.id = %id, "removing what belongs to no volume");
            self.driver.delete(id).await?;
            removed += 1;
        }
        for id in snapshots.iter().filter(|id| before.contains(*id)) {
            let lock = self.busy.of(id);
            let _one = lock.lock().await;
            tracing::warn!(snapshot.id = %id, "removing what belongs to no snapshot");
            self.driver.delete_snapshot(id).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Ends exports for attachments that cinder did not know twice in a row: it was not heard when they ended.
    pub async fn remove_unknown_exports(&self) -> Result<u64> {
        let Some(target) = &self.target else {
            return Ok(0);
        };
        let served = target.list().await?;
        let ctx = RequestContext::internal();
        // Keys of the older way to attach are no attachments' ids; their ends are told.
        let asked = served
            .into_iter()
            .filter(|key| !key.starts_with(OLDER))
            .collect();
        let unknown = self
            .scheduler
            .unknown_attachments(&ctx, self.name(), asked)
            .await?;
        let before = {
            let lock = self.suspect_exports.lock();
            let mut suspects = lock.unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *suspects, unknown.iter().cloned().collect())
        };
        let mut removed = 0;
        for key in unknown.iter().filter(|key| before.contains(*key)) {
            tracing::warn!(attachment.id = %key, "ending the export of what is not attached");
            target.remove(key).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// What serves this volume to the host of `connector`: nothing if that is here.
    fn far(&self, connector: &Value) -> Option<&Target> {
        let here = connector["host"]
            .as_str()
            .is_none_or(|host| host == self.conf.host);
        self.target.as_ref().filter(|_| !here)
    }
}

const OLDER: &str = "host-";

/// What an export is known by: its attachment, or its volume and host.
fn key(volume_id: &str, attachment_id: Option<&str>, connector: &Value) -> String {
    let host = connector["host"].as_str().unwrap_or("");
    match attachment_id {
        Some(id) => id.to_string(),
        None => format!("{OLDER}{}", named_id(&format!("{volume_id}/{host}"))),
    }
}

#[async_trait]
impl VolumeApi for Manager {
    async fn create_volume(&self, ctx: &RequestContext, spec: VolumeSpec) -> Result<VolumeInfo> {
        let lock = self.busy.of(&spec.id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %spec.id, request.id = %ctx.request_id, size = spec.size, "creating");
        let (driver, id, size) = (&self.driver, &spec.id, spec.size);
        if let Some(image) = &spec.image {
            return driver
                .create_from_image(id, size, image, &*self.images)
                .await;
        }
        // What is copied is not locked: a file that is removed or replaced meanwhile is read to its end.
        if let Some(snapshot) = &spec.snapshot_id {
            return driver.create_from_snapshot(id, size, snapshot).await;
        }
        match &spec.source {
            Some(source) => driver.create_from_volume(id, size, source).await,
            None => driver.create(id, size).await,
        }
    }

    async fn delete_volume(&self, ctx: &RequestContext, volume_id: String) -> Result<()> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, "deleting");
        if let Some(target) = &self.target {
            target.remove_volume(&volume_id).await?;
        }
        self.driver.delete(&volume_id).await
    }

    async fn extend_volume(
        &self,
        ctx: &RequestContext,
        volume_id: String,
        new_size: i64,
    ) -> Result<()> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, new_size, "extending");
        self.driver.extend(&volume_id, new_size).await
    }

    async fn create_snapshot(
        &self,
        ctx: &RequestContext,
        spec: SnapshotSpec,
    ) -> Result<VolumeInfo> {
        let lock = self.busy.of(&spec.id);
        let _one = lock.lock().await;
        tracing::info!(snapshot.id = %spec.id, volume.id = %spec.volume.id, request.id = %ctx.request_id, "creating");
        self.driver.create_snapshot(&spec.id, &spec.volume).await
    }

    async fn delete_snapshot(&self, ctx: &RequestContext, snapshot_id: String) -> Result<()> {
        let lock = self.busy.of(&snapshot_id);
        let _one = lock.lock().await;
        tracing::info!(snapshot.id = %snapshot_id, request.id = %ctx.request_id, "deleting");
        self.driver.delete_snapshot(&snapshot_id).await
    }

    async fn revert_to_snapshot(
        &self,
        ctx: &RequestContext,
        volume_id: String,
        snapshot_id: String,
    ) -> Result<()> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume_id, snapshot.id = %snapshot_id, request.id = %ctx.request_id, "reverting");
        if let Some(target) = &self.target {
            // Who still served the old file would go on with it.
            target.remove_volume(&volume_id).await?;
        }
        self.driver
            .revert_to_snapshot(&volume_id, &snapshot_id)
            .await
    }

    async fn manageable(&self, _: &RequestContext, noun: Noun) -> Result<Vec<Manageable>> {
        self.driver.manageable(noun).await
    }

    async fn measure(&self, _: &RequestContext, noun: Noun, reference: Value) -> Result<i64> {
        self.driver.measure(noun, &reference).await
    }

    async fn manage(
        &self,
        ctx: &RequestContext,
        noun: Noun,
        id: String,
        reference: Value,
    ) -> Result<()> {
        let lock = self.busy.of(&id);
        let _one = lock.lock().await;
        tracing::info!(id, ?noun, %reference, request.id = %ctx.request_id, "managing");
        self.driver.manage(noun, &id, &reference).await
    }

    async fn unmanage(&self, ctx: &RequestContext, noun: Noun, id: String) -> Result<()> {
        let lock = self.busy.of(&id);
        let _one = lock.lock().await;
        tracing::info!(id, ?noun, request.id = %ctx.request_id, "managing no more");
        if let (Some(target), Noun::Volume) = (&self.target, noun) {
            target.remove_volume(&id).await?;
        }
        self.driver.unmanage(noun, &id).await
    }

    async fn upload_volume(
        &self,
        ctx: &RequestContext,
        volume: SourceRef,
        size: i64,
        image_id: String,
        disk_format: String,
    ) -> Result<()> {
        // The volume's own requests go on meanwhile: cinder sees to it that nothing changes it.
        let lock = self.busy.of(&image_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume.id, image.id = %image_id, request.id = %ctx.request_id, "uploading");
        let upload = Upload {
            driver: &*self.driver,
            privsep: &self.privsep,
            images: &*self.images,
        };
        upload.run(&volume, size, &image_id, &disk_format).await
    }

    async fn initialize_connection(
        &self,
        ctx: &RequestContext,
        volume_id: String,
        attachment_id: Option<String>,
        connector: Value,
        read_only: bool,
    ) -> Result<Value> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        let info = self.driver.connection(&volume_id, read_only).await?;
        let Some(target) = self.far(&connector) else {
            return Ok(info);
        };
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, host = %connector["host"], "serving");
        let path = info["data"]["path"].as_str();
        let path =
            path.ok_or_else(|| Error::internal("a volume without a path cannot be served"))?;
        let export = Export {
            key: key(&volume_id, attachment_id.as_deref(), &connector),
            volume_id: volume_id.clone(),
            path: path.to_string(),
            read_only,
        };
        target.create(&export).await
    }

    async fn terminate_connection(
        &self,
        ctx: &RequestContext,
        volume_id: String,
        attachment_id: Option<String>,
        connector: Value,
    ) -> Result<()> {
        let lock = self.busy.of(&volume_id);
        let _one = lock.lock().await;
        // A file that was reached by path needs no export, so there is none to take back.
        let Some(target) = self.far(&connector) else {
            return Ok(());
        };
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, host = %connector["host"], "serves no more");
        target
            .remove(&key(&volume_id, attachment_id.as_deref(), &connector))
            .await
    }
}
