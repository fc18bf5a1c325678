//! Deleting a volume.

use super::invalid_volume;
use super::status::{Verb, VolumeStatus, transition};
use crate::Cinder;
use crate::db::{self, VolumeRow};
use crate::flows::DeleteVolume;
use crate::snapshot::status::{Verb as SnapshotVerb, transition as transition_snapshot};
use base::Result;
use oslo_context::RequestContext;
use oslo_db::{all, eq, ne, set};

/// `force` deletes from any status, also of volumes that somebody claims to use; `cascade` with all snapshots.
pub async fn delete(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    force: bool,
    cascade: bool,
) -> Result<()> {
    end(cinder, ctx, id, Verb::Delete, force, cascade).await
}

/// Forgets the volume and leaves what it holds on the backend.
pub async fn unmanage(cinder: &Cinder, ctx: &RequestContext, id: &str) -> Result<()> {
    end(cinder, ctx, id, Verb::Unmanage, false, false).await
}

async fn end(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    verb: Verb,
    force: bool,
    cascade: bool,
) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let engine = cinder.engine.clone();
    cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &id)?;
            let snapshots = db::snapshots::of_volume(tx, &id)?;
            let attached = !force && !db::attachments::of_volume(tx, &id)?.is_empty();
            // Snapshots that stayed behind when the volume was given away are another project's.
            let own = snapshots.iter().all(|s| s.project_id == volume.project_id);
            let free = !attached && (snapshots.is_empty() || (cascade && own));
            let begun = if force && free {
                let other = all([eq("id", &id), ne("status", VolumeStatus::Deleting)]);
                let values = [set("status", VolumeStatus::Deleting), set("updated_at", now)];
                tx.update::<VolumeRow>(other, &values)? == 1
            } else {
                free && transition(tx, &id, verb, now, &[])?
            };
            if !begun {
                if force && free {
                    return Ok(());
                }
                return Err(invalid_volume(format!(
                    "Volume status must be {} and must not be migrating, attached, belong to a group, have \
                     snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.",
                    verb.expected()
                )));
            }
            for snapshot in &snapshots {
                if !transition_snapshot(tx, &snapshot.id, SnapshotVerb::DeleteCascade, now, &[])? {
                    return Err(invalid_volume("Failed to update snapshot."));
                }
            }
            engine.submit(
                tx,
                &DeleteVolume {
                    volume_id: volume.id,
                    keep: verb == Verb::Unmanage,
                    request_id: ctx.request_id.clone(),
                },
            )?;
            Ok(())
        })
        .await?;
    cinder.engine.wake();
    Ok(())
}
