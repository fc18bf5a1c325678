//! What versions of the API there are, for clients that have not chosen yet; no token is asked for.

use crate::{MAX_VERSION, MIN_VERSION, Nova};
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn v20(req: &Req) -> Value {
    json!({
        "id": "v2.0",
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
        "links": [{"rel": "self", "href": format!("{}/v2/", req.base_url)}],
    })
}

fn v21(req: &Req) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": MAX_VERSION.to_string(),
        "min_version": MIN_VERSION.to_string(),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{}/v2.1/", req.base_url)}],
    })
}

fn document(mut version: Value, number: &str) -> Result<Reply> {
    if let Some(links) = version["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}));
    }
    let media = format!("application/vnd.openstack.compute+json;version={number}");
    version["media-types"] = json!([{"base": "application/json", "type": media}]);
    Reply::ok(&json!({"version": version}))
}

/// `GET /`.
pub async fn list(_nova: Arc<Nova>, req: Req) -> Result<Reply> {
    Reply::ok(&json!({"versions": [v20(&req), v21(&req)]}))
}

/// `GET /v2`.
pub async fn legacy(_nova: Arc<Nova>, req: Req) -> Result<Reply> {
    document(v20(&req), "2")
}

/// `GET /v2.1`.
pub async fn current(_nova: Arc<Nova>, req: Req) -> Result<Reply> {
    document(v21(&req), "2.1")
}
