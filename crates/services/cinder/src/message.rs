//! Messages to users. Work that fails after it was accepted says so here, in the transaction that ends it.
//!
//! A message is an action, a detail and, where there is more to say, an explanation in words that are safe for users:
//! what the driver or a host said stays in the log.

use crate::db::messages::MessageRow;
use crate::db::{SnapshotRow, VolumeRow};
use base::{Result, Timestamp};
use oslo_db::Tx;
use std::time::Duration;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $id:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "the whole of upstream's table; some belong to what is not built")]
        pub enum $name { $(#[doc = $text] $variant),* }

        impl $name {
            /// Its number in an event's id.
            pub fn id(self) -> &'static str {
                match self { $($name::$variant => $id),* }
            }

            /// The words of a number.
            pub fn words(id: &str) -> Option<&'static str> {
                match id { $($id => Some($text),)* _ => None }
            }
        }
    };
}

words! {
    /// What was being done.
    Action {
        ScheduleAllocateVolume = "001" "schedule allocate volume",
        AttachVolume = "002" "attach volume",
        CopyVolumeToImage = "003" "copy volume to image",
        UpdateAttachment = "004" "update attachment",
        CopyImageToVolume = "005" "copy image to volume",
        UnmanageVolume = "006" "unmanage volume",
        ExtendVolume = "007" "extend volume",
        CreateVolumeFromBackend = "008" "create volume from backend storage",
        SnapshotCreate = "009" "create snapshot",
        SnapshotDelete = "010" "delete snapshot",
        SnapshotUpdate = "011" "update snapshot",
        SnapshotMetadataUpdate = "012" "update snapshot metadata",
        BackupCreate = "013" "create backup",
        BackupDelete = "014" "delete backup",
        BackupRestore = "015" "restore backup",
        ReimageVolume = "016" "reimage volume",
    }
}

words! {
    /// What was wrong.
    Detail {
        UnknownError = "001" "An unknown error occurred.",
        DriverNotInitialized = "002" "Driver is not initialized at present.",
        NoBackendAvailable = "003" "Could not find any available weighted backend.",
        FailedToUploadVolume = "004" "Failed to upload volume to image at backend.",
        VolumeAttachModeInvalid = "005" "Volume's attach mode is invalid.",
        QuotaExceed = "006" "Not enough quota resource for operation.",
        NotEnoughSpaceForImage = "007" "Image used for creating volume exceeds available space.",
        UnmanageEncNotSupported = "008" "Unmanaging encrypted volumes is not supported.",
        NotifyComputeServiceFailed = "009" "Compute service failed to extend volume.",
        DriverFailedExtend = "010" "Volume Driver failed to extend volume.",
        SignatureVerificationFailed = "011" "Image signature verification failed.",
        DriverFailedCreate = "012" "Driver failed to create the volume.",
        SnapshotCreateError = "013" "Snapshot failed to create.",
        SnapshotUpdateMetadataFailed = "014" "Volume snapshot update metadata failed.",
        SnapshotIsBusy = "015" "Snapshot is busy.",
        SnapshotDeleteError = "016" "Snapshot failed to delete.",
        BackupInvalidState = "017" "Backup status is invalid.",
        BackupServiceDown = "018" "Backup service is down.",
        BackupCreateDeviceError = "019" "Failed to get backup device from the volume service.",
        BackupCreateDriverError = "020" "Backup driver failed to create backup.",
        AttachError = "021" "Failed to attach volume.",
        DetachError = "022" "Failed to detach volume.",
        BackupCreateCleanupError = "023" "Cleanup of temporary volume/snapshot failed.",
        BackupScheduleError = "024" "Backup failed to schedule. Service not found for creating backup.",
        BackupDeleteDriverError = "025" "Backup driver failed to delete backup.",
        BackupRestoreError = "026" "Backup driver failed to restore backup.",
        VolumeInvalidState = "027" "Volume status is invalid.",
        ReimageVolumeFailed = "028" "Compute service failed to reimage volume.",
        ImageFormatUnacceptable = "029" "The image disk format must be the same as the volume format for the volume type you are requesting.",
        IncrementalBackupForcesFullBackup = "030" "Incremental backup not possible, forcing full backup.",
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each is used by the resource of that name")]
pub enum Resource {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// A backup.
    Backup,
}

impl Resource {
    fn as_str(self) -> &'static str {
        match self {
            Resource::Volume => "VOLUME",
            Resource::Snapshot => "VOLUME_SNAPSHOT",
            Resource::Backup => "VOLUME_BACKUP",
        }
    }
}

/// A message to be written.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose.
    pub project_id: String,
    /// The request that began the work.
    pub request_id: String,
    /// What kind of thing it is about.
    pub resource: Resource,
    /// Which.
    pub resource_id: String,
    /// What was being done.
    pub action: Action,
    /// What was wrong.
    pub detail: Detail,
    /// More, in words for users.
    pub explanation: Option<String>,
}

impl Message {
    /// About a volume of its owner.
    pub fn of_volume(
        volume: &VolumeRow,
        request_id: &str,
        action: Action,
        detail: Detail,
    ) -> Message {
        Message {
            project_id: volume.project_id.clone(),
            request_id: request_id.to_string(),
            resource: Resource::Volume,
            resource_id: volume.id.clone(),
            action,
            detail,
            explanation: None,
        }
    }

    /// About a snapshot of its owner.
    pub fn of_snapshot(
        snapshot: &SnapshotRow,
        request_id: &str,
        action: Action,
        detail: Detail,
    ) -> Message {
        Message {
            project_id: snapshot.project_id.clone(),
            request_id: request_id.to_string(),
            resource: Resource::Snapshot,
            resource_id: snapshot.id.clone(),
            action,
            detail,
            explanation: None,
        }
    }

    /// Writes it, to be kept for `ttl`.
    pub fn write(self, tx: &mut Tx, now: Timestamp, ttl: Duration) -> Result<()> {
        let (resource, action, detail) =
            (self.resource.as_str(), self.action.id(), self.detail.id());
        tx.insert(&MessageRow {
            id: base::new_id(),
            project_id: self.project_id,
            request_id: self.request_id,
            resource_type: resource.to_string(),
            resource_uuid: Some(self.resource_id),
            action_id: action.to_string(),
            detail_id: detail.to_string(),
            event_id: format!("VOLUME_{resource}_{action}_{detail}"),
            message_level: "ERROR".to_string(),
            explanation: self.explanation,
            created_at: now,
            expires_at: now.plus(ttl),
        })
    }
}

/// What a user reads.
pub fn text(row: &MessageRow) -> String {
    let action = Action::words(&row.action_id).unwrap_or("unknown action");
    let detail = Detail::words(&row.detail_id).unwrap_or("An unknown error occurred.");
    match &row.explanation {
        Some(more) => format!("{action}:{detail} {more}"),
        None => format!("{action}:{detail}"),
    }
}
