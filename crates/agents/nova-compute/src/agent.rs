//! The RPC's rooms: each request takes the instance's lock and asks the driver.

use crate::config::ComputeConf;
use crate::driver::VirtDriver;
use crate::locks::Locks;
use async_trait::async_trait;
use base::{Error, Result};
use nova_types::rpc::{
    ComputeApi, ConductorClient, ConsoleAddress, InstanceSpec, PortSpec, PowerAction, PowerState,
    VolumeSpec,
};
use oslo_context::RequestContext;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Component;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The agent of one host.
pub struct ComputeAgent {
    pub(crate) host: String,
    pub(crate) my_ip: String,
    pub(crate) report_interval: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) driver: Arc<dyn VirtDriver>,
    pub(crate) conductor: ConductorClient,
    pub(crate) locks: Locks,
    /// The power of each instance, as far as the conductor has heard of it.
    known: Mutex<HashMap<String, PowerState>>,
}

impl ComputeAgent {
    pub(crate) fn new(
        conf: &ComputeConf,
        driver: Arc<dyn VirtDriver>,
        conductor: ConductorClient,
    ) -> ComputeAgent {
        ComputeAgent {
            host: conf.host.clone(),
            my_ip: conf.my_ip.clone(),
            report_interval: Duration::from_secs(conf.report_interval.max(1)),
            poll_interval: Duration::from_secs(conf.power_poll_interval.max(1)),
            driver,
            conductor,
            locks: Locks::default(),
            known: Mutex::default(),
        }
    }

    /// What makes guests here.
    pub fn driver(&self) -> &Arc<dyn VirtDriver> {
        &self.driver
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, HashMap<String, PowerState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, uuid: &str, state: PowerState) -> PowerState {
        self.known().insert(uuid.to_string(), state);
        state
    }

    async fn require(&self, uuid: &str) -> Result<PowerState> {
        self.driver
            .state(uuid)
            .await?
            .ok_or_else(|| no_instance(uuid))
    }

    /// Ends an instance. What holds its lock (a shutdown, a detachment) ends at once when the guest is off.
    pub(crate) async fn end(&self, uuid: &str, delete_disks: bool) -> Result<()> {
        self.driver.switch_off(uuid).await?;
        let _turn = self.locks.hold(uuid).await;
        self.driver.destroy(uuid, delete_disks).await?;
        self.known().remove(uuid);
        tracing::info!(server.id = uuid, "destroyed");
        Ok(())
    }
}

pub(crate) fn no_instance(uuid: &str) -> Error {
    Error::not_found(format!("Instance {uuid} could not be found.")).class("InstanceNotFound")
}

/// Ids become parts of paths here, and they came over a wire.
fn checked(id: &str) -> Result<&str> {
    let mut parts = std::path::Path::new(id).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) if !id.starts_with('_') => Ok(id),
        _ => Err(Error::bad_request(format!("'{id}' is no id"))),
    }
}

#[async_trait]
impl ComputeApi for ComputeAgent {
    async fn prepare_instance(&self, _: &RequestContext, spec: InstanceSpec) -> Result<()> {
        let _turn = self.locks.hold(checked(&spec.uuid)?).await;
        self.driver.prepare(&spec).await
    }

    async fn ensure_instance(&self, _: &RequestContext, spec: InstanceSpec) -> Result<PowerState> {
        let _turn = self.locks.hold(checked(&spec.uuid)?).await;
        let state = self.driver.ensure(&spec).await?;
        tracing::info!(server.id = spec.uuid, ?state, "the instance is here");
        Ok(self.learn(&spec.uuid, state))
    }

    async fn destroy_instance(
        &self,
        _: &RequestContext,
        uuid: String,
        delete_disks: bool,
    ) -> Result<()> {
        self.end(checked(&uuid)?, delete_disks).await
    }

    async fn power(
        &self,
        _: &RequestContext,
        uuid: String,
        action: PowerAction,
    ) -> Result<PowerState> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        self.require(&uuid).await?;
        let state = self.driver.power(&uuid, action).await?;
        tracing::info!(server.id = uuid, ?action, ?state, "power changed");
        Ok(self.learn(&uuid, state))
    }

    async fn attach_volume(
        &self,
        _: &RequestContext,
        uuid: String,
        volume: VolumeSpec,
    ) -> Result<()> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        self.require(&uuid).await?;
        self.driver.attach_volume(&uuid, &volume).await
    }

    async fn detach_volume(
        &self,
        _: &RequestContext,
        uuid: String,
        volume_id: String,
    ) -> Result<()> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        match self.driver.detach_volume(&uuid, &volume_id).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn extend_volume(
        &self,
        _: &RequestContext,
        uuid: String,
        volume_id: String,
        size_gb: u64,
    ) -> Result<()> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        self.require(&uuid).await?;
        self.driver.extend_volume(&uuid, &volume_id, size_gb).await
    }

    async fn attach_port(&self, _: &RequestContext, uuid: String, port: PortSpec) -> Result<()> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        self.require(&uuid).await?;
        self.driver.attach_port(&uuid, &port).await
    }

    async fn detach_port(&self, _: &RequestContext, uuid: String, port_id: String) -> Result<()> {
        let _turn = self.locks.hold(checked(&uuid)?).await;
        match self.driver.detach_port(&uuid, &port_id).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn console_output(
        &self,
        _: &RequestContext,
        uuid: String,
        length: Option<i64>,
    ) -> Result<String> {
        self.require(checked(&uuid)?).await?;
        let log = self.driver.console_log(&uuid).await?;
        // COMPAT: a negative length means everything (nova, since unlimited_length).
        let Some(length) = length.and_then(|l| usize::try_from(l).ok()) else {
            return Ok(log);
        };
        // COMPAT: what follows the last newline counts as a line, as upstream's split at newlines has it.
        let lines: Vec<&str> = log.split('\n').collect();
        Ok(lines[lines.len().saturating_sub(length)..].join("\n"))
    }

    async fn vnc_console(&self, _: &RequestContext, uuid: String) -> Result<ConsoleAddress> {
        self.require(checked(&uuid)?).await?;
        self.driver.vnc(&uuid).await
    }

    async fn instance_state(&self, _: &RequestContext, uuid: String) -> Result<PowerState> {
        self.require(checked(&uuid)?).await
    }

    async fn diagnostics(&self, _: &RequestContext, uuid: String) -> Result<Value> {
        self.require(checked(&uuid)?).await?;
        self.driver.diagnostics(&uuid).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_their_folder() {
        assert!(checked("6a6d2b5e-0f39-4a5e-9a43-0b5a6d6f7a01").is_ok());
        for bad in ["", "..", ".", "a/b", "/etc", "_base", "../x"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
