//! Giving a volume a backup's bytes: a new one, or one that nobody has.

use super::invalid_backup;
use super::status::{BackupStatus, Verb as BackupVerb, transition as transition_backup};
use crate::Cinder;
use crate::db::{self, BackupRow, VolumeRow};
use crate::flows::RestoreBackup;
use crate::volume::create::{NewVolume, create};
use crate::volume::status::{Verb, transition};
use crate::volume::{invalid_input, invalid_volume};
use base::{Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, set};
use oslo_taskflow::Engine;

fn usable(backup: &BackupRow) -> Result<()> {
    if backup.status != BackupStatus::Available {
        return Err(invalid_backup("Backup status must be available"));
    }
    Ok(())
}

/// Takes the backup for a volume that is on its way to `restoring-backup`, and submits the flow.
pub fn begin(
    tx: &mut Tx,
    engine: &Engine,
    backup: &BackupRow,
    volume_id: &str,
    request_id: &str,
    now: Timestamp,
) -> Result<()> {
    let target = [set("restore_volume_id", Some(volume_id))];
    if !transition_backup(tx, &backup.id, BackupVerb::Restore, now, &target)? {
        return Err(invalid_backup("Backup status must be available"));
    }
    let flow = RestoreBackup {
        backup_id: backup.id.clone(),
        volume_id: volume_id.to_string(),
        request_id: request_id.to_string(),
    };
    engine.submit(tx, &flow).map(drop)
}

/// Into a new volume, which is like the backed-up one.
pub async fn into_new(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    new: NewVolume,
) -> Result<VolumeRow> {
    let (ctx2, id) = (ctx.clone(), id.to_string());
    let backup = cinder
        .db
        .read(move |tx| db::backups::get(tx, &ctx2, &id))
        .await?;
    usable(&backup)?;
    let size = new.size.unwrap_or(backup.size);
    if size < backup.size {
        return Err(invalid_input(format!(
            "Volume size {size}GB cannot be smaller than the backup size {}GB. They must be >= original backup size.",
            backup.size
        )));
    }
    let new = NewVolume {
        size: Some(size),
        backup: Some(backup),
        ..new
    };
    create(cinder, ctx, new).await
}

/// Over a volume that is there.
pub async fn into_existing(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    volume_id: &str,
) -> Result<VolumeRow> {
    let (ctx, id, volume_id) = (ctx.clone(), id.to_string(), volume_id.to_string());
    let (engine, now) = (cinder.engine.clone(), cinder.clock.now());
    let volume = cinder
        .db
        .write(move |tx| {
            let backup = db::backups::lock(tx, &ctx, &id)?;
            usable(&backup)?;
            let volume = db::volumes::lock(tx, &ctx, &volume_id)?;
            if backup.size > volume.size {
                return Err(invalid_volume(format!(
                    "volume size {} is too small to restore backup of size {}.",
                    volume.size, backup.size
                )));
            }
            let free = db::attachments::of_volume(tx, &volume.id)?.is_empty();
            if !free || !transition(tx, &volume.id, Verb::RestoreBackup, now, &[])? {
                return Err(invalid_volume("Volume to be restored to must be available"));
            }
            begin(tx, &engine, &backup, &volume.id, &ctx.request_id, now)?;
            Ok(volume)
        })
        .await?;
    cinder.engine.wake();
    Ok(volume)
}
