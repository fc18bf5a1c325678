//! What a commit left behind when its connection broke: made, or not made? Every transaction that writes also inserts a marker,
//! at its end or, on Galera, before everything else. Whoever lost the answer inserts the same marker himself: a taken key means that
//! the transaction was made; otherwise it never will be, since its own marker cannot be inserted any more. That also holds
//! between the nodes of a Galera cluster, and while the lost transaction is still at work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// `made` is false for markers that somebody inserted who looked for them.
pub(crate) const TABLE: (&str, &str) = (
    "commit_markers",
    "CREATE TABLE IF NOT EXISTS commit_markers (
        id VARCHAR(64) NOT NULL PRIMARY KEY,
        made BOOLEAN NOT NULL,
        made_at BIGINT NOT NULL
    )",
);

/// Forgets what nobody can look for any more; whoever ends leaves a few behind.
pub(crate) const PURGE: &str =
    "DELETE FROM commit_markers WHERE made_at < UNIX_TIMESTAMP() - 86400";

/// So many markers of ended transactions are deleted by one that begins.
const AT_ONCE: usize = 4;

/// The markers of one handle.
pub(crate) struct Markers {
    handle: String,
    next: AtomicU64,
    /// Markers of transactions whose end was heard: the next ones delete them, so that the table stays as small as
    /// there are connections.
    heard: Mutex<Vec<String>>,
    /// Whether the table exists; it comes with the first migration.
    pub(crate) known: AtomicBool,
}

impl Default for Markers {
    fn default() -> Markers {
        Markers {
            handle: base::new_hex_id(),
            next: AtomicU64::new(0),
            heard: Mutex::default(),
            known: AtomicBool::new(true),
        }
    }
}

/// The marker of one transaction.
pub(crate) struct Marker {
    pub(crate) id: String,
    pub(crate) old: Vec<String>,
}

/// On Galera a transaction may be rolled back by another node's between two statements of one packet, and the rest of the
/// packet would then go on without it, as if nothing had happened. So there each statement is sent by itself: an old
/// marker becomes the new one, or a new one is inserted, before anything else is written; and before the commit it must still be
/// there, or what it was written with is not either.
pub(crate) const REPLACE: &str =
    "UPDATE commit_markers SET id = ?, made_at = UNIX_TIMESTAMP() WHERE id = ?";
pub(crate) const INSERT: &str =
    "INSERT INTO commit_markers (id, made, made_at) VALUES (?, TRUE, UNIX_TIMESTAMP())";

pub(crate) const CONFIRM: &str =
    "UPDATE commit_markers SET made_at = UNIX_TIMESTAMP() WHERE id = ?";

impl Markers {
    /// A marker for a transaction that is about to commit; none where there is no table for it.
    pub(crate) fn next(&self, galera: bool) -> Option<Marker> {
        if !self.known.load(Relaxed) {
            return None;
        }
        let mut heard = self.heard();
        let rest = heard.len().saturating_sub(if galera { 1 } else { AT_ONCE });
        Some(Marker {
            id: format!("{}-{}", self.handle, self.next.fetch_add(1, Relaxed)),
            old: heard.split_off(rest),
        })
    }

    /// The transaction was made, and nobody will ask.
    pub(crate) fn made(&self, marker: Option<Marker>) {
        if let Some(marker) = marker {
            self.heard().push(marker.id);
        }
    }

    /// The transaction was not made: what it would have deleted is still there.
    pub(crate) fn not_made(&self, marker: Option<Marker>) {
        if let Some(marker) = marker {
            self.heard().extend(marker.old);
        }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ends a transaction, in one packet. The ids are our own: letters, digits, hyphens.
pub(crate) fn end(marker: Option<&Marker>) -> String {
    let Some(marker) = marker else {
        return "COMMIT".into();
    };
    let mut sql = String::new();
    if !marker.old.is_empty() {
        let old = marker.old.join("', '");
        sql = format!("DELETE FROM commit_markers WHERE id IN ('{old}'); ");
    }
    sql + &insert(&marker.id, true) + "; COMMIT"
}

/// Makes sure, by itself a transaction, that another one either was made or never will be.
pub(crate) fn decide(id: &str) -> String {
    insert(id, false)
}

fn insert(id: &str, made: bool) -> String {
    format!(
        "INSERT INTO commit_markers (id, made, made_at) VALUES ('{id}', {made}, UNIX_TIMESTAMP())"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_deleted_by_the_next_and_what_was_not_by_another() {
        let markers = Markers::default();
        let first = markers.next(false);
        let id = first.as_ref().unwrap().id.clone();
        assert!(!end(first.as_ref()).contains("DELETE"));
        markers.made(first);
        for _ in 0..2 {
            let next = markers.next(false);
            assert!(
                end(next.as_ref()).starts_with("DELETE"),
                "{}",
                end(next.as_ref())
            );
            assert_eq!(next.as_ref().unwrap().old, std::slice::from_ref(&id));
            markers.not_made(next);
        }
        markers.known.store(false, Relaxed);
        assert_eq!(end(markers.next(false).as_ref()), "COMMIT");
    }
}
