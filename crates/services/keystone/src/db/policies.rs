//! Policy documents: text that keystone keeps for others and does not read.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A document.
    pub(crate) struct PolicyRow in "catalog_policies" {
        pub id: String,
        pub r#type: String,
        pub blob_text: String,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<PolicyRow> {
    tx.find(eq("id", id))?.ok_or_else(|| missing("policy", id))
}
