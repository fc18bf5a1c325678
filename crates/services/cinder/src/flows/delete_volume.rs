//! The agent removes its snapshots, if they go with it, and itself -> the rows go.

use crate::Cinder;
use crate::db::{self, AttachmentRow, SnapshotRow, VolumeRow};
use crate::snapshot::status::{
    SnapshotStatus, Verb as SnapshotVerb, transition as transition_snapshot,
};
use crate::volume::reason;
use crate::volume::status::{Verb, VolumeStatus, transition};
use base::{Error, Result};
use cinder_types::{Noun, VolumeClient};
use oslo_context::RequestContext;
use oslo_db::{all, eq, is_in, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct DeleteVolume {
    pub volume_id: String,
    /// What it holds stays on the backend.
    #[serde(default)]
    pub keep: bool,
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
                let why = [set("reason", &why)];
                for snapshot in db::snapshots::of_volume(tx, &id)? {
                    transition_snapshot(tx, &snapshot.id, SnapshotVerb::DeleteFailed, now, &why)?;
                }
                transition(tx, &id, Verb::DeleteFailed, now, &why).map(drop)
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
    let agent = VolumeClient::new(&cinder.bus).server(backend);
    let id = volume.id.clone();
    let snapshots = cinder
        .db
        .read(move |tx| db::snapshots::of_volume(tx, &id))
        .await?;
    for snapshot in snapshots {
        agent.delete_snapshot(&ctx, snapshot.id.clone()).await?;
        let gone = move |tx: &mut oslo_db::Tx| {
            let deleting = [
                eq("id", &snapshot.id),
                eq("status", SnapshotStatus::Deleting),
            ];
            tx.delete::<SnapshotRow>(all(deleting)).map(drop)
        };
        cinder.db.write(gone).await?;
    }
    if flow.keep {
        return agent.unmanage(&ctx, Noun::Volume, volume.id.clone()).await;
    }
    agent.delete_volume(&ctx, volume.id.clone()).await
}

async fn forget(flow: &mut DeleteVolume, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    cinder
        .db
        .write(move |tx| {
            let going = [VolumeStatus::Deleting, VolumeStatus::Unmanaging];
            let deleting = all([eq("id", &id), is_in("status", going)]);
            if tx.delete::<VolumeRow>(deleting)? > 0 {
                // Of a volume that never had a host.
                tx.delete::<SnapshotRow>(eq("volume_id", &id))?;
                tx.delete::<AttachmentRow>(eq("volume_id", &id))?;
                db::transfers::forget(tx, &id)?;
            }
            Ok(())
        })
        .await
}
