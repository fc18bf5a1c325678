//! A flavor as the API shows it.

use super::links;
use crate::db::flavors::FlavorRow;
use oslo_http::Req;
use serde_json::{Value, json};

/// The short form of lists.
pub fn summary(req: &Req, row: &FlavorRow) -> Value {
    let mut view = json!({
        "id": row.flavor_id,
        "name": row.name,
        "links": links::resource(req, "flavors", &row.flavor_id),
    });
    if req.at_least(2, 55) {
        view["description"] = json!(row.description);
    }
    view
}

/// The whole flavor; `extra_specs` where the caller may see them.
pub fn detail(req: &Req, row: &FlavorRow, extra_specs: bool) -> Value {
    // Until 2.74 "no swap" is an empty string.
    let swap = if row.swap == 0 && !req.at_least(2, 75) {
        json!("")
    } else {
        json!(row.swap)
    };
    let mut view = json!({
        "id": row.flavor_id,
        "name": row.name,
        "ram": row.memory_mb,
        "disk": row.root_gb,
        "swap": swap,
        "OS-FLV-EXT-DATA:ephemeral": row.ephemeral_gb,
        "vcpus": row.vcpus,
        "os-flavor-access:is_public": row.is_public,
        "links": links::resource(req, "flavors", &row.flavor_id),
    });
    if !req.at_least(2, 102) {
        view["OS-FLV-DISABLED:disabled"] = json!(row.disabled);
        view["rxtx_factor"] = json!(row.rxtx_factor);
    }
    if req.at_least(2, 55) {
        view["description"] = json!(row.description);
    }
    if req.at_least(2, 61) && extra_specs {
        view["extra_specs"] = json!(row.extra_specs.0);
    }
    view
}
