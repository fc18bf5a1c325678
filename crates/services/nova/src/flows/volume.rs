//! Attach and detach a volume. Cinder's attachment was reserved in the user's name before the flow was submitted.

use super::{event, give_up, host_of, wanted};
use crate::db::{actions, block_devices, instances};
use crate::{Nova, volume};
use base::{Error, Result};
use nova_types::rpc::VolumeSpec;
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The state of an attach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttachVolume {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// The volume.
    pub volume_id: String,
}

async fn device(
    nova: &Nova,
    instance_id: &str,
    volume_id: &str,
) -> Result<Option<block_devices::BlockDeviceRow>> {
    let (i, v) = (instance_id.to_string(), volume_id.to_string());
    nova.db
        .read(move |tx| block_devices::find(tx, &i, &v))
        .await
}

impl Flow for AttachVolume {
    const NAME: &'static str = "attach_volume";
    type Deps = Nova;

    fn steps() -> Vec<Step<AttachVolume>> {
        vec![
            Step::new("connect", |f, n| Box::pin(connect(f, n)))
                .undo(|f, n| Box::pin(unreserve(f, n)))
                .retries(3),
            Step::new("attach", |f, n| Box::pin(attach(f, n)))
                .undo(|f, n| Box::pin(unattach(f, n)))
                .retries(2),
            Step::new("complete", |f, n| Box::pin(complete(f, n))).retries(10),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, request_id, now) = (
                self.instance_id.clone(),
                self.request_id.clone(),
                nova.clock.now(),
            );
            tracing::warn!(
                server.id = id,
                volume.id = self.volume_id,
                "attach failed: {error}"
            );
            let words = error.message().to_string();
            nova.db
                .write(move |tx| actions::finish(tx, &id, &request_id, now, Some(&words)))
                .await
        })
    }
}

async fn connect(flow: &mut AttachVolume, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let Some(device) = device(&nova, &flow.instance_id, &flow.volume_id).await? else {
        return Err(Error::conflict("The attachment was withdrawn."));
    };
    let Some(attachment) = device.attachment_id.clone() else {
        return Err(Error::internal("an attachment without id"));
    };
    if device.connection_info.is_some() {
        return Ok(());
    }
    let host = host_of(&instance)?;
    let sdk = nova.sdk.for_request(&flow.request_id);
    let info = volume::connect(
        &sdk,
        &instance.project_id,
        &attachment,
        host,
        &device.device_name,
    )
    .await?;
    let info = volume::connection(&info);
    nova.db
        .write(move |tx| block_devices::connected(tx, &device.id, &attachment, &info))
        .await
}

async fn unreserve(flow: &mut AttachVolume, nova: Arc<Nova>) -> Result<()> {
    forget(&nova, &flow.instance_id, &flow.volume_id, &flow.request_id).await
}

/// Gives the attachment back and removes the row.
async fn forget(nova: &Nova, instance_id: &str, volume_id: &str, request_id: &str) -> Result<()> {
    let Some(device) = device(nova, instance_id, volume_id).await? else {
        return Ok(());
    };
    let sdk = nova.sdk.for_request(request_id);
    if let Some(attachment) = &device.attachment_id {
        volume::release(&sdk, attachment).await?;
    }
    nova.db
        .write(move |tx| {
            tx.delete::<block_devices::BlockDeviceRow>(oslo_db::eq("id", device.id.as_str()))
        })
        .await
        .map(|_| ())
}

async fn attach(flow: &mut AttachVolume, nova: Arc<Nova>) -> Result<()> {
    let started = nova.clock.now();
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = host_of(&instance)?.to_string();
    let device = device(&nova, &flow.instance_id, &flow.volume_id)
        .await?
        .ok_or_else(|| Error::conflict("The attachment was withdrawn."))?;
    let spec = VolumeSpec {
        volume_id: device.volume_id,
        connection_info: device.connection_info.map(|c| c.0).unwrap_or_default(),
        device: device.device_name,
        boot_index: device.boot_index,
        size_gb: device.size_gb as u64,
        tag: device.tag,
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    nova.compute(&host)
        .attach_volume(&ctx, flow.instance_id.clone(), spec)
        .await?;
    event(
        &nova,
        &flow.instance_id,
        &flow.request_id,
        "compute_attach_volume",
        Some(host),
        started,
    )
    .await
}

async fn unattach(flow: &mut AttachVolume, nova: Arc<Nova>) -> Result<()> {
    take_from_guest(&nova, &flow.instance_id, &flow.volume_id, &flow.request_id).await
}

async fn take_from_guest(
    nova: &Nova,
    instance_id: &str,
    volume_id: &str,
    request_id: &str,
) -> Result<()> {
    let id = instance_id.to_string();
    let Some(host) = nova
        .db
        .read(move |tx| instances::find(tx, &id))
        .await?
        .and_then(|i| i.host)
    else {
        return Ok(());
    };
    let ctx = RequestContext::internal_for(request_id);
    match nova
        .compute(&host)
        .detach_volume(&ctx, instance_id.to_string(), volume_id.to_string())
        .await
    {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

async fn complete(flow: &mut AttachVolume, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    if let Some(attachment) = device(&nova, &flow.instance_id, &flow.volume_id)
        .await?
        .and_then(|d| d.attachment_id)
    {
        volume::complete(
            &nova.sdk.for_request(&flow.request_id),
            &instance.project_id,
            &attachment,
        )
        .await?;
    }
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| actions::finish(tx, &id, &request_id, now, None))
        .await
}

/// The state of a detach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DetachVolume {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// The volume.
    pub volume_id: String,
}

impl Flow for DetachVolume {
    const NAME: &'static str = "detach_volume";
    type Deps = Nova;

    fn steps() -> Vec<Step<DetachVolume>> {
        vec![
            Step::new("detach", |f, n| Box::pin(detach(f, n))).retries(3),
            Step::new("release", |f, n| Box::pin(release(f, n))).retries(20),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(
            async move { give_up(&nova, &self.instance_id, &self.request_id, &error, None).await },
        )
    }
}

async fn detach(flow: &mut DetachVolume, nova: Arc<Nova>) -> Result<()> {
    take_from_guest(&nova, &flow.instance_id, &flow.volume_id, &flow.request_id).await
}

async fn release(flow: &mut DetachVolume, nova: Arc<Nova>) -> Result<()> {
    forget(&nova, &flow.instance_id, &flow.volume_id, &flow.request_id).await?;
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| actions::finish(tx, &id, &request_id, now, None))
        .await
}
