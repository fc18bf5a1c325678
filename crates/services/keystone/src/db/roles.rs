//! Roles: of the cloud, or of one domain.

use crate::db::{Extra, missing};
use base::{Error, Json, Result};
use oslo_db::{Tx, all, eq};

/// The `domain_id` of roles that are not a domain's own; upstream's database has the same row value.
pub(crate) const GLOBAL: &str = "<<null>>";

oslo_db::table! {
    /// A role.
    pub(crate) struct RoleRow in "identity_roles" {
        pub id: String,
        pub name: String,
        pub domain_id: String,
        pub description: Option<String>,
        pub options: Json<Extra>,
        pub extra: Json<Extra>,
    }
}

impl RoleRow {
    /// The domain whose own role this is.
    pub(crate) fn domain(&self) -> Option<&str> {
        Some(self.domain_id.as_str()).filter(|d| *d != GLOBAL)
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<RoleRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<RoleRow> {
    find(tx, id)?.ok_or_else(|| missing("role", id))
}

pub(crate) fn find_named(tx: &mut Tx, name: &str) -> Result<Option<RoleRow>> {
    tx.find(all([eq("domain_id", GLOBAL), eq("name", name)]))
}

/// The ids of roles that are named by id or by a name that only one role has, the cloud's or a domain's.
pub(crate) fn ids_of(tx: &mut Tx, named: &[NamedRole]) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(named.len());
    for role in named {
        let id = match role {
            NamedRole::Id(id) => get(tx, id)?.id,
            NamedRole::Name(name) => unique(tx, name)?.id,
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn unique(tx: &mut Tx, name: &str) -> Result<RoleRow> {
    let mut found: Vec<RoleRow> = tx.select(eq("name", name))?;
    if found.len() > 1 {
        return Err(Error::bad_request(format!(
            "There are multiple role entities named '{name}'. Please use ID instead of names to resolve the ambiguity."
        )));
    }
    found.pop().ok_or_else(|| missing("role", name))
}

/// A role by id or name.
#[derive(Clone, Debug)]
pub(crate) enum NamedRole {
    Id(String),
    Name(String),
}
