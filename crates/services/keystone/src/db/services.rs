//! Services of the catalog.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A service.
    pub(crate) struct ServiceRow in "catalog_services" {
        pub id: String,
        pub r#type: String,
        pub name: Option<String>,
        pub enabled: bool,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<ServiceRow> {
    tx.find(eq("id", id))?.ok_or_else(|| missing("service", id))
}
