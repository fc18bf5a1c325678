//! The bytes: oslo.messaging's envelope 2.0, the same in-process and on RabbitMQ.
//!
//! The body is `{"oslo.version": "2.0", "oslo.message": "<json>"}`; the context travels inside as `_context_<key>`.

use base::{Error, Result};
use oslo_context::RequestContext;
use serde_json::{Map, Value, json};

const CONTEXT: &str = "_context_";

/// A call or a cast.
#[derive(Debug)]
pub(crate) struct Request {
    pub ctx: RequestContext,
    pub method: String,
    pub args: Value,
    pub namespace: Option<String>,
    pub version: Option<String>,
    /// Names the call whose answer is awaited; none for casts.
    pub msg_id: Option<String>,
    /// The queue that the answer goes to.
    pub reply_q: Option<String>,
    /// The same on every delivery of this message.
    pub unique_id: String,
}

impl Request {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut inner = Map::new();
        inner.insert("method".into(), self.method.clone().into());
        inner.insert("args".into(), self.args.clone());
        inner.insert("namespace".into(), self.namespace.clone().into());
        inner.insert(
            "version".into(),
            self.version.clone().unwrap_or_else(|| "1.0".into()).into(),
        );
        if let (Some(msg_id), Some(reply_q)) = (&self.msg_id, &self.reply_q) {
            inner.insert("_msg_id".into(), msg_id.clone().into());
            inner.insert("_reply_q".into(), reply_q.clone().into());
        }
        inner.insert("_unique_id".into(), self.unique_id.clone().into());
        // Upstream's `_timeout` asks the server for heartbeats while it works; our own deadline is enough.
        inner.insert("_timeout".into(), Value::Null);
        pack_context(&mut inner, &self.ctx);
        wrap(inner)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Request> {
        let mut inner = unwrap(body)?;
        let ctx = unpack_context(&mut inner);
        let method = text(&mut inner, "method")
            .ok_or_else(|| Error::internal("a message without method"))?;
        Ok(Request {
            ctx,
            method,
            args: inner.remove("args").unwrap_or_else(|| json!({})),
            namespace: text(&mut inner, "namespace"),
            version: text(&mut inner, "version"),
            msg_id: text(&mut inner, "_msg_id"),
            reply_q: text(&mut inner, "_reply_q"),
            unique_id: text(&mut inner, "_unique_id").unwrap_or_default(),
        })
    }
}

/// What came back: the id of the call, and its result or failure. `None` in `outcome` is a heartbeat.
pub(crate) struct Reply {
    pub msg_id: String,
    pub outcome: Option<Result<Value>>,
}

impl Reply {
    pub(crate) fn encode(msg_id: &str, outcome: &Result<Value>) -> Result<Vec<u8>> {
        let (result, failure) = match outcome {
            Ok(value) => (value.clone(), Value::Null),
            Err(error) => (Value::Null, crate::failure::encode(error).into()),
        };
        let mut inner = Map::new();
        inner.insert("result".into(), result);
        inner.insert("failure".into(), failure);
        inner.insert("ending".into(), true.into());
        inner.insert("_msg_id".into(), msg_id.into());
        inner.insert("_unique_id".into(), base::new_hex_id().into());
        wrap(inner)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Reply> {
        let mut inner = unwrap(body)?;
        let msg_id =
            text(&mut inner, "_msg_id").ok_or_else(|| Error::internal("a reply without id"))?;
        let outcome = match inner.remove("failure") {
            Some(Value::String(failure)) => Some(Err(crate::failure::decode(&failure))),
            _ if inner.get("ending") == Some(&Value::Bool(false)) => None,
            _ => Some(Ok(inner.remove("result").unwrap_or(Value::Null))),
        };
        Ok(Reply { msg_id, outcome })
    }
}

/// Puts a message into the envelope.
pub(crate) fn wrap(inner: Map<String, Value>) -> Result<Vec<u8>> {
    let inner = serde_json::to_string(&inner)?;
    Ok(serde_json::to_vec(
        &json!({"oslo.version": "2.0", "oslo.message": inner}),
    )?)
}

/// Takes a message out of the envelope; version 1 had none.
pub(crate) fn unwrap(body: &[u8]) -> Result<Map<String, Value>> {
    let mut outer: Map<String, Value> = serde_json::from_slice(body)?;
    match outer.remove("oslo.message") {
        Some(Value::String(inner)) => Ok(serde_json::from_str(&inner)?),
        Some(_) => Err(Error::internal("oslo.message is not a string")),
        None => Ok(outer),
    }
}

/// Adds the context, key by key.
pub(crate) fn pack_context(inner: &mut Map<String, Value>, ctx: &RequestContext) {
    if let Value::Object(keys) = ctx.to_rpc() {
        for (key, value) in keys {
            inner.insert(format!("{CONTEXT}{key}"), value);
        }
    }
}

/// Takes the context out.
pub(crate) fn unpack_context(inner: &mut Map<String, Value>) -> RequestContext {
    let mut keys = Map::new();
    for (key, value) in inner.iter() {
        if let Some(key) = key.strip_prefix(CONTEXT) {
            keys.insert(key.to_string(), value.clone());
        }
    }
    RequestContext::from_rpc(&Value::Object(keys))
}

pub(crate) fn text(inner: &mut Map<String, Value>, key: &str) -> Option<String> {
    match inner.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Kind;

    #[test]
    fn requests_carry_oslo_keys() {
        let ctx = RequestContext {
            user_id: Some("u".into()),
            ..RequestContext::anonymous()
        };
        let request = Request {
            ctx,
            method: "spawn".into(),
            args: json!({"a": 1}),
            namespace: None,
            version: Some("6.0".into()),
            msg_id: Some("m".into()),
            reply_q: Some("reply_1".into()),
            unique_id: "x".into(),
        };
        let body = request.encode().unwrap();
        let outer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(outer["oslo.version"], "2.0");
        let inner: Value = serde_json::from_str(outer["oslo.message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["_context_user_id"], "u");
        assert_eq!(
            (&inner["_msg_id"], &inner["_reply_q"]),
            (&json!("m"), &json!("reply_1"))
        );
        let back = Request::decode(&body).unwrap();
        assert_eq!(
            (back.ctx.user(), back.method.as_str(), &back.args["a"]),
            ("u", "spawn", &json!(1))
        );
        assert_eq!(back.version.as_deref(), Some("6.0"));
    }

    #[test]
    fn replies_carry_results_failures_and_heartbeats() {
        let reply = Reply::decode(&Reply::encode("m", &Ok(json!([1]))).unwrap()).unwrap();
        assert_eq!(
            (reply.msg_id.as_str(), reply.outcome.unwrap().unwrap()),
            ("m", json!([1]))
        );
        let failed = Err(Error::not_found("no volume"));
        let reply = Reply::decode(&Reply::encode("m", &failed).unwrap()).unwrap();
        assert_eq!(reply.outcome.unwrap().unwrap_err().kind(), Kind::NotFound);
        let beat = wrap(serde_json::from_value(json!({"_msg_id": "m", "ending": false})).unwrap());
        assert!(Reply::decode(&beat.unwrap()).unwrap().outcome.is_none());
    }
}
