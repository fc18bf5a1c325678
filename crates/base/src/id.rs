//! Identifiers. They are strings that were checked once, at the edge, and are believed inside.

use crate::{Error, Result};

/// A new random id with hyphens (nova, neutron, cinder, glance, placement).
pub fn new_id() -> String {
    uuid::Uuid::new_v4().hyphenated().to_string()
}

/// A new random id of 32 hex digits (keystone).
pub fn new_hex_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A new request id, `req-` and a uuid.
pub fn new_request_id() -> String {
    format!("req-{}", uuid::Uuid::new_v4().hyphenated())
}

/// Whether `text` is a uuid in any spelling upstream takes (hyphens optional, any case).
pub fn is_uuid_like(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && uuid::Uuid::try_parse(text).is_ok()
}

/// Whether `text` is a request id that a caller may hand us.
pub fn is_request_id(text: &str) -> bool {
    text.strip_prefix("req-")
        .is_some_and(|t| t.len() == 36 && is_uuid_like(t))
}

/// Reads a uuid into its usual spelling; anything else is a 400.
pub fn parse_uuid(text: &str) -> Result<String> {
    match uuid::Uuid::try_parse(text) {
        Ok(u) if is_uuid_like(text) => Ok(u.hyphenated().to_string()),
        _ => Err(Error::bad_request(format!("'{text}' is not a valid UUID"))),
    }
}

/// A uuid that is always the same for the same `name` (version 5, our own namespace).
pub fn named_id(name: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, name.as_bytes())
        .hyphenated()
        .to_string()
}
