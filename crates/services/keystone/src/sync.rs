//! Several processes on one database: once a second this one asks whether another has written, and then forgets
//! what it remembers and reads new revocations. Its own writes do the same at once, and whoever makes a token asks
//! first: one made on old knowledge would outlive the revocation that it does not know.

use crate::Keystone;
use crate::db::{generation, revocations};
use base::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const INTERVAL_MS: u64 = 1000;
/// Clocks of processes differ and transactions take time: rows this much older than the newest are read again.
const OVERLAP: Duration = Duration::from_secs(300);

/// When this process last looked, and what it saw.
pub(crate) struct Sync {
    started: Instant,
    looked_ms: AtomicU64,
    seen: AtomicI64,
    /// One reader of revocations at a time.
    reading: tokio::sync::Mutex<()>,
}

impl Default for Sync {
    fn default() -> Sync {
        Sync {
            started: Instant::now(),
            looked_ms: AtomicU64::new(0),
            seen: AtomicI64::new(-1),
            reading: Default::default(),
        }
    }
}

impl Keystone {
    /// Looks for others' writes if it is time; one caller does, the rest go on with what is known.
    pub(crate) async fn look_around(self: &Arc<Self>) -> Result<()> {
        let now = self.sync.started.elapsed().as_millis() as u64;
        let looked = self.sync.looked_ms.load(Ordering::Relaxed);
        let due = now.saturating_sub(looked) >= INTERVAL_MS;
        if !due
            || self
                .sync
                .looked_ms
                .compare_exchange(looked, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
        {
            return Ok(());
        }
        let keystone = Arc::clone(self);
        if self.conf.fernet_tokens.key_repository.is_some() {
            let changed = tokio::task::spawn_blocking(move || keystone.keys.reload())
                .await
                .map_err(Error::internal)??;
            if changed {
                self.generation_moved();
            }
        }
        self.catch_up().await
    }

    /// Reads the generation, and what depends on it if it moved.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let found = self.db.read(generation::current).await?;
        if found != self.sync.seen.load(Ordering::Acquire) {
            self.caught_up(found).await?;
        }
        Ok(())
    }

    /// Takes up the world as of `generation` or later.
    pub(crate) async fn caught_up(&self, generation: i64) -> Result<()> {
        let _alone = self.sync.reading.lock().await;
        let oldest = self.clock.now().minus(self.revocations_last());
        let newest = self
            .revocations
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .newest();
        let since = oldest.max(newest.minus(OVERLAP));
        let rows = self
            .db
            .read(move |tx| revocations::since(tx, since))
            .await?;
        {
            let mut known = self.revocations.write().unwrap_or_else(|e| e.into_inner());
            known.absorb(rows);
            known.forget(oldest);
        }
        self.sync.seen.fetch_max(generation, Ordering::AcqRel);
        self.generation_moved();
        Ok(())
    }
}
