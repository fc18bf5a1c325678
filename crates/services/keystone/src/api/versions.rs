//! The version documents.

use crate::Keystone;
use crate::api::base_url;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's API as of 2026: v3.14 with its date.
fn v3(base: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

/// `GET /`
pub(crate) async fn all(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let base = base_url(&keystone, &req);
    let reply = Reply::json(300, &json!({"versions": {"values": [v3(&base)]}}))?;
    Ok(reply.header("location", format!("{base}/")))
}

/// `GET /v3`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    Reply::ok(&json!({"version": v3(&base_url(&keystone, &req))}))
}
