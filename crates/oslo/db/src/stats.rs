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
    /// Commits during which the connection broke. Whether they were made was found out afterwards, but for the next.
    pub cut_commits: u64,
    /// Those of which it was not found out, because the database did not come back in time.
    pub unknown_commits: u64,
    /// Closures waiting right now: on SQLite those that write, on MariaDB all that wait for a connection.
    pub queued: u64,
    /// Connections, on MariaDB.
    pub pool: Pool,
}

/// The connections of a handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// How many there may be.
    pub limit: u64,
    /// Open ones without work.
    pub idle: u64,
    /// Open ones at work.
    pub in_use: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    queries: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    commits: AtomicU64,
    retries: AtomicU64,
    cut: AtomicU64,
    unknown: AtomicU64,
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

    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    pub(crate) fn unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, queued: usize, pool: Pool) -> Stats {
        Stats {
            queries: self.queries.load(Relaxed),
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            retries: self.retries.load(Relaxed),
            cut_commits: self.cut.load(Relaxed),
            unknown_commits: self.unknown.load(Relaxed),
            queued: queued as u64,
            pool,
        }
    }
}
