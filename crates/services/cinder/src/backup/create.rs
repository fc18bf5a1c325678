//! Making a backup: row, quota and flow in one transaction; the volume is the backup's meanwhile.

use super::invalid_backup;
use super::status::BackupStatus;
use crate::db::{self, BackupRow, SnapshotRow, VolumeRow};
use crate::flows::CreateBackup;
use crate::snapshot::invalid_snapshot;
use crate::snapshot::status::{
    SnapshotStatus, Verb as SnapshotVerb, transition as transition_snapshot,
};
use crate::volume::invalid_volume;
use crate::volume::status::{Verb, VolumeStatus, transition};
use crate::{Cinder, quota};
use base::{Dir, Json, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, set};
use serde_json::{Map, Value, json};

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct NewBackup {
    pub volume_id: String,
    pub snapshot_id: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub container: Option<String>,
    pub incremental: bool,
    pub force: bool,
    pub metadata: Map<String, Value>,
    pub availability_zone: Option<String>,
}

/// The youngest backup of the volume that can be added to.
fn parent(tx: &mut Tx, volume: &VolumeRow, project: &str) -> Result<BackupRow> {
    let own = all([eq("volume_id", &volume.id), eq("project_id", project)]);
    let sort = [("created_at", Dir::Desc), ("id", Dir::Desc)];
    let rows = tx.select_sorted::<BackupRow>(own, &sort, None)?;
    if rows.is_empty() {
        return Err(invalid_backup(
            "No backups available to do an incremental backup.",
        ));
    }
    let usable = |r: &BackupRow| r.status == BackupStatus::Available;
    rows.into_iter().find(usable).ok_or_else(|| {
        invalid_backup("The parent backup must be available for incremental backup.")
    })
}

/// What the volume is beside its bytes, and gets again with a restore.
fn extra(volume: &VolumeRow) -> Value {
    json!({
        "bootable": volume.bootable,
        "image_id": volume.image_id,
        "image_metadata": volume.image_metadata.0,
    })
}

fn check(volume: &VolumeRow, new: &NewBackup) -> Result<()> {
    match volume.status {
        VolumeStatus::Available => Ok(()),
        VolumeStatus::InUse if new.force || new.snapshot_id.is_some() => Ok(()),
        VolumeStatus::InUse => Err(invalid_volume(
            "Backing up an in-use volume must use the force flag.",
        )),
        other => Err(invalid_volume(format!(
            "Volume to be backed up must be available or in-use, but the current status is \"{other}\"."
        ))),
    }
}

/// A snapshot of the volume that can be backed up.
fn of_snapshot(
    tx: &mut Tx,
    ctx: &RequestContext,
    volume: &VolumeRow,
    id: &str,
) -> Result<SnapshotRow> {
    let snapshot = db::snapshots::lock(tx, ctx, id)?;
    if snapshot.volume_id != volume.id {
        return Err(invalid_snapshot(format!(
            "Snapshot {id} is not one of volume {}.",
            volume.id
        )));
    }
    if snapshot.status != SnapshotStatus::Available {
        return Err(invalid_snapshot(format!(
            "Snapshot to be backed up must be available, but the current status is \"{}\".",
            snapshot.status
        )));
    }
    Ok(snapshot)
}

/// Objects' names of a backup: whose they are can be told from them.
fn prefix(id: &str, volume_id: &str, zone: &str, at: Timestamp) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let zone: String = zone.chars().map(plain).take(60).collect();
    let at = at.format("%Y%m%d%H%M%S");
    format!("volume_{volume_id}/{at}/az_{zone}_backup_{id}")
}

pub async fn create(cinder: &Cinder, ctx: &RequestContext, new: NewBackup) -> Result<BackupRow> {
    let (limits, engine, now) = (
        cinder.limits.clone(),
        cinder.engine.clone(),
        cinder.clock.now(),
    );
    let (ctx, default_zone) = (ctx.clone(), cinder.conf.storage_availability_zone.clone());
    let row = cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &new.volume_id)?;
            check(&volume, &new)?;
            let mut at = now;
            let mut size = volume.size;
            if let Some(id) = &new.snapshot_id {
                let snapshot = of_snapshot(tx, &ctx, &volume, id)?;
                (size, at) = (snapshot.size, snapshot.created_at);
                transition_snapshot(tx, id, SnapshotVerb::BackUp, now, &[])?;
            }
            quota::reserve_backup(&limits, tx, ctx.project(), size)?;
            let parent = match new.incremental {
                true => Some(parent(tx, &volume, ctx.project())?),
                false => None,
            };
            let zone = new
                .availability_zone
                .clone()
                .unwrap_or_else(|| default_zone.clone());
            let id = base::new_id();
            let row = BackupRow {
                prefix: prefix(&id, &volume.id, &zone, now),
                id,
                project_id: ctx.project().to_string(),
                user_id: ctx.user().to_string(),
                volume_id: volume.id.clone(),
                snapshot_id: new.snapshot_id.clone(),
                container: new.container.clone(),
                parent_id: parent.map(|p| p.id),
                name: new.name.clone(),
                description: new.description.clone(),
                status: BackupStatus::Creating,
                availability_zone: new.availability_zone.clone(),
                host: None,
                service: None,
                size,
                object_count: 0,
                fail_reason: None,
                metadata: Json(new.metadata.clone()),
                extra: Json(extra(&volume)),
                data_timestamp: at,
                restore_volume_id: None,
                created_at: now,
                updated_at: None,
            };
            let previous = [set("previous_status", volume.status)];
            if new.snapshot_id.is_none()
                && !transition(tx, &volume.id, Verb::BackUp, now, &previous)?
            {
                return Err(invalid_volume(format!(
                    "Volume status must be {} to back it up.",
                    Verb::BackUp.expected()
                )));
            }
            tx.insert(&row)?;
            engine.submit(
                tx,
                &CreateBackup {
                    backup_id: row.id.clone(),
                    volume_id: volume.id,
                    request_id: ctx.request_id.clone(),
                },
            )?;
            Ok(row)
        })
        .await?;
    cinder.engine.wake();
    tracing::info!(backup.id = %row.id, volume.id = %row.volume_id, "backup create accepted");
    Ok(row)
}
