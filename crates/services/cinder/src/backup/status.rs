//! The one transition table of backups. A status changes only by a verb, as a compare-and-swap.

use crate::db::BackupRow;
use base::{CellValue, Result, Timestamp};
use oslo_db::{Tx, eq, set};

base::str_enum! {
    /// Where a backup is in its life.
    pub enum BackupStatus {
        Creating = "creating",
        Available = "available",
        Deleting = "deleting",
        Error = "error",
        Restoring = "restoring",
        ErrorDeleting = "error_deleting",
    }
}

use BackupStatus::*;

/// What can happen to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Created,
    CreateFailed,
    Restore,
    Restored,
    Delete,
    ForceDelete,
    DeleteFailed,
}

const TABLE: &[(Verb, &[BackupStatus], BackupStatus)] = &[
    (Verb::Created, &[Creating], Available),
    (Verb::CreateFailed, &[Creating], Error),
    (Verb::Restore, &[Available], Restoring),
    // Also where the restore failed: the backup is what it was.
    (Verb::Restored, &[Restoring], Available),
    (Verb::Delete, &[Available, Error], Deleting),
    (
        Verb::ForceDelete,
        &[Creating, Available, Error, Restoring, ErrorDeleting],
        Deleting,
    ),
    (Verb::DeleteFailed, &[Deleting], ErrorDeleting),
];

impl Verb {
    fn row(self) -> (&'static [BackupStatus], BackupStatus) {
        let row = TABLE.iter().find(|(verb, ..)| *verb == self);
        // The test below keeps the table complete; nothing can follow from an unknown verb.
        row.map_or((&[], Error), |(_, from, to)| (*from, *to))
    }
}

/// Changes the status as the table says; false if the backup is in none of the statuses it starts from.
pub fn transition(
    tx: &mut Tx,
    backup_id: &str,
    verb: Verb,
    now: Timestamp,
    extra: &[(&'static str, CellValue)],
) -> Result<bool> {
    let (from, to) = verb.row();
    let mut values = vec![set("updated_at", now)];
    values.extend_from_slice(extra);
    tx.swap::<BackupRow, _>(eq("id", backup_id), "status", from, to, &values)
}

impl BackupStatus {
    /// Whether a flow must be working on it.
    pub fn needs_flow(self) -> bool {
        matches!(self, Creating | Deleting | Restoring)
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
        assert_eq!(TABLE.len(), Verb::DeleteFailed as usize + 1);
    }
}
