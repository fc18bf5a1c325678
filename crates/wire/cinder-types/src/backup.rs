//! What cinder and its backup agents say to each other. As with volumes, every call names a wanted state by id and may
//! be repeated.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a backup's objects are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupRef {
    /// The backup's id.
    pub id: String,
    /// The container that its owner named, or that its agent chose.
    pub container: Option<String>,
    /// How the names of its objects begin (upstream's `service_metadata`).
    pub prefix: String,
}

impl BackupRef {
    /// The id of a volume that exists while the backup is made of it. It is no other volume's, whatever a record claims
    /// as its backup's id.
    pub fn copy_id(&self) -> String {
        base::id::named_id(&format!("cinder backup copy {}", self.id))
    }
}

/// A backup that shall exist.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupSpec {
    /// Where it shall be.
    pub backup: BackupRef,
    /// The volume.
    pub volume_id: String,
    /// The volume's snapshot whose bytes are kept, rather than the volume's own.
    pub snapshot_id: Option<String>,
    /// Its size in GiB.
    pub size: i64,
    /// Whether somebody may be writing to the volume.
    pub in_use: bool,
    /// The backup of which only what has changed since is kept.
    pub parent: Option<BackupRef>,
    /// What cinder keeps beside the bytes, and gets back with an import.
    pub extra: Value,
}

/// What an agent kept, or found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupInfo {
    /// Where it is.
    pub container: String,
    /// Objects with bytes of the volume.
    pub object_count: i64,
    /// What cinder had kept beside the bytes.
    pub extra: Value,
    /// The backup that this one needs, by the beginning of its objects' names.
    pub parent_prefix: Option<String>,
    /// The size of the volume in GiB.
    pub size: i64,
}

oslo_messaging::interface! {
    /// What a backup agent does; addressed by the `host@backend` of the volume agent in whose process it is.
    pub trait BackupApi, client BackupClient, topic "cinder-backup", exchange "cinder", version "2.4" {
        /// Keeps a volume's bytes.
        call fn create_backup(&self, spec: BackupSpec) -> BackupInfo;
        /// Gives a volume that nobody has the bytes of a backup. `chain` is what it consists of, the full one first.
        call fn restore_backup(&self, chain: Vec<BackupRef>, volume_id: String, size: i64);
        /// Removes a backup and what of it is half there.
        call fn delete_backup(&self, backup: BackupRef);
        /// Looks at a backup that another cloud, or this one before it forgot it, has made.
        call fn look_at_backup(&self, backup: BackupRef) -> BackupInfo;
    }
}
