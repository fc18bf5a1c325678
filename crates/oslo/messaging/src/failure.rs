//! Errors across processes: upstream's remote exception, with our kind, class and log words beside it.

use base::{Error, Kind};
use serde_json::{Value, json};

/// The JSON string of an error.
pub(crate) fn encode(error: &Error) -> String {
    let class = error.error_class().unwrap_or_else(|| error.kind().name());
    json!({
        "class": class,
        "module": "ferrostack",
        "message": error.message(),
        "tb": [],
        "args": [error.message()],
        "kwargs": {},
        "ferrostack": {
            "kind": error.kind().name(),
            "class": error.error_class(),
            // Travels between our own processes only, and never into an HTTP answer.
            "log": error.log_message(),
        },
    })
    .to_string()
}

/// The error of a JSON string, ours or Python's.
pub(crate) fn decode(failure: &str) -> Error {
    let Ok(value) = serde_json::from_str::<Value>(failure) else {
        return Error::internal(format!("a failure that is not JSON: {failure}"));
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let message = text(&value["message"]);
    let ours = &value["ferrostack"];
    if let Some(kind) = ours["kind"].as_str() {
        let mut error = Error::new(Kind::from_name(kind), &message);
        if let Some(class) = ours["class"].as_str() {
            error = error.class(class);
        }
        return match ours["log"].as_str() {
            Some(log) if log != message => error.log(log),
            _ => error,
        };
    }
    let class = text(&value["class"]);
    let kind = kind_of_python(&class);
    let error = match kind {
        Kind::Internal => Error::internal(format!("{class}: {message}")),
        kind => Error::new(kind, message),
    };
    error.class(class)
}

/// Python's exceptions say what they are by their names.
fn kind_of_python(class: &str) -> Kind {
    const NAMES: &[(&str, Kind)] = &[
        ("NotFound", Kind::NotFound),
        ("Timeout", Kind::Timeout),
        ("Conflict", Kind::Conflict),
        ("Exists", Kind::Conflict),
        ("Duplicate", Kind::Conflict),
        ("Quota", Kind::OverQuota),
        ("LimitExceeded", Kind::OverQuota),
        ("Forbidden", Kind::Forbidden),
        ("NotAuthorized", Kind::Forbidden),
        ("UnsupportedVersion", Kind::NotImplemented),
        ("NoSuchMethod", Kind::NotImplemented),
        ("NotImplemented", Kind::NotImplemented),
        ("Unavailable", Kind::Unavailable),
        ("Invalid", Kind::BadRequest),
        ("BadRequest", Kind::BadRequest),
    ];
    NAMES
        .iter()
        .find(|(name, _)| class.contains(name))
        .map_or(Kind::Internal, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_survive_whole() {
        let error = Error::conflict("in use")
            .class("VolumeInUse")
            .log("attachment 7");
        let back = decode(&encode(&error));
        assert_eq!((back.kind(), back.message()), (Kind::Conflict, "in use"));
        assert_eq!(
            (back.error_class(), back.log_message()),
            (Some("VolumeInUse"), "attachment 7")
        );
        assert_eq!(decode(&encode(&Error::not_found("x"))).error_class(), None);
    }

    #[test]
    fn pythons_are_understood_by_name() {
        let failure = |class: &str| {
            json!({"class": class, "module": "nova.exception", "message": "words"}).to_string()
        };
        assert_eq!(decode(&failure("InstanceNotFound")).kind(), Kind::NotFound);
        let unknown = decode(&failure("KeyError"));
        assert_eq!(unknown.kind(), Kind::Internal);
        assert!(!unknown.message().contains("words") && unknown.log_message().contains("words"));
        assert_eq!(decode("nonsense").kind(), Kind::Internal);
    }
}
