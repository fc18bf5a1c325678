//! What a handler is given.

use crate::Body;
use base::{Error, Microversion, Result};
use bytes::Bytes;
use http::{HeaderMap, Method};
use oslo_context::RequestContext;
use oslo_policy::Enforcer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request that has passed the front of the house: authenticated, its body read, its schema and route rule checked.
pub struct Req {
    /// Who asks.
    pub ctx: Arc<RequestContext>,
    /// The method (HEAD arrives as GET).
    pub method: Method,
    /// Whether HEAD was sent: the answer is GET's without its body, save where a service says otherwise.
    pub head: bool,
    /// The path as sent, without query.
    pub path: String,
    /// `http://host:port` by which the caller reached us: the start of every link.
    pub base_url: String,
    /// The negotiated microversion; `0.0` where the service has none.
    pub version: Microversion,
    /// All headers.
    pub headers: HeaderMap,
    /// The query string's pairs, decoded, in order.
    pub query: Query,
    /// The body; empty for streaming routes, whose body is in `stream`.
    pub body: Bytes,
    /// The body parsed as JSON, where the route takes JSON and there was one.
    pub json: Option<Value>,
    /// The body of a streaming route.
    pub stream: Body,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) policy: Arc<Enforcer>,
    pub(crate) enforced: Arc<AtomicBool>,
}

impl Req {
    /// A `{name}` of the route's path; the route table guarantees it is there.
    pub fn param(&self, name: &str) -> &str {
        self.params
            .iter()
            .find(|(n, _)| *n == name)
            .map_or("", |(_, v)| v)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as `T`: untrusted JSON to typed values, 400 in words otherwise.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let value = self.json.as_ref().ok_or_else(|| Error::bad_request("The server could not comply with the request since it is either malformed or otherwise incorrect: a JSON body is required."))?;
        T::deserialize(value).map_err(|e| Error::bad_request(format!("Invalid request body: {e}")))
    }

    /// The value under the body's `key`, as `T` (most bodies are wrapped: `{"server": {…}}`).
    pub fn parse_key<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let missing = || {
            Error::bad_request(format!(
                "Invalid input: the request body must be an object with the key '{key}'."
            ))
        };
        let value = self
            .json
            .as_ref()
            .and_then(|v| v.get(key))
            .ok_or_else(missing)?;
        T::deserialize(value).map_err(|e| Error::bad_request(format!("Invalid request body: {e}")))
    }

    /// Checks `rule` against `target`; 403 otherwise. Routes declared [`crate::inside`] must call this (or [`Req::permits`]).
    pub fn enforce(&self, rule: &str, target: &Value) -> Result<()> {
        self.enforced.store(true, Ordering::Relaxed);
        self.policy.enforce(rule, &self.ctx, target)
    }

    /// Whether `rule` passes; for what a reply shows or a query may touch.
    pub fn permits(&self, rule: &str, target: &Value) -> bool {
        self.enforced.store(true, Ordering::Relaxed);
        self.policy.check(rule, &self.ctx, target)
    }

    /// The enforcer, for nouns that check many rules.
    pub fn policy(&self) -> &Arc<Enforcer> {
        self.enforced.store(true, Ordering::Relaxed);
        &self.policy
    }

    /// Whether the negotiated microversion is at least `major.minor`.
    pub fn at_least(&self, major: u16, minor: u16) -> bool {
        self.version >= Microversion(major, minor)
    }
}

/// A decoded query string.
#[derive(Clone, Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Decodes `a=1&b=%20`; `+` is a blank.
    pub fn decode(text: &str) -> Result<Query> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((percent_decode(name, true)?, percent_decode(value, true)?));
        }
        Ok(Query(pairs))
    }

    /// The last value of `name` (as webob's dict does).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Whether `name` occurs.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// A flag: absent, or one of oslo.utils' true words; other words are false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(is_true)
    }

    /// `{"name": ["v1", "v2"]}`, the form upstream's query schemas are written for.
    pub fn to_lists(&self) -> Value {
        let mut map = serde_json::Map::new();
        for (name, value) in &self.0 {
            let list = map
                .entry(name.clone())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(Value::String(value.clone()));
            }
        }
        Value::Object(map)
    }

    /// Re-encodes, with `set` replacing or adding pairs and the names in `drop` left out: for links to the next page.
    pub fn with(&self, set: &[(&str, &str)], drop: &[&str]) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (name, value) in &self.0 {
            if !drop.contains(&name.as_str()) && !set.iter().any(|(n, _)| n == name) {
                parts.push(format!(
                    "{}={}",
                    percent_encode(name),
                    percent_encode(value)
                ));
            }
        }
        for (name, value) in set {
            parts.push(format!(
                "{}={}",
                percent_encode(name),
                percent_encode(value)
            ));
        }
        parts.join("&")
    }
}

/// oslo.utils' `bool_from_string` with default false: 1, t, true, on, y, yes.
pub fn is_true(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "1" | "t" | "true" | "on" | "y" | "yes"
    )
}

/// Decodes `%xx`; malformed or non-UTF-8 sequences are a 400.
pub fn percent_decode(text: &str, plus_is_blank: bool) -> Result<String> {
    let bad = || Error::bad_request("The URL is not valid UTF-8 or has malformed escapes.");
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let hex = text.get(i + 1..i + 3).ok_or_else(bad)?;
                out.push(u8::from_str_radix(hex, 16).map_err(|_| bad())?);
                i += 3;
            }
            b'+' if plus_is_blank => {
                out.push(b' ');
                i += 1;
            }
            b => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| bad())
}

/// Encodes everything but unreserved characters.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
