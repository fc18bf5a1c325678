//! The table of limits per volume type: `volumes_<type>`, `gigabytes_<type>`, `snapshots_<type>`.

use crate::db::{SnapshotRow, TypeRow, VolumeRow};
use base::Result;
use oslo_db::{Tx, all, eq, everything, is_in};
use std::collections::BTreeMap;

oslo_db::table! {
    /// What an operator set for a project or a class.
    struct TypeLimitRow in "type_limits" { owner: String, resource: String, hard_limit: i64 }
}

/// What is limited per type.
pub const KINDS: [&str; 3] = ["volumes", "gigabytes", "snapshots"];

/// The limits of a class.
pub fn class(name: &str) -> String {
    format!("class/{name}")
}

/// A project's own limits.
pub fn project(id: &str) -> String {
    format!("project/{id}")
}

pub fn set(tx: &mut Tx, owner: &str, resource: &str, hard_limit: i64) -> Result<()> {
    let row = TypeLimitRow {
        owner: owner.to_string(),
        resource: resource.to_string(),
        hard_limit,
    };
    tx.upsert(&row, &["owner", "resource"])
}

pub fn delete(tx: &mut Tx, owner: &str) -> Result<()> {
    tx.delete::<TypeLimitRow>(eq("owner", owner)).map(drop)
}

/// Every type's resources with their limits: the last owner's that has one, else none (-1).
pub fn of(tx: &mut Tx, owners: &[String]) -> Result<BTreeMap<String, i64>> {
    let types = tx.select::<TypeRow>(everything())?;
    let names = types
        .iter()
        .flat_map(|t| KINDS.map(|k| format!("{k}_{}", t.name)));
    let mut limits: BTreeMap<String, i64> = names.map(|name| (name, -1)).collect();
    let rows = tx.select::<TypeLimitRow>(is_in("owner", owners.iter()))?;
    for owner in owners {
        for row in rows.iter().filter(|r| r.owner == *owner) {
            if let Some(limit) = limits.get_mut(&row.resource) {
                *limit = row.hard_limit;
            }
        }
    }
    Ok(limits)
}

/// What a project has of a type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub volumes: i64,
    pub snapshots: i64,
    pub gigabytes: i64,
}

/// What a project has of a type; `snapshot_gb`: snapshots take GiB too.
pub fn used(tx: &mut Tx, project: &str, type_id: &str, snapshot_gb: bool) -> Result<Used> {
    let own = || all([eq("project_id", project), eq("volume_type_id", type_id)]);
    let mut used = Used {
        volumes: tx.count::<VolumeRow>(own())? as i64,
        snapshots: tx.count::<SnapshotRow>(own())? as i64,
        gigabytes: tx.sum::<VolumeRow>("size", own())?
            + tx.sum::<VolumeRow>("growing_by", own())?,
    };
    if snapshot_gb {
        used.gigabytes += tx.sum::<SnapshotRow>("size", own())?;
    }
    Ok(used)
}
