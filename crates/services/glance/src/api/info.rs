//! What this glance offers beyond the basics: ways to import; no unified limits.

use crate::Glance;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::json;
use std::sync::Arc;

pub async fn import(glance: Arc<Glance>, _: Req) -> Result<Reply> {
    let methods = json!({
        "description": "Import methods available.",
        "type": "array",
        "value": glance.conf.enabled_import_methods,
    });
    Reply::ok(&json!({"import-methods": methods}))
}

pub async fn usage(_: Arc<Glance>, _: Req) -> Result<Reply> {
    Reply::ok(&json!({"usage": {}}))
}
