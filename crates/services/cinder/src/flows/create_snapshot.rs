//! The agent copies -> available.

use super::create_volume::source;
use crate::Cinder;
use crate::db::{self, SnapshotRow, VolumeRow};
use crate::message::{Action, Detail, Message};
use crate::snapshot::status::{Verb, transition};
use crate::volume::reason;
use base::{Error, Result};
use cinder_types::{Noun, SnapshotSpec, VolumeClient};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct CreateSnapshot {
    pub snapshot_id: String,
    pub request_id: String,
}

impl Flow for CreateSnapshot {
    const NAME: &'static str = "cinder.create_snapshot";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("copy", |flow, cinder| Box::pin(copy(flow, cinder)))
                .undo(|flow, cinder| Box::pin(uncopy(flow, cinder)))
                .retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.snapshot_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, now, why) = (self.snapshot_id.clone(), cinder.clock.now(), reason(&error));
            tracing::warn!(snapshot.id = %id, %error, "a snapshot could not be made");
            let (request, ttl) = (self.request_id.clone(), cinder.message_ttl());
            let fail = move |tx: &mut Tx| {
                let Some(snapshot) = db::snapshots::find(tx, &id)? else {
                    return Ok(());
                };
                if transition(tx, &id, Verb::CreateFailed, now, &[set("reason", &why)])? {
                    let (action, detail) = (Action::SnapshotCreate, Detail::SnapshotCreateError);
                    Message::of_snapshot(&snapshot, &request, action, detail)
                        .write(tx, now, ttl)?;
                }
                Ok(())
            };
            cinder.db.write(fail).await
        })
    }
}

/// The snapshot with its volume, which cannot go while it is there.
async fn rows(id: &str, cinder: &Cinder) -> Result<Option<(SnapshotRow, VolumeRow)>> {
    let id = id.to_string();
    cinder
        .db
        .read(move |tx| {
            let Some(snapshot) = db::snapshots::find(tx, &id)? else {
                return Ok(None);
            };
            let volume = db::volumes::find(tx, &snapshot.volume_id)?;
            Ok(volume.map(|volume| (snapshot, volume)))
        })
        .await
}

async fn copy(flow: &mut CreateSnapshot, cinder: Arc<Cinder>) -> Result<()> {
    let id = &flow.snapshot_id;
    let found = rows(id, &cinder).await?;
    let (snapshot, volume) = found.ok_or_else(|| db::snapshots::not_found(id))?;
    let backend = volume
        .backend()
        .ok_or_else(|| Error::internal("a volume without host has a snapshot"))?;
    let spec = SnapshotSpec {
        id: snapshot.id.clone(),
        volume: source(&cinder, volume.id.clone()).await?,
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let info = VolumeClient::new(&cinder.bus)
        .server(backend)
        .timeout(Duration::from_secs(cinder.conf.image_copy_timeout))
        .create_snapshot(&ctx, spec)
        .await?;
    let keep = move |tx: &mut Tx| {
        let values = [
            set("provider_id", info.provider_id.clone()),
            set("provider_location", info.provider_location.clone()),
        ];
        tx.update::<SnapshotRow>(eq("id", &snapshot.id), &values)
            .map(drop)
    };
    cinder.db.write(keep).await
}

async fn uncopy(flow: &mut CreateSnapshot, cinder: Arc<Cinder>) -> Result<()> {
    let ctx = RequestContext::internal_for(&flow.request_id);
    if let Err(error) = remove(&flow.snapshot_id, &cinder, &ctx, false).await {
        // The snapshot ends in error; deleting it tries again.
        tracing::warn!(snapshot.id = %flow.snapshot_id, %error, "what was half made could not be removed");
    }
    Ok(())
}

/// Has the agent remove what it keeps of a snapshot, or `keep` it as nobody's.
pub(super) async fn remove(
    id: &str,
    cinder: &Cinder,
    ctx: &RequestContext,
    keep: bool,
) -> Result<()> {
    let Some((snapshot, volume)) = rows(id, cinder).await? else {
        return Ok(());
    };
    let Some(backend) = volume.backend() else {
        return Ok(());
    };
    let agent = VolumeClient::new(&cinder.bus).server(backend);
    if keep {
        return agent.unmanage(ctx, Noun::Snapshot, snapshot.id).await;
    }
    agent.delete_snapshot(ctx, snapshot.id).await
}

async fn finish(flow: &mut CreateSnapshot, cinder: Arc<Cinder>) -> Result<()> {
    let (id, now) = (flow.snapshot_id.clone(), cinder.clock.now());
    let done = [set("progress", "100%")];
    cinder
        .db
        .write(move |tx| transition(tx, &id, Verb::Created, now, &done).map(drop))
        .await
}
