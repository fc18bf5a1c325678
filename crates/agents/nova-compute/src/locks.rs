//! One thing at a time per instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A lock for each name; names nobody holds take no memory.
#[derive(Clone, Default)]
pub(crate) struct Locks {
    held: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
}

impl Locks {
    /// Waits for its turn.
    pub(crate) async fn hold(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|_, lock| Arc::strong_count(lock) > 1);
            held.entry(name.to_string()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Whether somebody works on it now.
    pub(crate) fn busy(&self, name: &str) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).is_some_and(|lock| lock.try_lock().is_err())
    }
}
