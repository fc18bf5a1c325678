//! `/resource_filters`: which filters users may put into lists, by default or by the operator's file.

use crate::Cinder;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Names in a list's query that are no filters.
pub const PAGING_NAMES: &[&str] = &[
    "limit",
    "marker",
    "offset",
    "sort",
    "sort_key",
    "sort_dir",
    "all_tenants",
    "with_count",
];

const DEFAULTS: &[(&str, &[&str])] = &[
    (
        "volume",
        &[
            "name",
            "status",
            "metadata",
            "bootable",
            "migration_status",
            "availability_zone",
            "group_id",
            "size",
            "created_at",
            "updated_at",
            "consumes_quota",
        ],
    ),
    ("backup", &["name", "status", "volume_id"]),
    (
        "snapshot",
        &[
            "name",
            "status",
            "volume_id",
            "metadata",
            "availability_zone",
            "consumes_quota",
        ],
    ),
    ("group", &["name"]),
    ("group_snapshot", &["name", "status", "group_id"]),
    (
        "attachment",
        &["volume_id", "status", "instance_id", "attach_status"],
    ),
    (
        "message",
        &[
            "resource_uuid",
            "resource_type",
            "event_id",
            "request_id",
            "message_level",
        ],
    ),
    ("pool", &["name", "volume_type"]),
    ("volume_type", &["is_public", "extra_specs"]),
];

/// The filters of each resource.
pub struct ResourceFilters(BTreeMap<String, Vec<String>>);

impl ResourceFilters {
    /// Those of the file `{"volume": ["name", …], …}`, or upstream's defaults.
    pub fn load(file: Option<&Path>) -> Result<ResourceFilters> {
        let Some(path) = file else {
            let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
            let all = DEFAULTS.iter().map(|(r, n)| (r.to_string(), own(n)));
            return Ok(ResourceFilters(all.collect()));
        };
        let wrong = |e: &dyn std::fmt::Display| {
            Error::internal(format!(
                "resource_query_filters_file {}: {e}",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        let all = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        Ok(ResourceFilters(all))
    }

    /// Refuses filters that a user may not use, from the microversion that does so; `name~` is one where it is
    /// configured. Administrators may use all, save with pools.
    pub fn check(&self, req: &Req, resource: &str) -> Result<()> {
        if !req.at_least(3, 31) || (req.ctx.is_admin && resource != "pool") {
            return Ok(());
        }
        let configured = self.0.get(resource).map(Vec::as_slice).unwrap_or_default();
        let like = req.at_least(3, 34);
        let allowed = |name: &str| {
            configured.iter().any(|c| {
                c == name || (like && c.strip_suffix('~').is_some_and(|bare| bare == name))
            })
        };
        let names = req.query.0.iter().map(|(name, _)| name.as_str());
        let wrong: Vec<&str> = names
            .filter(|name| !PAGING_NAMES.contains(name) && !allowed(name))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::bad_request(format!(
            "Invalid filters {} are found in query options.",
            wrong.join(",")
        )))
    }
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let wanted = req.query.get("resource").filter(|r| !r.is_empty());
    let all = cinder.filters.0.iter();
    let views: Vec<Value> = all
        .filter(|(resource, _)| wanted.is_none_or(|w| w == resource.as_str()))
        .map(|(resource, filters)| json!({"resource": resource, "filters": filters}))
        .collect();
    Reply::ok(&json!({"resource_filters": views}))
}
