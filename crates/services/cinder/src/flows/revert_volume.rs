//! The agent gives the volume the snapshot's bytes -> both are available.

use crate::snapshot::status::{Verb as SnapshotVerb, transition as transition_snapshot};
use crate::volume::reason;
use crate::volume::status::{Verb, VolumeStatus, transition};
use crate::{Cinder, db};
use base::{Error, Result};
use cinder_types::VolumeClient;
use oslo_context::RequestContext;
use oslo_db::{Tx, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct RevertVolume {
    pub volume_id: String,
    pub snapshot_id: String,
    pub request_id: String,
}

impl Flow for RevertVolume {
    const NAME: &'static str = "cinder.revert_volume";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("copy", |flow, cinder| Box::pin(copy(flow, cinder))).retries(4),
            Step::new("finish", |flow, cinder| {
                Box::pin(async move { flow.end(&cinder, Verb::Reverted, None).await })
            }),
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
            tracing::warn!(volume.id = %self.volume_id, %error, "a volume could not be reverted");
            self.end(&cinder, Verb::RevertFailed, Some(reason(&error)))
                .await
        })
    }
}

impl RevertVolume {
    async fn end(&self, cinder: &Cinder, verb: Verb, why: Option<String>) -> Result<()> {
        let (volume, snapshot) = (self.volume_id.clone(), self.snapshot_id.clone());
        let now = cinder.clock.now();
        let end = move |tx: &mut Tx| {
            transition(tx, &volume, verb, now, &[set("reason", why.clone())])?;
            transition_snapshot(tx, &snapshot, SnapshotVerb::Restored, now, &[]).map(drop)
        };
        cinder.db.write(end).await
    }
}

async fn copy(flow: &mut RevertVolume, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    let volume = cinder.db.read(move |tx| db::volumes::find(tx, &id)).await?;
    let volume = volume.ok_or_else(|| db::volumes::not_found(&flow.volume_id))?;
    if volume.status != VolumeStatus::Reverting {
        return Err(Error::conflict("The volume is no longer being reverted."));
    }
    let backend = volume
        .backend()
        .ok_or_else(|| Error::internal("a volume without host is reverted"))?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    VolumeClient::new(&cinder.bus)
        .server(backend)
        .timeout(Duration::from_secs(cinder.conf.image_copy_timeout))
        .revert_to_snapshot(&ctx, volume.id.clone(), flow.snapshot_id.clone())
        .await
}
