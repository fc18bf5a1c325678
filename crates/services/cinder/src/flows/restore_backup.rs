//! The agent gives the volume a backup's bytes -> available; the backup is what it was either way.

use crate::Cinder;
use crate::backup::no_service;
use crate::backup::status::{Verb as BackupVerb, transition as transition_backup};
use crate::db::{self, VolumeRow};
use crate::volume::reason;
use crate::volume::status::{Verb, VolumeStatus, transition};
use base::{Error, Json, Result};
use cinder_types::BackupClient;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct RestoreBackup {
    pub backup_id: String,
    pub volume_id: String,
    pub request_id: String,
}

impl Flow for RestoreBackup {
    const NAME: &'static str = "cinder.restore_backup";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("restore", |flow, cinder| Box::pin(restore(flow, cinder))).retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    /// It runs after the flow that makes the volume, where that is new.
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
            tracing::warn!(backup.id = %id, volume.id = %volume, %error, "a backup could not be restored");
            let fail = move |tx: &mut Tx| {
                let none: Option<String> = None;
                let why = [set("fail_reason", &why)];
                let rest = [set("restore_volume_id", none)];
                transition_backup(tx, &id, BackupVerb::Restored, now, &rest)?;
                tx.update::<db::BackupRow>(eq("id", &id), &why)?;
                let why = [("reason", why[0].1.clone())];
                transition(tx, &volume, Verb::RestoreFailed, now, &why).map(drop)
            };
            cinder.db.write(fail).await
        })
    }
}

async fn restore(flow: &mut RestoreBackup, cinder: Arc<Cinder>) -> Result<()> {
    let (id, volume_id) = (flow.backup_id.clone(), flow.volume_id.clone());
    let (chain, volume) = cinder
        .db
        .read(move |tx| {
            let backup = db::backups::find(tx, &id)?.ok_or_else(|| db::backups::not_found(&id))?;
            let volume = db::volumes::find(tx, &volume_id)?;
            Ok((db::backups::chain(tx, &backup)?, volume))
        })
        .await?;
    let volume = volume.filter(|v| v.status == VolumeStatus::RestoringBackup);
    let volume =
        volume.ok_or_else(|| Error::conflict("The volume for the backup could not be made."))?;
    let backend = volume.backend().ok_or_else(no_service)?;
    let patience = Duration::from_secs(cinder.conf.backup_timeout);
    let ctx = RequestContext::internal_for(&flow.request_id);
    BackupClient::new(&cinder.bus)
        .server(backend)
        .timeout(patience)
        .restore_backup(&ctx, chain, volume.id.clone(), volume.size)
        .await
}

async fn finish(flow: &mut RestoreBackup, cinder: Arc<Cinder>) -> Result<()> {
    let (id, volume, now) = (
        flow.backup_id.clone(),
        flow.volume_id.clone(),
        cinder.clock.now(),
    );
    cinder
        .db
        .write(move |tx| {
            if let Some(backup) = db::backups::find(tx, &id)? {
                let extra = &backup.extra.0;
                let images: Map<String, Value> = extra["image_metadata"]
                    .as_object()
                    .cloned()
                    .unwrap_or_default();
                let values = [
                    set("bootable", extra["bootable"] == true),
                    set("image_metadata", Json(images)),
                ];
                let ours = all([
                    eq("id", &volume),
                    eq("status", VolumeStatus::RestoringBackup),
                ]);
                tx.update::<VolumeRow>(ours, &values)?;
            }
            transition(tx, &volume, Verb::BackupRestored, now, &[])?;
            let none: Option<String> = None;
            let done = [
                set("restore_volume_id", none.clone()),
                set("fail_reason", none),
            ];
            transition_backup(tx, &id, BackupVerb::Restored, now, &done).map(drop)
        })
        .await
}
