//! Waiting for something that nobody announces.

use base::{Error, Kind, Result};
use std::time::Duration;

/// Asks `check` every `interval` until it gives a value or an error; 504 after `timeout`.
pub async fn wait_until<T, F, W>(timeout: Duration, interval: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> W,
    W: Future<Output = Result<Option<T>>>,
{
    let asking = async {
        loop {
            if let Some(value) = check().await? {
                return Ok(value);
            }
            tokio::time::sleep(interval).await;
        }
    };
    match tokio::time::timeout(timeout, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!("Nothing happened within {timeout:?}."),
        )),
    }
}
