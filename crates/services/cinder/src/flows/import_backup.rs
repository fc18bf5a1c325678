//! An agent looks at the objects that a record names -> available, or error.

use crate::Cinder;
use crate::backup::status::{Verb, transition};
use crate::backup::{invalid_backup, keeper};
use crate::db::{self, BackupRow};
use crate::volume::reason;
use base::{Error, Json, Result};
use cinder_types::BackupClient;
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct ImportBackup {
    pub backup_id: String,
    pub request_id: String,
}

impl Flow for ImportBackup {
    const NAME: &'static str = "cinder.import_backup";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![Step::new("look", |flow, cinder| Box::pin(look(flow, cinder))).retries(4)]
    }

    fn resource_id(&self) -> &str {
        &self.backup_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, now, why) = (self.backup_id.clone(), cinder.clock.now(), reason(&error));
            tracing::warn!(backup.id = %id, %error, "a backup could not be imported");
            let fail = move |tx: &mut Tx| {
                transition(
                    tx,
                    &id,
                    Verb::CreateFailed,
                    now,
                    &[set("fail_reason", &why)],
                )
                .map(drop)
            };
            cinder.db.write(fail).await
        })
    }
}

async fn look(flow: &mut ImportBackup, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.backup_id.clone();
    let (row, parent) = cinder
        .db
        .read(move |tx| {
            let row = db::backups::find(tx, &id)?.ok_or_else(|| db::backups::not_found(&id))?;
            let parent = match &row.parent_id {
                Some(parent) => db::backups::find(tx, parent)?,
                None => None,
            };
            Ok((row, parent))
        })
        .await?;
    let agent = keeper(&cinder, row.host.as_deref(), row.service.as_deref()).await?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    let agent = BackupClient::new(&cinder.bus).server(&agent.host);
    let info = agent.look_at_backup(&ctx, row.place()).await?;
    if info.parent_prefix != parent.map(|p: BackupRow| p.prefix) {
        return Err(invalid_backup(
            "The backup that this one adds to must be imported first.",
        ));
    }
    if info.size != row.size {
        return Err(invalid_backup(format!(
            "The record says {}GB, the backup has {}GB.",
            row.size, info.size
        )));
    }
    let (id, now) = (row.id, cinder.clock.now());
    let values = [
        set("container", Some(info.container)),
        set("object_count", info.object_count),
        set("extra", Json(info.extra)),
    ];
    let done = move |tx: &mut Tx| {
        tx.update::<BackupRow>(eq("id", &id), &values)?;
        transition(tx, &id, Verb::Created, now, &[]).map(drop)
    };
    cinder.db.write(done).await
}
