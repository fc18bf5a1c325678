//! What this process knows of keystone's generation, the number that moves whenever a token may mean something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The newest generation heard of. Clones share it: the authenticator looks at it, whoever listens to the bus moves it.
#[derive(Clone, Debug, Default)]
pub struct Generation(Arc<AtomicU64>);

impl Generation {
    /// The newest one; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Somebody says that keystone is at `generation` now. What was learnt before that is no longer believed.
    pub fn moved(&self, generation: u64) {
        self.0.fetch_max(generation, Ordering::AcqRel);
    }
}
