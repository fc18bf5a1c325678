//! What this glance offers beyond the basics: no import methods, one store, no unified limits.

use crate::Glance;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::json;
use std::sync::Arc;

pub async fn import(_: Arc<Glance>, _: Req) -> Result<Reply> {
    let methods = json!({"description": "Import methods available.", "type": "array", "value": []});
    Reply::ok(&json!({"import-methods": methods}))
}

pub async fn stores(_: Arc<Glance>, _: Req) -> Result<Reply> {
    Err(Error::not_found(
        "Multi backend is not supported at this site.",
    ))
}

pub async fn usage(_: Arc<Glance>, _: Req) -> Result<Reply> {
    Reply::ok(&json!({"usage": {}}))
}
