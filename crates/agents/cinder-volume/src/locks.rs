//! One lock per name, for as long as somebody wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Lock = tokio::sync::Mutex<()>;

/// Locks by name.
#[derive(Default)]
pub struct Locks(Mutex<HashMap<String, Weak<Lock>>>);

impl Locks {
    /// The lock of a name: the same one for all who want it meanwhile.
    pub fn of(&self, name: &str) -> Arc<Lock> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = busy.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        busy.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Lock::default());
        busy.insert(name.to_string(), Arc::downgrade(&lock));
        lock
    }
}
