//! Deleting a backup.

use super::invalid_backup;
use super::status::{Verb, transition};
use crate::Cinder;
use crate::db::{self, BackupRow};
use crate::flows::DeleteBackup;
use base::Result;
use oslo_context::RequestContext;
use oslo_db::eq;

/// `force` deletes from any status; what others add to stays.
pub async fn delete(cinder: &Cinder, ctx: &RequestContext, id: &str, force: bool) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let engine = cinder.engine.clone();
    cinder
        .db
        .write(move |tx| {
            let backup = db::backups::lock(tx, &ctx, &id)?;
            let verb = if force {
                Verb::ForceDelete
            } else {
                Verb::Delete
            };
            if tx.exists::<BackupRow>(eq("parent_id", &id))? {
                return Err(invalid_backup("Incremental backups exist for this backup."));
            }
            if !transition(tx, &id, verb, now, &[])? {
                if force {
                    return Ok(());
                }
                return Err(invalid_backup("Backup status must be available or error"));
            }
            engine.submit(tx, &DeleteBackup::new(&backup, &ctx.request_id))?;
            Ok(())
        })
        .await?;
    cinder.engine.wake();
    Ok(())
}
