//! What is known of a database server from how it answered last.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Times are milliseconds since the handle was made; 0 is never.
pub(crate) struct Server {
    since: Instant,
    answered: AtomicU64,
    broke: AtomicU64,
    /// It is a node of a Galera cluster.
    pub(crate) galera: AtomicBool,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            since: Instant::now(),
            answered: AtomicU64::new(0),
            broke: AtomicU64::new(0),
            galera: AtomicBool::new(false),
        }
    }
}

impl Server {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }

    /// A transaction ended well.
    pub(crate) fn answered(&self) {
        self.answered.store(self.now(), Relaxed);
    }

    /// A connection broke: those that were idle meanwhile are not to be trusted.
    pub(crate) fn broke(&self) {
        self.broke.store(self.now(), Relaxed);
    }

    /// Whether no connection broke since one was put aside so long ago.
    pub(crate) fn unbroken_for(&self, idle: Duration) -> bool {
        let broke = self.broke.load(Relaxed);
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        broke == 0 || broke < self.now().saturating_sub(idle)
    }

    /// Whether the last word was an answer, not older than that.
    pub(crate) fn answered_within(&self, age: Duration) -> bool {
        let (answered, broke) = (self.answered.load(Relaxed), self.broke.load(Relaxed));
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        answered > broke && self.now().saturating_sub(answered) <= age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_idle_when_another_broke_is_suspect() {
        let server = Server::default();
        let long = Duration::from_secs(60);
        assert!(server.unbroken_for(long) && !server.answered_within(long));
        server.answered.store(5, Relaxed);
        assert!(server.answered_within(long));
        server.broke.store(9, Relaxed);
        assert!(!server.answered_within(long), "it was well, and is not");
        assert!(!server.unbroken_for(long));
        server.broke.store(0, Relaxed);
        server.broke();
        assert!(!server.unbroken_for(Duration::ZERO), "in the same moment");
    }
}
