//! Waiting before another try, on threads that may block.

use std::time::{Duration, SystemTime};

#[expect(
    clippy::disallowed_methods,
    reason = "a blocking thread of our own, nothing to wait for"
)]
pub(crate) fn back_off(attempt: u32) {
    std::thread::sleep(pause(attempt));
}

/// 10, 20, 40 … ms, each up to doubled by chance so that two rivals do not meet again.
fn pause(attempt: u32) -> Duration {
    let base = 10u64 << attempt.min(6);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_millis(base / 2 + u64::from(now.subsec_micros()) % base)
}
