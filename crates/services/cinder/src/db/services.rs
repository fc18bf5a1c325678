//! The table of services; for `cinder-volume` it holds the backend's last report.

use crate::db::clusters;
use base::{Json, Result, Timestamp};
use cinder_types::BackendReport;
use oslo_db::{Tx, all, eq, set};

oslo_db::table! {
    /// A service that reports.
    pub struct ServiceRow in "services" {
        pub id: String,
        pub host: String,
        pub binary_name: String,
        pub availability_zone: String,
        pub disabled: bool,
        pub disabled_reason: Option<String>,
        pub frozen: bool,
        pub report: Json<BackendReport>,
        pub created_at: Timestamp,
        pub seen_at: Timestamp,
    }
}

pub const BACKUP: &str = "cinder-backup";
pub const VOLUME: &str = "cinder-volume";
pub const SCHEDULER: &str = "cinder-scheduler";

/// A sign of life.
pub fn seen(tx: &mut Tx, binary: &str, report: &BackendReport, now: Timestamp) -> Result<()> {
    clusters::ensure(tx, &report.cluster, binary, now)?;
    let same = all([eq("host", &report.host), eq("binary_name", binary)]);
    let values = [
        set("report", Json(report.clone())),
        set("availability_zone", &report.availability_zone),
        set("seen_at", now),
    ];
    if tx.exists::<ServiceRow>(same.clone())? {
        tx.update::<ServiceRow>(same, &values)?;
        return Ok(());
    }
    tx.insert(&ServiceRow {
        // The same for the same service, so that it keeps its id when the database is new.
        id: base::id::named_id(&format!("{binary}/{}", report.host)),
        host: report.host.clone(),
        binary_name: binary.to_string(),
        availability_zone: report.availability_zone.clone(),
        disabled: false,
        disabled_reason: None,
        frozen: false,
        report: Json(report.clone()),
        created_at: now,
        seen_at: now,
    })
}

pub fn of_binary(tx: &mut Tx, binary: &str) -> Result<Vec<ServiceRow>> {
    tx.select_sorted::<ServiceRow>(eq("binary_name", binary), &[("host", base::Dir::Asc)], None)
}
