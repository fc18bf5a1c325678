//! The agent removes it -> the row goes.

use crate::Cinder;
use crate::db::{self, AttachmentRow, VolumeRow};
use crate::volume::reason;
use crate::volume::status::{Verb, VolumeStatus, transition};
use base::{Error, Result};
use cinder_types::VolumeClient;
use oslo_context::RequestContext;
use oslo_db::{all, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct DeleteVolume {
    pub volume_id: String,
    pub request_id: String,
}

impl Flow for DeleteVolume {
    const NAME: &'static str = "cinder.delete_volume";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("remove", |flow, cinder| Box::pin(remove(flow, cinder))).retries(6),
            Step::new("forget", |flow, cinder| Box::pin(forget(flow, cinder))),
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
            let (id, now, why) = (self.volume_id.clone(), cinder.clock.now(), reason(&error));
            tracing::warn!(volume.id = %id, %error, "a volume could not be deleted");
            let fail = move |tx: &mut oslo_db::Tx| {
                transition(tx, &id, Verb::DeleteFailed, now, &[set("reason", &why)]).map(drop)
            };
            cinder.db.write(fail).await
        })
    }
}

async fn remove(flow: &mut DeleteVolume, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    let volume = cinder.db.read(move |tx| db::volumes::find(tx, &id)).await?;
    let Some(volume) = volume else {
        return Ok(());
    };
    let Some(backend) = volume.backend() else {
        return Ok(());
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    VolumeClient::new(&cinder.bus)
        .server(backend)
        .delete_volume(&ctx, volume.id.clone())
        .await
}

async fn forget(flow: &mut DeleteVolume, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    cinder
        .db
        .write(move |tx| {
            let deleting = all([eq("id", &id), eq("status", VolumeStatus::Deleting)]);
            if tx.delete::<VolumeRow>(deleting)? > 0 {
                tx.delete::<AttachmentRow>(eq("volume_id", &id))?;
            }
            Ok(())
        })
        .await
}
