//! The agent: cinder's requests to the driver, one at a time per volume; reports; orphans.

use crate::config::VolumeConf;
use crate::driver::VolumeDriver;
use crate::image::ImageSource;
use async_trait::async_trait;
use base::Result;
use cinder_types::{BackendReport, SchedulerClient, VolumeApi, VolumeInfo, VolumeSpec};
use oslo_context::RequestContext;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Lock = tokio::sync::Mutex<()>;

/// A backend's agent.
pub struct Manager {
    pub driver: Arc<dyn VolumeDriver>,
    images: Arc<dyn ImageSource>,
    conf: VolumeConf,
    scheduler: SchedulerClient,
    busy: Mutex<HashMap<String, Weak<Lock>>>,
    suspects: Mutex<HashSet<String>>,
}

impl Manager {
    pub fn new(
        driver: Arc<dyn VolumeDriver>,
        images: Arc<dyn ImageSource>,
        conf: VolumeConf,
        scheduler: SchedulerClient,
    ) -> Manager {
        Manager {
            driver,
            images,
            conf,
            scheduler,
            busy: Mutex::default(),
            suspects: Mutex::default(),
        }
    }

    /// `host@backend`, under which it serves.
    pub fn name(&self) -> String {
        format!("{}@{}", self.conf.host, self.conf.volume_backend_name)
    }

    /// Requests of one volume wait for each other: a repeated create must not meet the first one half-way.
    fn lock(&self, id: &str) -> Arc<Lock> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = busy.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        busy.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Lock::default());
        busy.insert(id.to_string(), Arc::downgrade(&lock));
        lock
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
        let report = BackendReport {
            host: self.name(),
            pool: self.conf.volume_backend_name.clone(),
            availability_zone: self.conf.storage_availability_zone.clone(),
            total_capacity_gb: capacity.total,
            free_capacity_gb: capacity.free,
            reserved_percentage: self.conf.reserved_percentage,
            thin: true,
            capabilities,
        };
        self.scheduler
            .report_backend(&RequestContext::internal(), report)
            .await
    }

    /// Removes volumes that cinder did not know twice in a row; says how many.
    pub async fn remove_orphans(&self) -> Result<u64> {
        let here = self.driver.list().await?;
        let ctx = RequestContext::internal();
        let unknown = self
            .scheduler
            .unknown_volumes(&ctx, self.name(), here)
            .await?;
        let before = {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *suspects, unknown.iter().cloned().collect())
        };
        let mut removed = 0;
        for id in unknown.iter().filter(|id| before.contains(*id)) {
            let lock = self.lock(id);
            let _one = lock.lock().await;
            tracing::warn!(volume.id = %id, "removing what belongs to no volume");
            self.driver.delete(id).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

#[async_trait]
impl VolumeApi for Manager {
    async fn create_volume(&self, ctx: &RequestContext, spec: VolumeSpec) -> Result<VolumeInfo> {
        let lock = self.lock(&spec.id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %spec.id, request.id = %ctx.request_id, size = spec.size, "creating");
        match &spec.image {
            Some(image) => {
                let images = &*self.images;
                self.driver
                    .create_from_image(&spec.id, spec.size, image, images)
                    .await
            }
            None => self.driver.create(&spec.id, spec.size).await,
        }
    }

    async fn delete_volume(&self, ctx: &RequestContext, volume_id: String) -> Result<()> {
        let lock = self.lock(&volume_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, "deleting");
        self.driver.delete(&volume_id).await
    }

    async fn extend_volume(
        &self,
        ctx: &RequestContext,
        volume_id: String,
        new_size: i64,
    ) -> Result<()> {
        let lock = self.lock(&volume_id);
        let _one = lock.lock().await;
        tracing::info!(volume.id = %volume_id, request.id = %ctx.request_id, new_size, "extending");
        self.driver.extend(&volume_id, new_size).await
    }

    async fn initialize_connection(
        &self,
        _ctx: &RequestContext,
        volume_id: String,
        _connector: Value,
        read_only: bool,
    ) -> Result<Value> {
        self.driver.connection(&volume_id, read_only).await
    }

    async fn terminate_connection(
        &self,
        _ctx: &RequestContext,
        _volume_id: String,
        _connector: Value,
    ) -> Result<()> {
        // A file needs no export, so there is none to take back.
        Ok(())
    }
}
