//! Groups of users.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A group.
    pub(crate) struct GroupRow in "identity_groups" {
        pub id: String,
        pub name: String,
        pub domain_id: String,
        pub description: Option<String>,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<GroupRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<GroupRow> {
    find(tx, id)?.ok_or_else(|| missing("group", id))
}
