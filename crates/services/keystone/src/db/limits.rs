//! Limits that other services ask for: of a resource for all, and of a project or domain of its own.

use base::{Dir, Error, Result};
use oslo_db::{Cond, Tx, all, eq, eq_or_null, is_in};

oslo_db::table! {
    /// What holds for all who have no limit of their own.
    pub(crate) struct RegisteredLimitRow in "identity_registered_limits" {
        pub id: String,
        pub service_id: String,
        pub region_id: Option<String>,
        pub resource_name: String,
        pub default_limit: i64,
        pub description: Option<String>,
    }

    /// What holds for one project or domain.
    pub(crate) struct LimitRow in "identity_limits" {
        pub id: String,
        pub registered_limit_id: String,
        pub project_id: Option<String>,
        pub domain_id: Option<String>,
        pub resource_limit: i64,
        pub description: Option<String>,
    }
}

impl RegisteredLimitRow {
    /// The same resource of the same service in the same region.
    pub(crate) fn same(&self) -> Cond {
        same(
            &self.service_id,
            self.region_id.as_deref(),
            &self.resource_name,
        )
    }
}

pub(crate) fn same(service_id: &str, region_id: Option<&str>, resource_name: &str) -> Cond {
    all([
        eq("service_id", service_id),
        eq_or_null("region_id", region_id),
        eq("resource_name", resource_name),
    ])
}

pub(crate) fn get_registered(tx: &mut Tx, id: &str) -> Result<RegisteredLimitRow> {
    tx.find(eq("id", id))?
        .ok_or_else(|| no_limit("registered limit", id))
}

/// Upstream's words differ here from those for everything else.
pub(crate) fn no_limit(kind: &str, id: &str) -> Error {
    Error::not_found(format!("Could not find {kind} for {id}."))
}

/// A limit with that of all.
pub(crate) type Limit = (LimitRow, RegisteredLimitRow);

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<Limit>> {
    match tx.find::<LimitRow>(eq("id", id))? {
        Some(row) => {
            let of_all = get_registered(tx, &row.registered_limit_id)?;
            Ok(Some((row, of_all)))
        }
        None => Ok(None),
    }
}

pub(crate) fn list(tx: &mut Tx, cond: Cond) -> Result<Vec<Limit>> {
    let rows: Vec<LimitRow> = tx.select_sorted(cond, &[("id", Dir::Asc)], None)?;
    let mut ids: Vec<&str> = rows
        .iter()
        .map(|r| r.registered_limit_id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let of_all: Vec<RegisteredLimitRow> = tx.select(is_in("id", ids))?;
    let pairs = rows.into_iter().filter_map(|row| {
        let found = of_all.iter().find(|r| r.id == row.registered_limit_id)?;
        Some((row, found.clone()))
    });
    Ok(pairs.collect())
}

/// Projects and domains that are gone have no limits.
pub(crate) fn delete_of(tx: &mut Tx, target_ids: &[String]) -> Result<()> {
    for column in ["project_id", "domain_id"] {
        tx.delete::<LimitRow>(is_in(column, target_ids.iter()))?;
    }
    Ok(())
}
