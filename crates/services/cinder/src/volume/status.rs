//! The one transition table. A status changes only by a verb, as a compare-and-swap.

use crate::db::VolumeRow;
use base::{CellValue, Result, Timestamp};
use oslo_db::{Tx, all, eq, set};

base::str_enum! {
    /// Where a volume is in its life.
    pub enum VolumeStatus {
        Creating = "creating",
        Downloading = "downloading",
        Available = "available",
        Reserved = "reserved",
        Attaching = "attaching",
        InUse = "in-use",
        Detaching = "detaching",
        Extending = "extending",
        Reverting = "reverting",
        AwaitingTransfer = "awaiting-transfer",
        BackingUp = "backing-up",
        RestoringBackup = "restoring-backup",
        Uploading = "uploading",
        Deleting = "deleting",
        Unmanaging = "unmanaging",
        Maintenance = "maintenance",
        Error = "error",
        ErrorDeleting = "error_deleting",
        ErrorExtending = "error_extending",
        ErrorAttaching = "error_attaching",
        ErrorDetaching = "error_detaching",
        ErrorManaging = "error_managing",
        ErrorRestoring = "error_restoring",
    }
}

base::str_enum! {
    /// Where an attachment is in its life.
    pub enum AttachStatus {
        Reserved = "reserved",
        Attaching = "attaching",
        Attached = "attached",
        Detaching = "detaching",
        ErrorAttaching = "error_attaching",
        ErrorDetaching = "error_detaching",
    }
}

use VolumeStatus::*;

/// What can happen to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Download,
    Created,
    CreateFailed,
    Delete,
    DeleteFailed,
    Extend,
    ExtendAttached,
    ExtendedAvailable,
    ExtendedInUse,
    ExtendFailed,
    Reserve,
    ReserveShared,
    LegacyReserve,
    LegacyUnreserve,
    Attach,
    Attached,
    BeginDetaching,
    RollDetaching,
    Detached,
    Offer,
    OfferEnds,
    StillReserved,
    Revert,
    Reverted,
    RevertFailed,
    ManageFailed,
    Unmanage,
    BackUp,
    Upload,
    GiveBackAvailable,
    GiveBackInUse,
    CreatedForBackup,
    RestoreBackup,
    BackupRestored,
    RestoreFailed,
}

const DONE_FROM: &[VolumeStatus] = &[Reserved, Attaching, InUse, Detaching, Available];

/// Lent to work that reads it: what it was before is in `previous_status`.
pub const LENT: &[VolumeStatus] = &[BackingUp, Uploading];

const TABLE: &[(Verb, &[VolumeStatus], VolumeStatus)] = &[
    (Verb::Download, &[Creating, Downloading], Downloading),
    (Verb::Created, &[Creating, Downloading], Available),
    // A volume that was reserved while it was downloading is as broken as any other.
    (
        Verb::CreateFailed,
        &[Creating, Downloading, Reserved, Attaching, Available],
        Error,
    ),
    (
        Verb::Delete,
        &[
            Available,
            Error,
            ErrorRestoring,
            ErrorExtending,
            ErrorManaging,
        ],
        Deleting,
    ),
    (Verb::DeleteFailed, &[Deleting, Unmanaging], ErrorDeleting),
    (Verb::Extend, &[Available], Extending),
    (Verb::ExtendAttached, &[InUse], Extending),
    (Verb::ExtendedAvailable, &[Extending], Available),
    (Verb::ExtendedInUse, &[Extending], InUse),
    (Verb::ExtendFailed, &[Extending], ErrorExtending),
    (Verb::Reserve, &[Available, Downloading], Reserved),
    (
        Verb::ReserveShared,
        &[Available, InUse, Downloading],
        Reserved,
    ),
    (Verb::LegacyReserve, &[Available], Attaching),
    (Verb::LegacyUnreserve, &[Attaching], Available),
    (
        Verb::Attach,
        &[Available, Reserved, Attaching, InUse],
        Attaching,
    ),
    (Verb::Attached, DONE_FROM, InUse),
    (Verb::BeginDetaching, &[InUse], Detaching),
    (Verb::RollDetaching, &[Detaching], InUse),
    (Verb::Detached, DONE_FROM, Available),
    (Verb::Offer, &[Available], AwaitingTransfer),
    (Verb::OfferEnds, &[AwaitingTransfer], Available),
    (Verb::StillReserved, DONE_FROM, Reserved),
    (Verb::Revert, &[Available], Reverting),
    (Verb::Reverted, &[Reverting], Available),
    (Verb::RevertFailed, &[Reverting], Error),
    (Verb::ManageFailed, &[Creating], ErrorManaging),
    (
        Verb::Unmanage,
        &[
            Available,
            Error,
            ErrorRestoring,
            ErrorExtending,
            ErrorManaging,
        ],
        Unmanaging,
    ),
    (Verb::BackUp, &[Available, InUse], BackingUp),
    (Verb::Upload, &[Available, InUse], Uploading),
    (Verb::GiveBackAvailable, LENT, Available),
    (Verb::GiveBackInUse, LENT, InUse),
    (Verb::CreatedForBackup, &[Creating], RestoringBackup),
    (Verb::RestoreBackup, &[Available], RestoringBackup),
    (Verb::BackupRestored, &[RestoringBackup], Available),
    (Verb::RestoreFailed, &[RestoringBackup], ErrorRestoring),
];

impl Verb {
    fn row(self) -> (&'static [VolumeStatus], VolumeStatus) {
        let row = TABLE.iter().find(|(verb, ..)| *verb == self);
        // The test below keeps the table complete; nothing can follow from an unknown verb.
        row.map_or((&[], Error), |(_, from, to)| (*from, *to))
    }

    /// The statuses it starts from.
    pub fn from(self) -> &'static [VolumeStatus] {
        self.row().0
    }

    /// `available or error`, for refusals.
    pub fn expected(self) -> String {
        let words: Vec<&str> = self.from().iter().map(|s| s.as_str()).collect();
        words.join(" or ")
    }
}

/// Changes the status as the table says; false if the volume is in none of the statuses it starts from.
pub fn transition(
    tx: &mut Tx,
    volume_id: &str,
    verb: Verb,
    now: Timestamp,
    extra: &[(&'static str, CellValue)],
) -> Result<bool> {
    let (from, to) = verb.row();
    let mut values = vec![set("updated_at", now)];
    values.extend_from_slice(extra);
    tx.swap::<VolumeRow, _>(eq("id", volume_id), "status", from, to, &values)
}

/// Ends what a volume was lent for (`from`): it is again what it was before, or what its attachments made of it since.
pub fn give_back(tx: &mut Tx, volume_id: &str, from: VolumeStatus, now: Timestamp) -> Result<()> {
    // A server that gives the volume back meanwhile changes what it was: both look under the same lock.
    let ours = all([eq("id", volume_id), eq("status", from)]);
    let Some(volume) = tx.find_for_update::<VolumeRow>(ours)? else {
        return Ok(());
    };
    let verb = match volume.previous_status {
        Some(InUse) => Verb::GiveBackInUse,
        _ => Verb::GiveBackAvailable,
    };
    transition(tx, volume_id, verb, now, &[]).map(drop)
}

impl VolumeStatus {
    /// Whether a flow must be working on it.
    pub fn needs_flow(self) -> bool {
        matches!(
            self,
            Creating
                | Downloading
                | Extending
                | Deleting
                | Reverting
                | Unmanaging
                | BackingUp
                | Uploading
                | RestoringBackup
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_one_row() {
        for (verb, from, _) in TABLE {
            assert_eq!(TABLE.iter().filter(|(v, ..)| v == verb).count(), 1);
            assert!(!from.is_empty());
        }
        assert_eq!(TABLE.len(), Verb::RestoreFailed as usize + 1);
    }
}
