//! Roles: of the cloud, or of one domain.

use crate::db::{Extra, missing};
use base::{Json, Result};
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
