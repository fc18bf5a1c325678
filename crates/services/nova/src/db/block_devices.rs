//! Volumes of instances.

use base::{Cell, Json, Result, Timestamp};
use oslo_db::{Tx, all, eq};
use serde_json::Value;

oslo_db::table! {
    /// A volume that is, or is being, attached to an instance.
    pub struct BlockDeviceRow in "block_devices" {
        pub id: String,
        pub instance_id: String,
        pub volume_id: String,
        pub attachment_id: Option<String>,
        pub device_name: String,
        pub boot_index: Option<i64>,
        pub delete_on_termination: bool,
        pub tag: Option<String>,
        pub size_gb: i64,
        pub connection_info: Option<Json<Value>>,
        pub created_at: Timestamp,
    }
}

/// An instance's volumes, in the order they were attached.
pub fn of_instance(tx: &mut Tx, instance_id: &str) -> Result<Vec<BlockDeviceRow>> {
    tx.select_sorted(
        eq("instance_id", instance_id),
        &[("created_at", base::Dir::Asc), ("id", base::Dir::Asc)],
        None,
    )
}

/// One volume of an instance.
pub fn find(tx: &mut Tx, instance_id: &str, volume_id: &str) -> Result<Option<BlockDeviceRow>> {
    tx.find(all([
        eq("instance_id", instance_id),
        eq("volume_id", volume_id),
    ]))
}

/// Remembers how the volume is reached.
pub fn connected(tx: &mut Tx, id: &str, attachment_id: &str, connection: &Value) -> Result<()> {
    let values = [
        ("attachment_id", attachment_id.to_string().to_cell()),
        ("connection_info", Json(connection.clone()).to_cell()),
    ];
    tx.update::<BlockDeviceRow>(eq("id", id), &values)?;
    Ok(())
}
