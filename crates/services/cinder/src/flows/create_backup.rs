//! Choose an agent -> it keeps the volume's bytes -> available; the volume is given back either way.

use crate::Cinder;
use crate::backup::status::{Verb, transition};
use crate::backup::{self, beside};
use crate::db::{self, AttachmentRow, BackupRow};
use crate::snapshot::status::{Verb as SnapshotVerb, transition as transition_snapshot};
use crate::volume::{reason, status::VolumeStatus, status::give_back};
use base::{Error, Result, Timestamp};
use cinder_types::{BackupClient, BackupSpec};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct CreateBackup {
    pub backup_id: String,
    pub volume_id: String,
    pub request_id: String,
}

impl Flow for CreateBackup {
    const NAME: &'static str = "cinder.create_backup";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("choose", |flow, cinder| Box::pin(choose(flow, cinder))).retries(4),
            Step::new("keep", |flow, cinder| Box::pin(keep(flow, cinder)))
                .undo(|flow, cinder| Box::pin(forget(flow, cinder)))
                .retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    /// A volume's flows run one after another: nothing is made of it, nor is it deleted, meanwhile.
    fn resource_id(&self) -> &str {
        &self.volume_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, volume, now) = (
                self.backup_id.clone(),
                self.volume_id.clone(),
                cinder.clock.now(),
            );
            let why = reason(&error);
            tracing::warn!(backup.id = %id, volume.id = %volume, %error, "a backup could not be made");
            let fail = move |tx: &mut Tx| {
                transition(
                    tx,
                    &id,
                    Verb::CreateFailed,
                    now,
                    &[set("fail_reason", &why)],
                )?;
                release(tx, &id, &volume, now)
            };
            cinder.db.write(fail).await
        })
    }
}

/// The volume, or the snapshot, is its owner's again.
fn release(tx: &mut Tx, backup_id: &str, volume_id: &str, now: Timestamp) -> Result<()> {
    let backup = db::backups::find(tx, backup_id)?;
    match backup.and_then(|b| b.snapshot_id) {
        Some(id) => transition_snapshot(tx, &id, SnapshotVerb::BackedUp, now, &[]).map(drop),
        None => give_back(tx, volume_id, VolumeStatus::BackingUp, now),
    }
}

async fn row(cinder: &Cinder, id: &str) -> Result<BackupRow> {
    let (id, gone) = (id.to_string(), id.to_string());
    let found = cinder.db.read(move |tx| db::backups::find(tx, &id)).await?;
    found.ok_or_else(|| db::backups::not_found(&gone))
}

async fn choose(flow: &mut CreateBackup, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    let volume = cinder.db.read(move |tx| db::volumes::find(tx, &id)).await?;
    let volume = volume.ok_or_else(|| db::volumes::not_found(&flow.volume_id))?;
    let backend = volume
        .backend()
        .ok_or_else(|| Error::conflict("The volume is not on any backend."))?;
    let agent = beside(&cinder, backend).await?;
    let id = flow.backup_id.clone();
    let values = [
        set("host", Some(agent.host)),
        set("service", agent.report.0.backup_service),
    ];
    cinder
        .db
        .write(move |tx| tx.update::<BackupRow>(eq("id", &id), &values).map(drop))
        .await
}

/// An agent of backups, which may take its time.
fn agent(cinder: &Cinder, row: &BackupRow) -> Result<BackupClient> {
    let host = row.host.as_deref().ok_or_else(backup::no_service)?;
    let patience = Duration::from_secs(cinder.conf.backup_timeout);
    Ok(BackupClient::new(&cinder.bus)
        .server(host)
        .timeout(patience))
}

async fn keep(flow: &mut CreateBackup, cinder: Arc<Cinder>) -> Result<()> {
    let row = row(&cinder, &flow.backup_id).await?;
    let (parent_id, volume) = (row.parent_id.clone(), flow.volume_id.clone());
    let (parent, in_use) = cinder
        .db
        .read(move |tx| {
            let parent = match &parent_id {
                Some(id) => Some(
                    db::backups::find(tx, id)?
                        .ok_or_else(|| db::backups::not_found(id))?
                        .place(),
                ),
                None => None,
            };
            Ok((
                parent,
                tx.exists::<AttachmentRow>(eq("volume_id", &volume))?,
            ))
        })
        .await?;
    let spec = BackupSpec {
        backup: row.place(),
        volume_id: flow.volume_id.clone(),
        snapshot_id: row.snapshot_id.clone(),
        size: row.size,
        in_use,
        parent,
        extra: row.extra.0.clone(),
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let info = agent(&cinder, &row)?.create_backup(&ctx, spec).await?;
    let id = row.id;
    let values = [
        set("container", Some(info.container)),
        set("object_count", info.object_count),
    ];
    cinder
        .db
        .write(move |tx| tx.update::<BackupRow>(eq("id", &id), &values).map(drop))
        .await
}

async fn forget(flow: &mut CreateBackup, cinder: Arc<Cinder>) -> Result<()> {
    let row = match row(&cinder, &flow.backup_id).await {
        Err(e) if e.is_not_found() => return Ok(()),
        row => row?,
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let place = row.place();
    if let Err(error) = agent(&cinder, &row)?.delete_backup(&ctx, place).await {
        // The backup ends in error with its place; deleting it tries again.
        tracing::warn!(backup.id = %row.id, %error, "what was half kept could not be removed");
    }
    Ok(())
}

async fn finish(flow: &mut CreateBackup, cinder: Arc<Cinder>) -> Result<()> {
    let (id, volume, now) = (
        flow.backup_id.clone(),
        flow.volume_id.clone(),
        cinder.clock.now(),
    );
    cinder
        .db
        .write(move |tx| {
            // False if it is being deleted by force: that waits for us, and then removes it.
            transition(tx, &id, Verb::Created, now, &[])?;
            release(tx, &id, &volume, now)
        })
        .await
}
