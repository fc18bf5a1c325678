//! An aggregate as the API shows it.

use crate::db::aggregates::AggregateRow;
use oslo_http::Req;
use serde_json::{Value, json};

/// The whole aggregate; the answer to a create has neither hosts nor metadata.
pub fn detail(req: &Req, row: &AggregateRow, hosts: Option<&[String]>) -> Value {
    let mut view = json!({
        "id": row.number,
        "name": row.name,
        "availability_zone": row.metadata.0.get("availability_zone"),
        "created_at": row.created_at.iso_micros(),
        "updated_at": row.updated_at.map(|t| t.iso_micros()),
        "deleted": false,
        "deleted_at": null,
    });
    if req.at_least(2, 41) {
        view["uuid"] = json!(row.id);
    }
    if let Some(hosts) = hosts {
        view["hosts"] = json!(hosts);
        view["metadata"] = json!(row.metadata.0);
    }
    view
}
