//! What agents may tell us.

use crate::Cinder;
use crate::db::{self, AttachmentRow, VolumeRow};
use async_trait::async_trait;
use base::Result;
use cinder_types::{BackendReport, SchedulerApi};
use oslo_context::RequestContext;
use oslo_db::is_in;
use std::collections::HashSet;

#[async_trait]
impl SchedulerApi for Cinder {
    async fn report_backend(&self, _ctx: &RequestContext, report: BackendReport) -> Result<()> {
        let now = self.clock.now();
        self.db
            .write(move |tx| db::services::seen(tx, db::services::VOLUME, &report, now))
            .await
    }

    async fn unknown_volumes(
        &self,
        _ctx: &RequestContext,
        _host: String,
        volume_ids: Vec<String>,
    ) -> Result<Vec<String>> {
        let asked = volume_ids.clone();
        let known: HashSet<String> = self
            .db
            .read(move |tx| tx.select::<VolumeRow>(is_in("id", asked.iter())))
            .await?
            .into_iter()
            .map(|v| v.id)
            .collect();
        Ok(volume_ids
            .into_iter()
            .filter(|id| !known.contains(id))
            .collect())
    }

    async fn unknown_attachments(
        &self,
        _ctx: &RequestContext,
        _host: String,
        attachment_ids: Vec<String>,
    ) -> Result<Vec<String>> {
        let asked = attachment_ids.clone();
        let known: HashSet<String> = self
            .db
            .read(move |tx| tx.select::<AttachmentRow>(is_in("id", asked.iter())))
            .await?
            .into_iter()
            .map(|a| a.id)
            .collect();
        Ok(attachment_ids
            .into_iter()
            .filter(|id| !known.contains(id))
            .collect())
    }

    async fn wake(&self, _ctx: &RequestContext) -> Result<()> {
        self.engine.wake();
        Ok(())
    }
}
