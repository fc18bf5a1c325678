//! An agent removes the objects -> the row goes.

use crate::Cinder;
use crate::backup::keeper;
use crate::backup::record::NO_VOLUME;
use crate::backup::status::{BackupStatus, Verb, transition};
use crate::db::{self, BackupRow};
use crate::volume::reason;
use base::{Error, Result};
use cinder_types::BackupClient;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct DeleteBackup {
    backup_id: String,
    resource_id: String,
    request_id: String,
}

impl DeleteBackup {
    pub fn new(backup: &BackupRow, request_id: &str) -> DeleteBackup {
        DeleteBackup {
            backup_id: backup.id.clone(),
            resource_id: working_on(backup).to_string(),
            request_id: request_id.to_string(),
        }
    }
}

/// What flows name that work on a backup itself: those that make and delete it follow each other.
pub fn working_on(backup: &BackupRow) -> &str {
    match backup.volume_id.as_str() {
        NO_VOLUME => &backup.id,
        volume => volume,
    }
}

impl Flow for DeleteBackup {
    const NAME: &'static str = "cinder.delete_backup";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("remove", |flow, cinder| Box::pin(remove(flow, cinder))).retries(6),
            Step::new("forget", |flow, cinder| Box::pin(forget(flow, cinder))),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.resource_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, now, why) = (self.backup_id.clone(), cinder.clock.now(), reason(&error));
            tracing::warn!(backup.id = %id, %error, "a backup could not be deleted");
            let fail = move |tx: &mut Tx| {
                transition(
                    tx,
                    &id,
                    Verb::DeleteFailed,
                    now,
                    &[set("fail_reason", &why)],
                )
                .map(drop)
            };
            cinder.db.write(fail).await
        })
    }
}

async fn remove(flow: &mut DeleteBackup, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.backup_id.clone();
    let row = cinder.db.read(move |tx| db::backups::find(tx, &id)).await?;
    // One that never had an agent has no objects.
    let Some(row) = row.filter(|row| row.host.is_some()) else {
        return Ok(());
    };
    let agent = keeper(&cinder, row.host.as_deref(), row.service.as_deref()).await?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    let agent = BackupClient::new(&cinder.bus).server(&agent.host);
    match agent.delete_backup(&ctx, row.place()).await {
        // A record that was imported and names nothing: there is nothing to remove.
        Err(error) if error.kind() == base::Kind::BadRequest => {
            tracing::warn!(backup.id = %row.id, %error, "a record of no backup is forgotten");
            Ok(())
        }
        done => done,
    }
}

async fn forget(flow: &mut DeleteBackup, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.backup_id.clone();
    let gone = move |tx: &mut Tx| {
        let deleting = [eq("id", &id), eq("status", BackupStatus::Deleting)];
        tx.delete::<BackupRow>(all(deleting)).map(drop)
    };
    cinder.db.write(gone).await
}
