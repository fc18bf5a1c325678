//! The table of clusters: hosts that say they serve the same storage. Who belongs to one is in the services' reports.

use base::{Result, Timestamp};
use oslo_db::{Tx, all, eq};

oslo_db::table! {
    /// A cluster.
    pub struct ClusterRow in "clusters" {
        pub name: String,
        pub binary_name: String,
        pub disabled: bool,
        pub disabled_reason: Option<String>,
        pub frozen: bool,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

/// The cluster of that name.
pub fn find(tx: &mut Tx, name: &str, binary: &str) -> Result<Option<ClusterRow>> {
    tx.find::<ClusterRow>(all([eq("name", name), eq("binary_name", binary)]))
}

/// A service said that it belongs to it.
pub fn ensure(tx: &mut Tx, name: &str, binary: &str, now: Timestamp) -> Result<()> {
    if name.is_empty() || find(tx, name, binary)?.is_some() {
        return Ok(());
    }
    let row = ClusterRow {
        name: name.to_string(),
        binary_name: binary.to_string(),
        disabled: false,
        disabled_reason: None,
        frozen: false,
        created_at: now,
        updated_at: None,
    };
    // Two of its hosts may say so at once.
    match tx.insert(&row) {
        Err(e) if oslo_db::is_duplicate(&e) => Ok(()),
        other => other,
    }
}
