//! Making a snapshot: row, quota and flow in one transaction.

use super::status::SnapshotStatus;
use crate::db::{self, SnapshotRow, TypeRow};
use crate::flows::CreateSnapshot;
use crate::volume::invalid_volume;
use crate::volume::status::VolumeStatus::{self, *};
use crate::{Cinder, quota};
use base::{Json, Result};
use oslo_context::RequestContext;
use oslo_db::eq;
use serde_json::{Map, Value};

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct NewSnapshot {
    pub volume_id: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub metadata: Map<String, Value>,
}

/// What volumes may be doing meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing.
    Idle,
    /// Being used by a server.
    InUse,
    /// Anything that leaves the volume's bytes where they are (`force` before 3.66).
    Forced,
}

impl Allowed {
    fn statuses(self) -> &'static [VolumeStatus] {
        match self {
            Allowed::Idle => &[Available],
            Allowed::InUse => &[Available, InUse],
            Allowed::Forced => &[Available, InUse, Reserved, Attaching, Detaching],
        }
    }
}

pub async fn create(
    cinder: &Cinder,
    ctx: &RequestContext,
    new: NewSnapshot,
    allowed: Allowed,
) -> Result<SnapshotRow> {
    let (ctx, now) = (ctx.clone(), cinder.clock.now());
    let (engine, limits, conf) = (
        cinder.engine.clone(),
        cinder.limits.clone(),
        cinder.conf.clone(),
    );
    let row = cinder
        .db
        .write(move |tx| {
            // Who deletes the volume waits, and then sees the snapshot.
            let volume = db::volumes::lock(tx, &ctx, &new.volume_id)?;
            if volume.status == Maintenance {
                return Err(invalid_volume(
                    "The snapshot cannot be created when the volume is in maintenance mode.",
                ));
            }
            if !allowed.statuses().contains(&volume.status) {
                let words: Vec<&str> = allowed.statuses().iter().map(|s| s.as_str()).collect();
                return Err(invalid_volume(format!(
                    "Volume {} status must be {}, but current status is: {}.",
                    volume.id,
                    words.join(" or "),
                    volume.status
                )));
            }
            let kind = tx.find::<TypeRow>(eq("id", &volume.volume_type_id))?;
            quota::reserve_snapshot(
                &limits,
                tx,
                &conf,
                &volume.project_id,
                kind.as_ref(),
                volume.size,
            )?;
            let row = SnapshotRow {
                id: base::new_id(),
                volume_id: volume.id,
                project_id: volume.project_id,
                user_id: ctx.user().to_string(),
                name: new.name.clone(),
                description: new.description.clone(),
                size: volume.size,
                status: SnapshotStatus::Creating,
                progress: "0%".to_string(),
                volume_type_id: volume.volume_type_id,
                group_snapshot_id: None,
                bootable: volume.bootable,
                metadata: Json(new.metadata.clone()),
                image_metadata: volume.image_metadata,
                provider_id: None,
                provider_location: None,
                reason: None,
                created_at: now,
                updated_at: None,
            };
            tx.insert(&row)?;
            let flow = CreateSnapshot {
                snapshot_id: row.id.clone(),
                request_id: ctx.request_id.clone(),
            };
            engine.submit(tx, &flow)?;
            Ok(row)
        })
        .await?;
    cinder.engine.wake();
    tracing::info!(snapshot.id = %row.id, volume.id = %row.volume_id, "snapshot create accepted");
    Ok(row)
}
