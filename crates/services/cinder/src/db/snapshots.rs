//! The table of snapshots.

use crate::db::volumes::scope;
use crate::snapshot::status::SnapshotStatus;
use base::{Dir, Error, Json, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq};
use serde_json::{Map, Value};

oslo_db::table! {
    /// What a volume held at one moment. `bootable` and `image_metadata` are the volume's of then.
    pub struct SnapshotRow in "snapshots" {
        pub id: String,
        pub volume_id: String,
        pub project_id: String,
        pub user_id: String,
        pub name: Option<String>,
        pub description: Option<String>,
        pub size: i64,
        pub status: SnapshotStatus,
        pub progress: String,
        pub volume_type_id: String,
        pub group_snapshot_id: Option<String>,
        pub bootable: bool,
        pub metadata: Json<Map<String, Value>>,
        pub image_metadata: Json<Map<String, Value>>,
        pub provider_id: Option<String>,
        pub provider_location: Option<String>,
        pub reason: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Snapshot {id} could not be found.")).class("SnapshotNotFound")
}

/// The snapshot, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<SnapshotRow> {
    tx.find::<SnapshotRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// Like [`get`], and nobody else changes it until the transaction ends.
pub fn lock(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<SnapshotRow> {
    tx.find_for_update::<SnapshotRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// The snapshot, for the cloud's own work.
pub fn find(tx: &mut Tx, id: &str) -> Result<Option<SnapshotRow>> {
    tx.find::<SnapshotRow>(eq("id", id))
}

/// Those of a volume, newest first.
pub fn of_volume(tx: &mut Tx, volume_id: &str) -> Result<Vec<SnapshotRow>> {
    let sort = [("created_at", Dir::Desc), ("id", Dir::Desc)];
    tx.select_sorted::<SnapshotRow>(eq("volume_id", volume_id), &sort, None)
}

pub fn count(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<SnapshotRow>(eq("project_id", project))
}

pub fn gigabytes(tx: &mut Tx, project: &str) -> Result<u64> {
    let size = tx.sum::<SnapshotRow>("size", eq("project_id", project))?;
    Ok(size.max(0) as u64)
}
