//! The table of volumes.

use crate::volume::status::VolumeStatus;
use base::{Error, Json, Result, Timestamp};
use oslo_context::{RequestContext, RowScope};
use oslo_db::{Cond, Tx, all, eq, everything};
use serde_json::{Map, Value};

oslo_db::table! {
    /// A volume. `growing_by` is what an extension in progress has reserved of the quota.
    pub struct VolumeRow in "volumes" {
        pub id: String,
        pub project_id: String,
        pub user_id: String,
        pub name: Option<String>,
        pub description: Option<String>,
        pub size: i64,
        pub growing_by: i64,
        pub status: VolumeStatus,
        pub previous_status: Option<VolumeStatus>,
        pub availability_zone: String,
        pub volume_type_id: String,
        pub host: Option<String>,
        pub bootable: bool,
        pub multiattach: bool,
        pub read_only: Option<bool>,
        pub metadata: Json<Map<String, Value>>,
        pub image_metadata: Json<Map<String, Value>>,
        pub image_id: Option<String>,
        pub provider_id: Option<String>,
        pub provider_location: Option<String>,
        pub service_id: Option<String>,
        pub reason: Option<String>,
        pub snapshot_id: Option<String>,
        pub source_volid: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

impl VolumeRow {
    /// The name its agent serves under: the host without the pool.
    pub fn backend(&self) -> Option<&str> {
        let host = self.host.as_deref()?;
        Some(host.split_once('#').map_or(host, |(backend, _)| backend))
    }
}

/// The rows a caller may see.
pub fn scope(ctx: &RequestContext) -> Cond {
    match ctx.row_scope() {
        RowScope::All => everything(),
        RowScope::Project(project) => eq("project_id", project),
    }
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Volume {id} could not be found.")).class("VolumeNotFound")
}

/// The volume, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<VolumeRow> {
    tx.find::<VolumeRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// Like [`get`], and nobody else changes the volume or who claims it until the transaction ends.
pub fn lock(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<VolumeRow> {
    tx.find_for_update::<VolumeRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// The volume, for the cloud's own work.
pub fn find(tx: &mut Tx, id: &str) -> Result<Option<VolumeRow>> {
    tx.find::<VolumeRow>(eq("id", id))
}

pub fn count(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<VolumeRow>(eq("project_id", project))
}

/// GiB in use, extensions in progress included.
pub fn gigabytes(tx: &mut Tx, project: &str) -> Result<u64> {
    let size = tx.sum::<VolumeRow>("size", eq("project_id", project))?;
    let growing = tx.sum::<VolumeRow>("growing_by", eq("project_id", project))?;
    Ok((size + growing).max(0) as u64)
}
