//! A volume of a server. Cinder's attachment was reserved in the user's name before the flow was submitted.

use super::device::Device;
use super::host_of;
use crate::db::block_devices::{self, BlockDeviceRow};
use crate::db::instances::InstanceRow;
use crate::{Nova, volume};
use base::{Error, Result};
use nova_types::rpc::{ComputeClient, VolumeSpec};
use oslo_context::RequestContext;
use sdk::Sdk;
use serde::{Deserialize, Serialize};

/// The volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub volume_id: String,
}

impl Volume {
    async fn find(&self, nova: &Nova, instance_id: &str) -> Result<Option<BlockDeviceRow>> {
        let (instance, volume) = (instance_id.to_string(), self.volume_id.clone());
        nova.db
            .read(move |tx| block_devices::find(tx, &instance, &volume))
            .await
    }

    async fn get(&self, nova: &Nova, instance_id: &str) -> Result<BlockDeviceRow> {
        let found = self.find(nova, instance_id).await?;
        found.ok_or_else(|| Error::conflict("The attachment was withdrawn."))
    }
}

impl Device for Volume {
    const ATTACH: &'static str = "attach_volume";
    const DETACH: &'static str = "detach_volume";
    const ATTACHED: &'static str = "compute_attach_volume";

    async fn connect(&self, nova: &Nova, sdk: &Sdk, instance: &InstanceRow) -> Result<()> {
        let device = self.get(nova, &instance.id).await?;
        let Some(attachment) = device.attachment_id else {
            return Err(Error::internal("an attachment without id"));
        };
        if device.connection_info.is_some() {
            return Ok(());
        }
        let (project, host) = (&instance.project_id, host_of(instance)?);
        let info =
            volume::connect(nova, sdk, project, &attachment, host, &device.device_name).await?;
        let info = volume::connection(&info);
        nova.db
            .write(move |tx| block_devices::connected(tx, &device.id, &attachment, &info))
            .await
    }

    async fn plug(
        &self,
        nova: &Nova,
        ctx: &RequestContext,
        instance: &InstanceRow,
        compute: &ComputeClient,
    ) -> Result<()> {
        let device = self.get(nova, &instance.id).await?;
        let spec = VolumeSpec {
            volume_id: device.volume_id,
            connection_info: device.connection_info.map(|c| c.0).unwrap_or_default(),
            device: device.device_name,
            boot_index: device.boot_index,
            size_gb: device.size_gb as u64,
            tag: device.tag,
        };
        compute.attach_volume(ctx, instance.id.clone(), spec).await
    }

    async fn complete(&self, nova: &Nova, sdk: &Sdk, instance: &InstanceRow) -> Result<()> {
        let device = self.find(nova, &instance.id).await?;
        match device.and_then(|d| d.attachment_id) {
            Some(attachment) => volume::complete(sdk, &instance.project_id, &attachment).await,
            None => Ok(()),
        }
    }

    async fn unplug(
        &self,
        ctx: &RequestContext,
        instance_id: &str,
        compute: &ComputeClient,
    ) -> Result<()> {
        let (instance, volume) = (instance_id.to_string(), self.volume_id.clone());
        compute.detach_volume(ctx, instance, volume).await
    }

    async fn release(&self, nova: &Nova, sdk: &Sdk, instance_id: &str) -> Result<()> {
        let Some(device) = self.find(nova, instance_id).await? else {
            return Ok(());
        };
        if let Some(attachment) = &device.attachment_id {
            volume::release(sdk, attachment).await?;
        }
        nova.db
            .write(move |tx| tx.delete::<BlockDeviceRow>(oslo_db::eq("id", device.id.as_str())))
            .await
            .map(drop)
    }
}
