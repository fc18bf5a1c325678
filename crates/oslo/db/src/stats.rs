//! Counters, for metrics and measurements.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a database handle has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Statements run inside closures.
    pub queries: u64,
    /// Read closures finished.
    pub reads: u64,
    /// Write closures finished, whether committed or rolled back.
    pub writes: u64,
    /// Commits that reached the database; with group commit fewer than `writes`.
    pub commits: u64,
    /// Closures run again after a deadlock or a lost connection.
    pub retries: u64,
    /// Write closures waiting right now.
    pub queued: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    queries: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    commits: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(crate) fn query(&self) {
        self.queries.fetch_add(1, Relaxed);
    }

    pub(crate) fn closure(&self, write: bool) {
        let counter = if write { &self.writes } else { &self.reads };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn commit(&self) {
        self.commits.fetch_add(1, Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, queued: usize) -> Stats {
        Stats {
            queries: self.queries.load(Relaxed),
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            retries: self.retries.load(Relaxed),
            queued: queued as u64,
        }
    }
}
