//! What this glance offers beyond the basics: ways to import; limits and their use.

use crate::Glance;
use crate::limits::Limits;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub async fn import(glance: Arc<Glance>, _: Req) -> Result<Reply> {
    let methods = json!({
        "description": "Import methods available.",
        "type": "array",
        "value": glance.conf.enabled_import_methods,
    });
    Reply::ok(&json!({"import-methods": methods}))
}

pub async fn usage(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let limits = Limits::of(&glance, req.ctx.project()).await?;
    let usage = glance.db.read(move |tx| limits.usage(tx)).await?;
    let view = usage.into_iter().map(|(what, (limit, usage))| {
        let what = what.as_str().to_string();
        (what, json!({"limit": limit, "usage": usage}))
    });
    Reply::ok(&json!({"usage": Value::Object(view.collect::<Map<_, _>>())}))
}
