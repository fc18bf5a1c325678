//! HTTP in, HTTP out.

pub mod attachments;
pub mod backups;
pub mod clusters;
pub mod default_types;
pub mod encryption;
pub mod filters;
pub mod group_types;
pub mod hosts;
pub mod manage;
pub mod messages;
pub mod metadata;
pub mod qos_specs;
pub mod quotas;
pub mod services;
pub mod snapshots;
pub mod transfers;
pub mod types;
pub mod versions;
pub mod views;
pub mod volume_actions;
pub mod volume_upload;
pub mod volumes;
pub mod workers;

use base::Timestamp;
use oslo_http::Req;
use serde_json::{Value, json};

/// A time as cinder writes it, or null.
pub fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |t| json!(t.iso_micros()))
}

/// Both links of a resource.
pub fn links(req: &Req, collection: &str, id: &str) -> Value {
    let (base, project) = (&req.base_url, req.ctx.project());
    json!([
        {"rel": "self", "href": format!("{base}/v3/{project}/{collection}/{id}")},
        {"rel": "bookmark", "href": format!("{base}/{project}/{collection}/{id}")},
    ])
}
