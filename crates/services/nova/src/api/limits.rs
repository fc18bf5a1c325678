//! A project's absolute limits and how much of them is used.

use super::views::quota;
use crate::Nova;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Map, json};
use std::sync::Arc;

const OTHER: &str = "os_compute_api:limits:other_project";

/// (resource, its limit's name, its use's name).
const NAMES: &[(&str, &str, Option<&str>)] = &[
    ("metadata_items", "maxServerMeta", None),
    ("injected_files", "maxPersonality", None),
    ("injected_file_content_bytes", "maxPersonalitySize", None),
    ("cores", "maxTotalCores", Some("totalCoresUsed")),
    ("instances", "maxTotalInstances", Some("totalInstancesUsed")),
    ("ram", "maxTotalRAMSize", Some("totalRAMUsed")),
    ("key_pairs", "maxTotalKeypairs", None),
    (
        "server_groups",
        "maxServerGroups",
        Some("totalServerGroupsUsed"),
    ),
    ("server_group_members", "maxServerGroupMembers", None),
    (
        "floating_ips",
        "maxTotalFloatingIps",
        Some("totalFloatingIpsUsed"),
    ),
    (
        "security_groups",
        "maxSecurityGroups",
        Some("totalSecurityGroupsUsed"),
    ),
    ("security_group_rules", "maxSecurityGroupRules", None),
];

/// `GET /limits`. Nothing is ever reserved on the side, so `reserved` changes nothing.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let project = match req.query.get("tenant_id") {
        Some(other) if other != req.ctx.project() => {
            req.enforce(OTHER, &json!({"project_id": other}))?;
            other.to_string()
        }
        _ => req.ctx.project().to_string(),
    };
    let limits = nova.limits.clone();
    let usages = nova.db.read(move |tx| limits.usages(tx, &project)).await?;
    let mut absolute = Map::new();
    for (resource, limit, used) in NAMES {
        let Some(usage) = usages.iter().find(|u| u.resource == *resource) else {
            continue;
        };
        if !quota::shown(&req, resource, false) {
            continue;
        }
        absolute.insert(limit.to_string(), json!(usage.limit));
        if let Some(used) = used {
            absolute.insert(used.to_string(), json!(usage.used));
        }
        if *resource == "metadata_items" && !req.at_least(2, 39) {
            absolute.insert("maxImageMeta".into(), json!(usage.limit));
        }
    }
    Reply::ok(&json!({"limits": {"rate": [], "absolute": absolute}}))
}
