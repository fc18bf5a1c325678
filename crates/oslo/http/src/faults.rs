//! Error bodies. Each service has one style; the shapes are those of ../shared/api/errors.yaml.

use crate::Reply;
use base::{Error, Kind, Microversion};
use serde_json::{Value, json};

/// What a style may look at beside the error.
pub struct FaultContext<'a> {
    /// The id of the request, for bodies that carry it.
    pub request_id: &'a str,
    /// The caller's `Accept`.
    pub accept: Option<&'a str>,
    /// The negotiated microversion.
    pub version: Microversion,
    /// The range offered, for 406.
    pub range: Option<(Microversion, Microversion)>,
    /// Where callers reach the identity service, for `WWW-Authenticate`.
    pub identity_uri: &'a str,
}

/// Makes the reply for an error.
pub type FaultStyle = fn(&Error, &FaultContext<'_>) -> Reply;

fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Error")
}

fn finish(status: u16, body: Value, error: &Error, cx: &FaultContext<'_>) -> Reply {
    let reply = Reply::empty(status)
        .header("content-type", "application/json")
        .with_body(body.to_string());
    challenge(reply, error, cx)
}

fn challenge(reply: Reply, error: &Error, cx: &FaultContext<'_>) -> Reply {
    if error.kind() == Kind::Unauthorized {
        return reply.header(
            "www-authenticate",
            format!("Keystone uri=\"{}\"", cx.identity_uri),
        );
    }
    reply
}

/// `{error: {code, title, message}}` (keystone).
pub fn wrapped(error: &Error, cx: &FaultContext<'_>) -> Reply {
    let status = error.kind().status();
    let body =
        json!({"error": {"code": status, "title": title(status), "message": error.message()}});
    finish(status, body, error, cx)
}

fn keyed(error: &Error, cx: &FaultContext<'_>, over_quota: u16, own_key: bool) -> Reply {
    let status = if error.kind() == Kind::OverQuota {
        over_quota
    } else {
        error.kind().status()
    };
    let key = match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 => "overLimit",
        415 => "badMediaType",
        429 => "overLimit",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    };
    let mut inner = json!({"code": status, "message": error.message()});
    let mut reply = Reply::empty(status);
    if matches!(status, 413 | 429) {
        inner["retryAfter"] = json!("0");
        reply = reply.header("retry-after", "0");
    }
    let message = error.message();
    if error.kind() == Kind::Internal && own_key {
        inner["message"] = json!(format!(
            "{message}\n<class 'InternalError'> (request {})",
            cx.request_id
        ));
    }
    let mut body = serde_json::Map::new();
    body.insert(key.to_string(), inner);
    let charset = if own_key {
        "application/json; charset=UTF-8"
    } else {
        "application/json"
    };
    let reply = reply
        .header("content-type", charset)
        .with_body(Value::Object(body).to_string());
    challenge(reply, error, cx)
}

/// `{itemNotFound: {code, message}}`, over quota 403 (nova).
pub fn keyed_compute(error: &Error, cx: &FaultContext<'_>) -> Reply {
    keyed(error, cx, 403, true)
}

/// `{itemNotFound: {code, message}}`, over quota 413 (cinder).
pub fn keyed_volume(error: &Error, cx: &FaultContext<'_>) -> Reply {
    keyed(error, cx, 413, false)
}

/// `{NeutronError: {type, message, detail}}`, over quota 409 (neutron).
pub fn typed(error: &Error, cx: &FaultContext<'_>) -> Reply {
    let status = if error.kind() == Kind::OverQuota {
        409
    } else {
        error.kind().status()
    };
    let class = error.error_class().unwrap_or(match error.kind() {
        Kind::BadRequest => "HTTPBadRequest",
        Kind::Unauthorized => "HTTPUnauthorized",
        Kind::Forbidden => "PolicyNotAuthorized",
        Kind::NotFound => "HTTPNotFound",
        Kind::MethodNotAllowed => "HTTPMethodNotAllowed",
        Kind::Conflict => "HTTPConflict",
        Kind::OverQuota => "OverQuota",
        Kind::TooLarge => "HTTPRequestEntityTooLarge",
        Kind::UnsupportedMediaType => "HTTPUnsupportedMediaType",
        Kind::NotImplemented => "HTTPNotImplemented",
        Kind::Unavailable | Kind::Timeout => "HTTPServiceUnavailable",
        _ => "HTTPInternalServerError",
    });
    let key = if error.kind() == Kind::NotImplemented {
        "NotImplementedError"
    } else {
        "NeutronError"
    };
    let mut body = serde_json::Map::new();
    body.insert(
        key.into(),
        json!({"type": class, "message": error.message(), "detail": ""}),
    );
    finish(status, Value::Object(body), error, cx)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// HTML by default, JSON or text when asked (glance): the stock rendering that its clients parse.
pub fn html(error: &Error, cx: &FaultContext<'_>) -> Reply {
    let status = if error.kind() == Kind::OverQuota {
        413
    } else {
        error.kind().status()
    };
    let head = format!("{status} {}", title(status));
    let accept = cx.accept.unwrap_or("");
    let reply = Reply::empty(status);
    let reply = if accept.contains("application/json") && !accept.contains("html") {
        let message = format!("{}<br /><br />\n\n\n", escape(error.message()));
        let body = json!({"code": head, "title": title(status), "message": message});
        reply
            .header("content-type", "application/json")
            .with_body(body.to_string())
    } else if accept.starts_with("text/plain") {
        reply
            .header("content-type", "text/plain; charset=UTF-8")
            .with_body(format!("{head}\n\n{}\n\n\n", error.message()))
    } else {
        let body = format!(
            "<html>\n <head>\n  <title>{head}</title>\n </head>\n <body>\n  <h1>{head}</h1>\n  {}<br /><br />\n\n\n </body>\n</html>",
            escape(error.message())
        );
        reply
            .header("content-type", "text/html; charset=UTF-8")
            .with_body(body)
    };
    challenge(reply, error, cx)
}

/// `{errors: [{status, title, detail, request_id, code?}]}` (placement).
pub fn listed(error: &Error, cx: &FaultContext<'_>) -> Reply {
    let status = error.kind().status();
    let mut entry = json!({
        "status": status,
        "title": title(status),
        "detail": format!("{}\n\n {}  ", explanation(status), error.message()),
        "request_id": cx.request_id,
    });
    if cx.version >= Microversion(1, 23) {
        entry["code"] = json!(error.error_class().unwrap_or("placement.undefined_code"));
    }
    if let (406, Some((min, max))) = (status, cx.range) {
        entry["min_version"] = json!(min.to_string());
        entry["max_version"] = json!(max.to_string());
    }
    finish(status, json!({"errors": [entry]}), error, cx)
}

fn explanation(status: u16) -> &'static str {
    match status {
        400 => {
            "The server could not comply with the request since it is either malformed or otherwise incorrect."
        }
        401 => {
            "This server could not verify that you are authorized to access the document you requested."
        }
        403 => "Access was denied to this resource.",
        404 => "The resource could not be found.",
        405 => "The method specified is not allowed for this resource.",
        406 => {
            "The resource identified by the request is only capable of generating response entities which have content characteristics not acceptable according to the accept headers sent in the request."
        }
        409 => "There was a conflict when trying to complete your request.",
        413 => "The body of your request was too large for this server.",
        415 => "The request media type is not supported by this server.",
        _ => "The server has either erred or is incapable of performing the requested operation.",
    }
}
