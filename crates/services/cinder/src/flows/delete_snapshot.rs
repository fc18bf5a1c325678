//! The agent removes it -> the row goes.

use super::create_snapshot;
use crate::Cinder;
use crate::db::{self, SnapshotRow};
use crate::message::{Action, Detail, Message};
use crate::snapshot::status::{SnapshotStatus, Verb, transition};
use crate::volume::reason;
use base::{Error, Result};
use oslo_context::RequestContext;
use oslo_db::{all, eq, is_in, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct DeleteSnapshot {
    pub snapshot_id: String,
    /// What it holds stays on the backend.
    #[serde(default)]
    pub keep: bool,
    pub request_id: String,
}

impl Flow for DeleteSnapshot {
    const NAME: &'static str = "cinder.delete_snapshot";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("remove", |flow, cinder| Box::pin(remove(flow, cinder))).retries(6),
            Step::new("forget", |flow, cinder| Box::pin(forget(flow, cinder))),
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
            tracing::warn!(snapshot.id = %id, %error, "a snapshot could not be deleted");
            let (request, ttl) = (self.request_id.clone(), cinder.message_ttl());
            let fail = move |tx: &mut oslo_db::Tx| {
                let Some(snapshot) = db::snapshots::find(tx, &id)? else {
                    return Ok(());
                };
                if transition(tx, &id, Verb::DeleteFailed, now, &[set("reason", &why)])? {
                    let (action, detail) = (Action::SnapshotDelete, Detail::SnapshotDeleteError);
                    Message::of_snapshot(&snapshot, &request, action, detail)
                        .write(tx, now, ttl)?;
                }
                Ok(())
            };
            cinder.db.write(fail).await
        })
    }
}

async fn remove(flow: &mut DeleteSnapshot, cinder: Arc<Cinder>) -> Result<()> {
    let ctx = RequestContext::internal_for(&flow.request_id);
    create_snapshot::remove(&flow.snapshot_id, &cinder, &ctx, flow.keep).await
}

async fn forget(flow: &mut DeleteSnapshot, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.snapshot_id.clone();
    let gone = move |tx: &mut oslo_db::Tx| {
        let going = [SnapshotStatus::Deleting, SnapshotStatus::Unmanaging];
        let deleting = all([eq("id", &id), is_in("status", going)]);
        tx.delete::<SnapshotRow>(deleting).map(drop)
    };
    cinder.db.write(gone).await
}
