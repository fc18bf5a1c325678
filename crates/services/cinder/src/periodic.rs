//! Reconcilers: nothing stays on its way for ever.

use crate::Cinder;
use crate::db::{self, SnapshotRow, VolumeRow};
use crate::snapshot::status::{SnapshotStatus, transition as transition_snapshot};
use crate::volume::status::{LENT, Verb, VolumeStatus, give_back, transition};
use async_trait::async_trait;
use base::Result;
use cinder_types::BackendReport;
use oslo_db::{eq, is_in, set};
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

oslo_db::table! {
    /// Which resources unfinished flows work on.
    pub(crate) struct FlowResource in "flows" { resource_id: String }
}

/// Volumes on their way without a flow that takes them there end in error.
pub struct StuckVolumes(pub Arc<Cinder>);

#[async_trait]
impl Reconciler for StuckVolumes {
    fn name(&self) -> &str {
        "cinder stuck volumes"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let now = self.0.clock.now();
        self.0
            .db
            .write(move |tx| {
                let moving = VolumeStatus::ALL.iter().filter(|s| s.needs_flow());
                let rows = tx.select::<VolumeRow>(is_in("status", moving))?;
                let mut report = Report {
                    examined: rows.len() as u64,
                    ..Report::default()
                };
                for row in rows {
                    let flow = eq("resource_id", &row.id);
                    if tx.exists::<FlowResource>(flow.clone())? {
                        continue;
                    }
                    // Its flow may have ended since the volume was read, or another have begun: looked at again while
                    // nobody can change it.
                    let row = tx.find_for_update::<VolumeRow>(eq("id", &row.id))?;
                    let Some(row) = row.filter(|row| row.status.needs_flow()) else {
                        continue;
                    };
                    if tx.exists::<FlowResource>(flow)? {
                        continue;
                    }
                    if LENT.contains(&row.status) {
                        tracing::warn!(volume.id = %row.id, "nobody was working on this volume, which was {}", row.status);
                        give_back(tx, &row.id, row.status, now)?;
                        report.changed += 1;
                        continue;
                    }
                    let verb = match row.status {
                        VolumeStatus::Deleting | VolumeStatus::Unmanaging => Verb::DeleteFailed,
                        VolumeStatus::Extending => Verb::ExtendFailed,
                        VolumeStatus::Reverting => Verb::RevertFailed,
                        VolumeStatus::RestoringBackup => Verb::RestoreFailed,
                        _ => Verb::CreateFailed,
                    };
                    let why = format!(
                        "Nobody was working on this volume, which was {}.",
                        row.status
                    );
                    let extra = [set("reason", &why), set("growing_by", 0i64)];
                    if transition(tx, &row.id, verb, now, &extra)? {
                        tracing::warn!(volume.id = %row.id, "{why}");
                        report.changed += 1;
                    }
                }
                Ok(report)
            })
            .await
    }
}

/// The same of snapshots, whose flow may be their volume's.
pub struct StuckSnapshots(pub Arc<Cinder>);

#[async_trait]
impl Reconciler for StuckSnapshots {
    fn name(&self) -> &str {
        "cinder stuck snapshots"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let now = self.0.clock.now();
        self.0
            .db
            .write(move |tx| {
                let moving = SnapshotStatus::ALL
                    .iter()
                    .filter(|s| s.abandoned().is_some());
                let rows = tx.select::<SnapshotRow>(is_in("status", moving))?;
                let mut report = Report {
                    examined: rows.len() as u64,
                    ..Report::default()
                };
                for row in rows {
                    let flow = is_in("resource_id", [&row.id, &row.volume_id]);
                    if tx.exists::<FlowResource>(flow.clone())? {
                        continue;
                    }
                    // Looked at again while nobody can change it, as with volumes.
                    let row = tx.find_for_update::<SnapshotRow>(eq("id", &row.id))?;
                    let Some((row, verb)) = row.and_then(|r| r.status.abandoned().map(|v| (r, v)))
                    else {
                        continue;
                    };
                    if tx.exists::<FlowResource>(flow)? {
                        continue;
                    }
                    let why = format!(
                        "Nobody was working on this snapshot, which was {}.",
                        row.status
                    );
                    if transition_snapshot(tx, &row.id, verb, now, &[set("reason", &why)])? {
                        tracing::warn!(snapshot.id = %row.id, "{why}");
                        report.changed += 1;
                    }
                }
                Ok(report)
            })
            .await
    }
}

/// This process's own sign of life.
pub struct Heartbeat(pub Arc<Cinder>);

#[async_trait]
impl Reconciler for Heartbeat {
    fn name(&self) -> &str {
        "cinder heartbeat"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn run(&self) -> Result<Report> {
        let report = BackendReport {
            host: self.0.conf.host.clone(),
            availability_zone: self.0.conf.storage_availability_zone.clone(),
            ..BackendReport::default()
        };
        let now = self.0.clock.now();
        let seen = move |tx: &mut oslo_db::Tx| {
            db::services::seen(tx, db::services::SCHEDULER, &report, now)
        };
        self.0.db.write(seen).await?;
        Ok(Report::default())
    }
}

/// Messages that were kept as long as was promised are removed.
pub struct ExpiredMessages(pub Arc<Cinder>);

#[async_trait]
impl Reconciler for ExpiredMessages {
    fn name(&self) -> &str {
        "cinder expired messages"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.0.conf.message_reap_interval.max(1))
    }

    async fn run(&self) -> Result<Report> {
        let now = self.0.clock.now();
        let changed = self
            .0
            .db
            .write(move |tx| db::messages::reap(tx, now))
            .await?;
        Ok(Report {
            examined: changed,
            changed,
        })
    }
}
