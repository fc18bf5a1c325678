//! What can be tuned about a database handle.

use std::time::Duration;

/// When SQLite waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// At checkpoints: a killed process loses nothing, a power failure may lose the last commits (never more,
    /// and never consistency).
    Normal,
    /// At every commit (which group commit makes bearable).
    Full,
}

/// Tuning, with defaults that suit a laptop and a small cloud.
#[derive(Clone, Debug)]
pub struct Options {
    /// SQLite: threads that read.
    pub readers: usize,
    /// SQLite: when to wait for the disk.
    pub synchronous: Synchronous,
    /// SQLite: how long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// SQLite: page cache of each connection.
    pub cache_kib: u32,
    /// Prepared statements kept by each connection.
    pub statement_cache: usize,
    /// MariaDB: connections, and thereby closures at work at a time.
    pub pool_size: u32,
    /// MariaDB: how long to wait for a free connection, and for a server that is away.
    pub pool_timeout: Duration,
    /// MariaDB: connections older than this are replaced.
    pub max_lifetime: Duration,
    /// Galera: what must be up to date before it is read (`wsrep_sync_wait`); none: 1, every read.
    pub wsrep_sync_wait: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            readers: 3,
            synchronous: Synchronous::Normal,
            busy_timeout: Duration::from_secs(10),
            cache_kib: 2048,
            statement_cache: 128,
            pool_size: 10,
            pool_timeout: Duration::from_secs(10),
            max_lifetime: Duration::from_secs(3600),
            wsrep_sync_wait: None,
        }
    }
}
