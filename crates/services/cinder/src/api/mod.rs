//! HTTP in, HTTP out.

pub mod attachments;
pub mod manage;
pub mod metadata;
pub mod quotas;
pub mod services;
pub mod snapshots;
pub mod types;
pub mod versions;
pub mod views;
pub mod volume_actions;
pub mod volumes;

use base::Timestamp;
use serde_json::{Value, json};

/// A time as cinder writes it, or null.
pub fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |t| json!(t.iso_micros()))
}
