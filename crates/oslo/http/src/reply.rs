//! What a handler answers.

use crate::Body;
use base::{Error, Result};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// A status, headers and a body; request ids, versions and lengths are added by the dispatcher.
#[derive(Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers beside those that every answer gets.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Reply {
    /// `status` with no body at all.
    pub fn empty(status: u16) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            ..Reply::default()
        }
    }

    /// `status` with a JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Reply> {
        let bytes = serde_json::to_vec(body).map_err(|e| Error::internal(format!("reply: {e}")))?;
        Ok(Reply::empty(status)
            .header("content-type", "application/json")
            .with_body(bytes))
    }

    /// 200 with a JSON body.
    pub fn ok(body: &impl Serialize) -> Result<Reply> {
        Reply::json(200, body)
    }

    /// `status` with a body of any type.
    pub fn text(status: u16, content_type: &'static str, body: impl Into<Body>) -> Reply {
        let mut reply = Reply::empty(status).with_body(body);
        reply
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        reply
    }

    /// Replaces the body.
    pub fn with_body(mut self, body: impl Into<Body>) -> Reply {
        self.body = body.into();
        self
    }

    /// Sets a header; a value that no header may hold (control characters) is left out.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Reply {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.as_ref())) {
            self.headers.insert(name, value);
        }
        self
    }
}
