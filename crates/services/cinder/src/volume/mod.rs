//! Volumes: their statuses, and a verb per file.

pub mod attach;
pub mod create;
pub mod delete;
pub mod extend;
pub mod manage;
pub mod qos;
pub mod revert;
pub mod status;
pub mod transfer;
pub mod upload;

use base::{Error, Kind};

/// A volume that is not in the state for this; upstream's `InvalidVolume`.
pub fn invalid_volume(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid volume: {reason}")).class("InvalidVolume")
}

/// A value that makes no sense; upstream's `InvalidInput`.
pub fn invalid_input(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid input received: {reason}")).class("InvalidInput")
}

/// What an operator and, in part, a user read when work failed.
pub fn reason(error: &Error) -> String {
    let words = match error.kind() {
        Kind::Internal => "An internal error occurred; the log knows more.",
        _ => error.message(),
    };
    words.chars().take(1000).collect()
}
