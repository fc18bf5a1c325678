//! Waiting for a thing itself, never for a time.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a test waits for anything; far more than a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer; panics in words when there is none.
#[track_caller]
pub fn wait_for<T, F, Fut>(what: impl Into<String>, ask: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let (what, at) = (what.into(), std::panic::Location::caller());
    async move {
        let found = patiently(PATIENCE, ask).await;
        found.unwrap_or_else(|| panic!("{at}: waited {PATIENCE:?} in vain for {what}"))
    }
}

/// Asks until there is an answer, or time is up.
pub async fn patiently<T, F, Fut>(limit: Duration, mut ask: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let (end, mut pause) = (Instant::now() + limit, Duration::from_millis(2));
    loop {
        if let Some(found) = ask().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
