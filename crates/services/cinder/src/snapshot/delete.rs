//! Deleting a snapshot.

use super::invalid_snapshot;
use super::status::{SnapshotStatus, Verb, transition};
use crate::Cinder;
use crate::db::{self, SnapshotRow};
use crate::flows::DeleteSnapshot;
use base::Result;
use oslo_context::RequestContext;
use oslo_db::{eq, set};

/// `force` deletes from any status.
pub async fn delete(cinder: &Cinder, ctx: &RequestContext, id: &str, force: bool) -> Result<()> {
    end(cinder, ctx, id, Verb::Delete, force).await
}

/// Forgets the snapshot and leaves what it holds on the backend.
pub async fn unmanage(cinder: &Cinder, ctx: &RequestContext, id: &str) -> Result<()> {
    end(cinder, ctx, id, Verb::Unmanage, false).await
}

async fn end(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    verb: Verb,
    force: bool,
) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let engine = cinder.engine.clone();
    cinder
        .db
        .write(move |tx| {
            let snapshot = db::snapshots::lock(tx, &ctx, &id)?;
            let alone = snapshot.group_snapshot_id.is_none();
            let begun = if force {
                let values = [
                    set("status", SnapshotStatus::Deleting),
                    set("updated_at", now),
                ];
                alone && tx.update::<SnapshotRow>(eq("id", &id), &values)? == 1
            } else {
                alone && transition(tx, &id, verb, now, &[])?
            };
            if !begun {
                let status = match force {
                    true => String::new(),
                    false => format!("status must be {} and ", verb.expected()),
                };
                return Err(invalid_snapshot(format!(
                    "Snapshot {status}must not be part of a group."
                )));
            }
            let flow = DeleteSnapshot {
                snapshot_id: snapshot.id,
                keep: verb == Verb::Unmanage,
                request_id: ctx.request_id.clone(),
            };
            engine.submit(tx, &flow).map(drop)
        })
        .await?;
    cinder.engine.wake();
    Ok(())
}
