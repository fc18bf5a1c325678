//! A neighbour's error body back into an [`Error`]: its kind, its class, its words.

use base::{Error, Kind};
use serde_json::Value;

/// Reads the error body of any service (shapes: `oslo_http::faults`).
pub(crate) fn parse(service: &str, status: u16, body: &[u8]) -> Error {
    let mut kind = Kind::from_status(status);
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut class = None;
    let mut message = String::new();
    if let Some(neutron) = value.get("NeutronError") {
        class = neutron["type"].as_str().map(str::to_string);
        message = neutron["message"].as_str().unwrap_or("").to_string();
        if class.as_deref() == Some("OverQuota") {
            kind = Kind::OverQuota;
        }
    } else if let Some(first) = value["errors"].get(0) {
        class = first["code"].as_str().map(str::to_string);
        message = first["detail"].as_str().unwrap_or("").to_string();
    } else if let Some(object) = value.as_object() {
        let inner = object
            .values()
            .find_map(|v| v.get("message"))
            .or_else(|| object.get("message"));
        message = inner.and_then(Value::as_str).unwrap_or("").to_string();
        if object.contains_key("overLimit") {
            kind = Kind::OverQuota;
        }
    }
    if message.is_empty() {
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]);
        message = format!("{service} answered {status}: {}", text.trim());
    }
    if kind == Kind::Internal {
        return Error::internal(format!("{service} answered {status}: {message}"));
    }
    let error = Error::new(kind, message);
    match class {
        Some(class) => error.class(class),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape() {
        let e = parse(
            "network",
            409,
            br#"{"NeutronError":{"type":"OverQuota","message":"Quota exceeded","detail":""}}"#,
        );
        assert_eq!(
            (e.kind(), e.error_class(), e.message()),
            (Kind::OverQuota, Some("OverQuota"), "Quota exceeded")
        );
        let e = parse(
            "placement",
            409,
            br#"{"errors":[{"status":409,"detail":"d","code":"placement.concurrent_update"}]}"#,
        );
        assert_eq!(
            (e.kind(), e.error_class()),
            (Kind::Conflict, Some("placement.concurrent_update"))
        );
        let e = parse(
            "compute",
            404,
            br#"{"itemNotFound":{"code":404,"message":"gone"}}"#,
        );
        assert_eq!((e.kind(), e.message()), (Kind::NotFound, "gone"));
        assert_eq!(parse("image", 500, b"<html>boom").kind(), Kind::Internal);
    }
}
