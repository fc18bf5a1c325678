//! The version document.

use crate::Placement;
use crate::routes::{MAX, MIN};
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::json;
use std::sync::Arc;

pub async fn show(_: Arc<Placement>, req: Req) -> Result<Reply> {
    let reply = Reply::ok(&json!({"versions": [{
        "id": "v1.0",
        "max_version": MAX.to_string(),
        "min_version": MIN.to_string(),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }]}))?;
    Ok(super::dated(reply, &req, base::Timestamp::now()))
}
