//! The table of how volumes of a type are encrypted.

use crate::db::VolumeRow;
use base::{Error, Result, Timestamp};
use oslo_db::{Tx, eq};

base::str_enum! {
    /// Who encrypts.
    pub enum ControlLocation {
        FrontEnd = "front-end",
        BackEnd = "back-end",
    }
}

oslo_db::table! {
    /// How volumes of one type are encrypted.
    pub struct EncryptionRow in "volume_type_encryptions" {
        pub volume_type_id: String,
        pub id: String,
        pub provider: String,
        pub control_location: ControlLocation,
        pub cipher: Option<String>,
        pub key_size: Option<i64>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

/// How the type's volumes are encrypted, if they are.
pub fn of_type(tx: &mut Tx, type_id: &str) -> Result<Option<EncryptionRow>> {
    tx.find::<EncryptionRow>(eq("volume_type_id", type_id))
}

/// Whether volumes of the type exist.
pub fn in_use(tx: &mut Tx, type_id: &str) -> Result<bool> {
    tx.exists::<VolumeRow>(eq("volume_type_id", type_id))
}

/// Volumes of encrypted types cannot be made while there is nobody who keeps keys: they are never stored in the clear.
/// Everything that gives a volume a type asks here first.
pub fn refuse_encrypted(tx: &mut Tx, type_id: &str) -> Result<()> {
    match of_type(tx, type_id)? {
        None => Ok(()),
        Some(_) => Err(Error::bad_request(
            "Key manager error: this cloud has no key manager, so that volumes of an encrypted type cannot be made.",
        )
        .class("Invalid")),
    }
}
