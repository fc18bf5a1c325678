//! Giving a volume the bytes of its latest snapshot again (microversion 3.40).

use super::status::{Verb, transition};
use crate::flows::RevertVolume;
use crate::snapshot::status::{Verb as SnapshotVerb, transition as transition_snapshot};
use crate::{Cinder, db};
use base::{Error, Result};
use oslo_context::RequestContext;

pub async fn revert(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    snapshot_id: Option<String>,
) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let engine = cinder.engine.clone();
    cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &id)?;
            let Some(latest) = db::snapshots::of_volume(tx, &id)?.into_iter().next() else {
                return Err(Error::bad_request(format!("Volume {id} has no snapshots.")));
            };
            if snapshot_id.as_ref() != Some(&latest.id) {
                return Err(Error::bad_request(format!(
                    "Specified snapshot {} is None or not the latest one of volume {id}.",
                    snapshot_id.as_deref().unwrap_or("None")
                )));
            }
            if volume.size != latest.size {
                return Err(Error::bad_request(format!(
                    "Can't revert volume {id} to its latest snapshot {}. The volume size must be equal to the \
                     snapshot size.",
                    latest.id
                )));
            }
            let free = db::attachments::of_volume(tx, &id)?.is_empty();
            if !free || !transition(tx, &id, Verb::Revert, now, &[])? {
                return Err(Error::conflict(format!(
                    "Invalid volume: Can't revert volume {id} to its latest snapshot. Volume must be in available \
                     status."
                )));
            }
            if !transition_snapshot(tx, &latest.id, SnapshotVerb::Restore, now, &[])? {
                return Err(Error::conflict(format!(
                    "Invalid snapshot: Snapshot {} must be in available status.",
                    latest.id
                )));
            }
            let flow = RevertVolume {
                volume_id: id.clone(),
                snapshot_id: latest.id,
                request_id: ctx.request_id.clone(),
            };
            engine.submit(tx, &flow).map(drop)
        })
        .await?;
    cinder.engine.wake();
    Ok(())
}
