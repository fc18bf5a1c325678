//! The agent gives the image the volume's bytes -> the volume is given back, either way.

use crate::Cinder;
use crate::db;
use crate::volume::status::{VolumeStatus, give_back};
use crate::volume::upload;
use base::{Error, Result};
use cinder_types::{SourceRef, VolumeClient};
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use sdk::Caller;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct UploadVolume {
    pub volume_id: String,
    pub image_id: String,
    pub disk_format: String,
    pub request_id: String,
}

impl Flow for UploadVolume {
    const NAME: &'static str = "cinder.upload_volume";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("send", |flow, cinder| Box::pin(send(flow, cinder)))
                .undo(|flow, cinder| Box::pin(unsend(flow, cinder)))
                .retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.volume_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            tracing::warn!(volume.id = %self.volume_id, image.id = %self.image_id, %error, "an upload failed");
            release(self, &cinder).await
        })
    }
}

async fn release(flow: &UploadVolume, cinder: &Cinder) -> Result<()> {
    let (id, now) = (flow.volume_id.clone(), cinder.clock.now());
    let done = move |tx: &mut oslo_db::Tx| give_back(tx, &id, VolumeStatus::Uploading, now);
    cinder.db.write(done).await
}

async fn send(flow: &mut UploadVolume, cinder: Arc<Cinder>) -> Result<()> {
    if is_active(flow, &cinder).await? {
        // Done before a crash.
        return Ok(());
    }
    let id = flow.volume_id.clone();
    let (volume, in_use) = cinder
        .db
        .read(move |tx| {
            let volume = db::volumes::find(tx, &id)?.ok_or_else(|| db::volumes::not_found(&id))?;
            Ok((volume, !db::attachments::of_volume(tx, &id)?.is_empty()))
        })
        .await?;
    let backend = volume
        .backend()
        .ok_or_else(|| Error::conflict("The volume is not on any backend."))?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    let source = SourceRef {
        id: volume.id.clone(),
        in_use,
    };
    let sent = VolumeClient::new(&cinder.bus)
        .server(backend)
        .timeout(Duration::from_secs(cinder.conf.image_copy_timeout))
        .upload_volume(
            &ctx,
            source,
            volume.size,
            flow.image_id.clone(),
            flow.disk_format.clone(),
        )
        .await;
    match sent {
        // Another life of this flow was heard by the agent too, and has filled it.
        Err(_) if is_active(flow, &cinder).await? => Ok(()),
        sent => sent,
    }
}

async fn is_active(flow: &UploadVolume, cinder: &Cinder) -> Result<bool> {
    let glance = cinder.sdk.glance();
    let image = glance.image(Caller::Service, &flow.image_id).await?;
    Ok(image.status.as_str() == "active")
}

async fn unsend(flow: &mut UploadVolume, cinder: Arc<Cinder>) -> Result<()> {
    upload::forget(&cinder, &flow.image_id).await;
    Ok(())
}

async fn finish(flow: &mut UploadVolume, cinder: Arc<Cinder>) -> Result<()> {
    release(flow, &cinder).await
}
