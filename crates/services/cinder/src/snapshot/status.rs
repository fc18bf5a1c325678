//! The one transition table of snapshots. A status changes only by a verb, as a compare-and-swap.

use crate::db::SnapshotRow;
use base::{CellValue, Result, Timestamp};
use oslo_db::{Tx, eq, set};

base::str_enum! {
    /// Where a snapshot is in its life.
    pub enum SnapshotStatus {
        Creating = "creating",
        Available = "available",
        Deleting = "deleting",
        Error = "error",
        ErrorDeleting = "error_deleting",
        BackingUp = "backing-up",
        Restoring = "restoring",
        Unmanaging = "unmanaging",
    }
}

use SnapshotStatus::*;

/// What can happen to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Created,
    CreateFailed,
    Delete,
    /// With its volume.
    DeleteCascade,
    DeleteFailed,
    Unmanage,
    Restore,
    Restored,
    BackUp,
    BackedUp,
}

const TABLE: &[(Verb, &[SnapshotStatus], SnapshotStatus)] = &[
    (Verb::Created, &[Creating], Available),
    (Verb::CreateFailed, &[Creating], Error),
    (Verb::Delete, &[Available, Error], Deleting),
    (Verb::DeleteCascade, &[Available, Error, Deleting], Deleting),
    (Verb::DeleteFailed, &[Deleting, Unmanaging], ErrorDeleting),
    (Verb::Unmanage, &[Available, Error], Unmanaging),
    (Verb::Restore, &[Available], Restoring),
    // Whether the volume has its bytes or not, the snapshot is as it was.
    (Verb::Restored, &[Restoring], Available),
    (Verb::BackUp, &[Available], BackingUp),
    (Verb::BackedUp, &[BackingUp], Available),
];

impl Verb {
    fn row(self) -> (&'static [SnapshotStatus], SnapshotStatus) {
        let row = TABLE.iter().find(|(verb, ..)| *verb == self);
        // The test below keeps the table complete; nothing can follow from an unknown verb.
        row.map_or((&[], Error), |(_, from, to)| (*from, *to))
    }

    /// `available or error`, for refusals.
    pub fn expected(self) -> String {
        let words: Vec<&str> = self.row().0.iter().map(|s| s.as_str()).collect();
        words.join(" or ")
    }
}

/// Changes the status as the table says; false if the snapshot is in none of the statuses it starts from.
pub fn transition(
    tx: &mut Tx,
    snapshot_id: &str,
    verb: Verb,
    now: Timestamp,
    extra: &[(&'static str, CellValue)],
) -> Result<bool> {
    let (from, to) = verb.row();
    let mut values = vec![set("updated_at", now)];
    values.extend_from_slice(extra);
    tx.swap::<SnapshotRow, _>(eq("id", snapshot_id), "status", from, to, &values)
}

impl SnapshotStatus {
    /// How one ends that nobody is working on; none if that is how it may be.
    pub fn abandoned(self) -> Option<Verb> {
        match self {
            Creating => Some(Verb::CreateFailed),
            Deleting | Unmanaging => Some(Verb::DeleteFailed),
            Restoring => Some(Verb::Restored),
            BackingUp => Some(Verb::BackedUp),
            _ => None,
        }
    }

    /// What a driver that works by itself may make of it (`os-update_snapshot_status`).
    pub fn reported(self) -> &'static [SnapshotStatus] {
        match self {
            Creating => &[Creating, Available, Error],
            Deleting => &[Deleting, ErrorDeleting],
            _ => &[],
        }
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
        assert_eq!(TABLE.len(), Verb::BackedUp as usize + 1);
    }
}
