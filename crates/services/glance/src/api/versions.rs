//! Version documents: `/` makes the caller choose, `/versions` lists.

use crate::Glance;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

/// The newest minor version without what import, staging and several stores would add is still told as upstream tells it:
/// clients compare features, not this number.
const NEWEST: u8 = 17;

fn body(req: &Req) -> Value {
    let version = |minor: u8| {
        json!({
            "id": format!("v2.{minor}"),
            "status": if minor == NEWEST { "CURRENT" } else { "SUPPORTED" },
            "links": [{"rel": "self", "href": format!("{}/v2/", req.base_url)}],
        })
    };
    let versions: Vec<Value> = (0..=NEWEST).rev().map(version).collect();
    json!({"versions": versions})
}

pub async fn choose(_: Arc<Glance>, req: Req) -> Result<Reply> {
    Reply::json(300, &body(&req))
}

pub async fn list(_: Arc<Glance>, req: Req) -> Result<Reply> {
    Reply::ok(&body(&req))
}
