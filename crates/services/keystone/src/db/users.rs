//! Users with their password.

use crate::db::{Extra, missing};
use base::{Json, Result, Timestamp};
use oslo_db::{Tx, all, eq};

oslo_db::table! {
    /// A user. Description and e-mail are `extra`, as upstream has it.
    pub(crate) struct UserRow in "identity_users" {
        pub id: String,
        pub name: String,
        pub domain_id: String,
        pub enabled: bool,
        pub default_project_id: Option<String>,
        pub password_hash: Option<String>,
        pub password_changed_at: Option<Timestamp>,
        pub options: Json<Extra>,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<UserRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<UserRow> {
    find(tx, id)?.ok_or_else(|| missing("user", id))
}

pub(crate) fn find_named(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<UserRow>> {
    tx.find(all([eq("domain_id", domain_id), eq("name", name)]))
}
