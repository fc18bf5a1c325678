//! No backup stays on its way for ever.

use super::status::{BackupStatus, Verb, transition};
use crate::Cinder;
use crate::db::BackupRow;
use crate::flows::working_on;
use crate::periodic::FlowResource;
use async_trait::async_trait;
use base::Result;
use oslo_db::{eq, is_in, set};
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Backups on their way without a flow end in error, or are what they were.
pub struct StuckBackups(pub Arc<Cinder>);

#[async_trait]
impl Reconciler for StuckBackups {
    fn name(&self) -> &str {
        "cinder stuck backups"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let now = self.0.clock.now();
        self.0
            .db
            .write(move |tx| {
                let moving = BackupStatus::ALL.iter().filter(|s| s.needs_flow());
                let rows = tx.select::<BackupRow>(is_in("status", moving))?;
                let mut report = Report {
                    examined: rows.len() as u64,
                    ..Report::default()
                };
                for row in rows {
                    // Looked at while nobody can change it, as volumes are.
                    let Some(row) = tx.find_for_update::<BackupRow>(eq("id", &row.id))? else {
                        continue;
                    };
                    let (verb, on) = match row.status {
                        BackupStatus::Creating => (Verb::CreateFailed, working_on(&row)),
                        BackupStatus::Deleting => (Verb::DeleteFailed, working_on(&row)),
                        BackupStatus::Restoring => (
                            Verb::Restored,
                            row.restore_volume_id.as_deref().unwrap_or_default(),
                        ),
                        _ => continue,
                    };
                    if tx.exists::<FlowResource>(eq("resource_id", on))? {
                        continue;
                    }
                    let why = format!(
                        "Nobody was working on this backup, which was {}.",
                        row.status
                    );
                    let extra = [set("fail_reason", &why)];
                    if transition(tx, &row.id, verb, now, &extra)? {
                        tracing::warn!(backup.id = %row.id, "{why}");
                        report.changed += 1;
                    }
                }
                Ok(report)
            })
            .await
    }
}
