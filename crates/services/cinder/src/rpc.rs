//! What agents may tell us.

use crate::Cinder;
use crate::backup::status::BackupStatus;
use crate::db::{self, AttachmentRow, BackupRow, SnapshotRow, VolumeRow};
use async_trait::async_trait;
use base::Result;
use cinder_types::{BackendReport, SchedulerApi};
use oslo_context::RequestContext;
use oslo_db::{Table, eq, is_in};
use std::collections::HashSet;

#[async_trait]
impl SchedulerApi for Cinder {
    async fn report_backend(&self, _ctx: &RequestContext, report: BackendReport) -> Result<()> {
        let now = self.clock.now();
        self.db
            .write(move |tx| {
                if report.backup_service.is_some() {
                    db::services::seen(tx, db::services::BACKUP, &report, now)?;
                }
                db::services::seen(tx, db::services::VOLUME, &report, now)
            })
            .await
    }

    async fn unknown_volumes(
        &self,
        _ctx: &RequestContext,
        _host: String,
        volume_ids: Vec<String>,
    ) -> Result<Vec<String>> {
        let unknown = self.unknown(volume_ids, |row: VolumeRow| row.id).await?;
        if unknown.is_empty() {
            return Ok(unknown);
        }
        // A backup under way may be made from a copy of its volume.
        let making = move |tx: &mut oslo_db::Tx| {
            tx.select::<BackupRow>(eq("status", BackupStatus::Creating))
        };
        let making = self.db.read(making).await?;
        let copies: HashSet<String> = making.iter().map(|b| b.place().copy_id()).collect();
        Ok(unknown
            .into_iter()
            .filter(|id| !copies.contains(id))
            .collect())
    }

    async fn unknown_snapshots(
        &self,
        _ctx: &RequestContext,
        _host: String,
        snapshot_ids: Vec<String>,
    ) -> Result<Vec<String>> {
        self.unknown(snapshot_ids, |row: SnapshotRow| row.id).await
    }

    async fn unknown_attachments(
        &self,
        _ctx: &RequestContext,
        _host: String,
        attachment_ids: Vec<String>,
    ) -> Result<Vec<String>> {
        self.unknown(attachment_ids, |row: AttachmentRow| row.id)
            .await
    }

    async fn wake(&self, _ctx: &RequestContext) -> Result<()> {
        self.engine.wake();
        Ok(())
    }
}

impl Cinder {
    /// Those of the ids that no row has.
    async fn unknown<T: Table + Send + 'static>(
        &self,
        ids: Vec<String>,
        id: fn(T) -> String,
    ) -> Result<Vec<String>> {
        let asked = ids.clone();
        let known = self
            .db
            .read(move |tx| tx.select::<T>(is_in("id", asked.iter())))
            .await?;
        let known: HashSet<String> = known.into_iter().map(id).collect();
        Ok(ids.into_iter().filter(|id| !known.contains(id)).collect())
    }
}
