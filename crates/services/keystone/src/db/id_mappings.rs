//! What has come from a directory, and under which id it is known here.

use base::{Result, Timestamp};
use oslo_db::{Tx, eq};

base::str_enum! {
    /// What it is.
    pub enum EntityKind {
        User = "user",
        Group = "group",
    }
}

oslo_db::table! {
    /// An entry.
    pub(crate) struct IdMappingRow in "identity_id_mappings" {
        pub public_id: String,
        pub domain_id: String,
        pub local_id: String,
        pub entity_type: EntityKind,
        /// When the directory was last asked about it.
        pub looked_at: Timestamp,
    }
}

pub(crate) fn find(tx: &mut Tx, public_id: &str) -> Result<Option<IdMappingRow>> {
    tx.find(eq("public_id", public_id))
}
