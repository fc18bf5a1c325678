//! What every long-running process needs: supervised workers, reconcilers, leader locks, graceful stop.

mod leader;
mod reconcile;
mod supervisor;
mod wait;

pub use leader::{LeaderLock, MIGRATIONS};
pub use reconcile::{Poke, Reconciler, Report};
pub use supervisor::{Supervisor, WorkerState, WorkerStatus};
pub use tokio_util::sync::CancellationToken;
pub use wait::wait_until;

/// `duration`, a tenth more or less, so that processes started together do not act together.
pub(crate) fn jittered(duration: std::time::Duration) -> std::time::Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0) % 201;
    duration.mul_f64(0.9 + random as f64 / 1000.0)
}

/// The words of a panic.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_string(),
        (_, Some(words)) => words.clone(),
        _ => "no words".to_string(),
    }
}
