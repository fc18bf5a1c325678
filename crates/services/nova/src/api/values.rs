//! Values that upstream's schemas let callers write in more than one way: numbers and booleans as text.

use base::{Error, Result};
use oslo_http::is_true;
use serde_json::Value;

/// An integer, also as text; the schema has checked the spelling where there is one.
pub fn integer(value: &Value) -> Result<i64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    number.ok_or_else(|| Error::bad_request(format!("Invalid integer: {value}")))
}

/// The integer under `key`, or `default` when it is not there.
pub fn integer_or(object: &Value, key: &str, default: i64) -> Result<i64> {
    object.get(key).map_or(Ok(default), integer)
}

/// A floating point number, also as text.
pub fn float(value: &Value) -> Result<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.ok_or_else(|| Error::bad_request(format!("Invalid number: {value}")))
}

/// A boolean, also as one of oslo.utils' words.
pub fn boolean(value: &Value) -> bool {
    match value {
        Value::Bool(b) => *b,
        Value::String(text) => is_true(text),
        _ => false,
    }
}

/// The text under `key`, if it is text.
pub fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// The object under the body's wrapper `key`; the schema has checked that it is there.
pub fn wrapped<'a>(body: Option<&'a Value>, key: &str) -> Result<&'a Value> {
    let inner = body.and_then(|b| b.get(key));
    inner.ok_or_else(|| {
        Error::bad_request(format!(
            "Invalid input: the request body must have the key '{key}'."
        ))
    })
}

/// An address as upstream writes it back: IPv6 in its short form; what is no address stays as it is.
pub fn address(text: String) -> String {
    match text.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => text,
    }
}
