//! Endpoints of the catalog.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// An address of a service.
    pub(crate) struct EndpointRow in "catalog_endpoints" {
        pub id: String,
        pub interface: String,
        pub region_id: Option<String>,
        pub service_id: String,
        pub url: String,
        pub enabled: bool,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<EndpointRow> {
    tx.find(eq("id", id))?
        .ok_or_else(|| missing("endpoint", id))
}
