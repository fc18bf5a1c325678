//! The table of backups.

use crate::backup::status::BackupStatus;
use crate::db::volumes::scope;
use base::{Error, Json, Result, Timestamp};
use cinder_types::BackupRef;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, is_in};
use serde_json::{Map, Value};
use std::collections::HashSet;

oslo_db::table! {
    /// A backup. `prefix` is how the names of its objects begin (upstream's `service_metadata`); `extra` goes with it:
    /// what the volume was beside its bytes.
    pub struct BackupRow in "backups" {
        pub id: String,
        pub project_id: String,
        pub user_id: String,
        pub volume_id: String,
        pub snapshot_id: Option<String>,
        pub parent_id: Option<String>,
        pub name: Option<String>,
        pub description: Option<String>,
        pub status: BackupStatus,
        pub container: Option<String>,
        pub availability_zone: Option<String>,
        pub host: Option<String>,
        pub service: Option<String>,
        pub prefix: String,
        pub size: i64,
        pub object_count: i64,
        pub fail_reason: Option<String>,
        pub metadata: Json<Map<String, Value>>,
        pub extra: Json<Value>,
        pub data_timestamp: Timestamp,
        pub restore_volume_id: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

impl BackupRow {
    /// Where its objects are.
    pub fn place(&self) -> BackupRef {
        BackupRef {
            id: self.id.clone(),
            container: self.container.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Backup {id} could not be found.")).class("BackupNotFound")
}

/// The backup, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<BackupRow> {
    tx.find::<BackupRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// Like [`get`], and nobody else changes it until the transaction ends.
pub fn lock(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<BackupRow> {
    tx.find_for_update::<BackupRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// The backup, for the cloud's own work.
pub fn find(tx: &mut Tx, id: &str) -> Result<Option<BackupRow>> {
    tx.find::<BackupRow>(eq("id", id))
}

pub fn count(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<BackupRow>(eq("project_id", project))
}

pub fn gigabytes(tx: &mut Tx, project: &str) -> Result<u64> {
    let size = tx.sum::<BackupRow>("size", eq("project_id", project))?;
    Ok(size.max(0) as u64)
}

/// Which of these others add to.
pub fn parents(tx: &mut Tx, rows: &[BackupRow]) -> Result<HashSet<String>> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let children = tx.select::<BackupRow>(is_in("parent_id", rows.iter().map(|r| &r.id)))?;
    Ok(children.into_iter().filter_map(|c| c.parent_id).collect())
}

/// What a backup consists of, the full one first.
pub fn chain(tx: &mut Tx, row: &BackupRow) -> Result<Vec<BackupRef>> {
    let mut chain = vec![row.place()];
    let mut next = row.parent_id.clone();
    let mut seen = HashSet::from([row.id.clone()]);
    while let Some(id) = next {
        let parent = find(tx, &id)?.filter(|_| seen.insert(id.clone()));
        let parent = parent.ok_or_else(|| {
            Error::conflict("A backup that this one adds to is missing.")
                .log(format!("{id} of {}", row.id))
        })?;
        chain.push(parent.place());
        next = parent.parent_id;
    }
    chain.reverse();
    Ok(chain)
}
