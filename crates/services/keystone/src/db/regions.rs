//! Regions of the catalog.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A region.
    pub(crate) struct RegionRow in "catalog_regions" {
        pub id: String,
        pub description: String,
        pub parent_region_id: Option<String>,
        pub extra: Json<Extra>,
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<RegionRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<RegionRow> {
    find(tx, id)?.ok_or_else(|| missing("region", id))
}
