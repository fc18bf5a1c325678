//! The addresses of living instances, so that a list is filtered by them in the database. They follow `network_info`.

use super::instances::{CachedPort, InstanceRow};
use base::Result;
use oslo_db::{Cond, Tx, all, contains, eq, in_rows, is_null, ne, not};

oslo_db::table! {
    /// An address by which an instance is reached.
    pub struct AddressRow in "instance_addresses" {
        pub instance_id: String,
        pub address: String,
        pub version: i64,
    }
}

/// Makes an instance's addresses those of `ports`.
pub fn replace(tx: &mut Tx, instance_id: &str, ports: &[CachedPort]) -> Result<()> {
    forget(tx, instance_id)?;
    for a in ports.iter().flat_map(|p| &p.addresses) {
        let floating = a.floating.iter().map(|f| (f, 4));
        for (address, version) in floating.chain([(&a.ip, i64::from(a.version))]) {
            let row = AddressRow {
                instance_id: instance_id.to_string(),
                address: address.clone(),
                version,
            };
            // Two networks may use the same addresses.
            tx.upsert(&row, &["instance_id", "address"])?;
        }
    }
    Ok(())
}

/// Forgets an instance's addresses.
pub fn forget(tx: &mut Tx, instance_id: &str) -> Result<()> {
    tx.delete::<AddressRow>(eq("instance_id", instance_id))
        .map(drop)
}

/// Instances with an address of this version that has `text` in it.
pub fn with(version: i64, text: &str) -> Cond {
    let found = all([eq("version", version), contains("address", text)]);
    in_rows::<AddressRow>("id", "instance_id", found)
}

/// Addresses of instances that are older than this table.
pub fn fill(tx: &mut Tx) -> Result<()> {
    let known = in_rows::<AddressRow>("id", "instance_id", oslo_db::everything());
    let rows = tx.select::<InstanceRow>(all([
        is_null("deleted_at"),
        ne("network_info", "[]"),
        not(known),
    ]))?;
    for row in rows {
        replace(tx, &row.id, &row.network_info.0)?;
    }
    Ok(())
}
