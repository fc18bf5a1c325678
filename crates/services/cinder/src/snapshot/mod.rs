//! Snapshots: their statuses, and a verb per file.

pub mod create;
pub mod delete;
pub mod manage;
pub mod status;

use base::Error;

/// A snapshot that is not in the state for this; upstream's `InvalidSnapshot`.
pub fn invalid_snapshot(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid snapshot: {reason}")).class("InvalidSnapshot")
}
