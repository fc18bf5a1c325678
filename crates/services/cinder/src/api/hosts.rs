//! `/os-hosts` and `/capabilities/{host}`.

use crate::Cinder;
use crate::api::time;
use crate::db::usage::{Use, of_host};
use crate::db::{self, ServiceRow};
use crate::scheduler::is_up;
use base::{Error, Result};
use oslo_db::{all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn not_found(host: &str) -> Error {
    Error::not_found(format!("Host {host} could not be found."))
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let rows = cinder
        .db
        .read(move |tx| {
            let sort = [("binary_name", base::Dir::Asc), ("host", base::Dir::Asc)];
            tx.select_sorted::<ServiceRow>(eq("disabled", false), &sort, None)
        })
        .await?;
    let now = cinder.clock.now();
    let zone = req.query.get("zone").filter(|z| !z.is_empty());
    let view = |row: &ServiceRow| {
        json!({
            "host_name": row.host,
            "service": row.binary_name,
            "zone": row.availability_zone,
            "service-status": if is_up(&cinder.conf, row, now) { "available" } else { "unavailable" },
            "service-state": if row.disabled { "disabled" } else { "enabled" },
            "last-update": time(Some(row.seen_at)),
        })
    };
    let wanted = |row: &&ServiceRow| zone.is_none_or(|z| row.availability_zone == z);
    let views: Vec<Value> = rows.iter().filter(wanted).map(view).collect();
    Reply::ok(&json!({"hosts": views}))
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let host = req.param("id").to_string();
    let projects = cinder
        .db
        .read(move |tx| {
            let which = all([eq("host", &host), eq("binary_name", db::services::VOLUME)]);
            if !tx.exists::<ServiceRow>(which)? {
                return Err(not_found(&host));
            }
            of_host(tx, &host)
        })
        .await?;
    let host = req.param("id");
    let view = |project: &str, of: Use| {
        json!({"resource": {
            "host": host,
            "project": project,
            "volume_count": of.volumes.to_string(),
            "total_volume_gb": of.gigabytes.to_string(),
            "snapshot_count": of.snapshots.to_string(),
            "total_snapshot_gb": of.snapshot_gigabytes.to_string(),
        }})
    };
    let total = projects.values().fold(Use::default(), |a, b| Use {
        volumes: a.volumes + b.volumes,
        gigabytes: a.gigabytes + b.gigabytes,
        snapshots: a.snapshots + b.snapshots,
        snapshot_gigabytes: a.snapshot_gigabytes + b.snapshot_gigabytes,
    });
    let mut views = vec![view("(total)", total)];
    views.extend(projects.iter().map(|(project, of)| view(project, *of)));
    Reply::ok(&json!({"host": views}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse()?;
    let mut enabled = None;
    for (key, value) in &body {
        let word = value.as_str().unwrap_or_default().trim().to_lowercase();
        enabled = match (key.trim().to_lowercase().as_str(), word.as_str()) {
            ("status", "enable") => Some(true),
            ("status", "disable") => Some(false),
            ("status", other) => {
                return Err(Error::bad_request(format!("Invalid status: '{other}'")));
            }
            (other, _) => {
                return Err(Error::bad_request(format!(
                    "Invalid update setting: '{other}'"
                )));
            }
        };
    }
    let host = req.param("id").to_string();
    let found = cinder
        .db
        .write(move |tx| match enabled {
            Some(enabled) => {
                let values = [
                    set("disabled", !enabled),
                    set("disabled_reason", None::<String>),
                ];
                tx.update::<ServiceRow>(eq("host", &host), &values)
            }
            None => tx.count::<ServiceRow>(eq("host", &host)),
        })
        .await?;
    let host = req.param("id");
    match (found, enabled) {
        (0, _) => Err(not_found(host)),
        (_, None) => Reply::ok(&json!({})),
        (_, Some(enabled)) => {
            let status = if enabled { "enabled" } else { "disabled" };
            Reply::ok(&json!({"host": host, "status": status}))
        }
    }
}

/// What any driver may say that it can, with the words for it.
const STANDARD: &[(&str, &str, &str)] = &[
    (
        "thin_provisioning",
        "Thin Provisioning",
        "Sets thin provisioning.",
    ),
    ("compression", "Compression", "Enables compression."),
    ("qos", "QoS", "Enables QoS."),
    ("replication_enabled", "Replication", "Enables replication."),
];

pub async fn capabilities(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let host = req.param("id").to_string();
    let row = cinder
        .db
        .read(move |tx| {
            let which = all([eq("host", &host), eq("binary_name", db::services::VOLUME)]);
            tx.find::<ServiceRow>(which)?
                .ok_or_else(|| Error::not_found(format!("Can't find service: {host}")))
        })
        .await?;
    let report = &row.report.0;
    let of = |key: &str| report.capabilities.get(key).cloned().unwrap_or_default();
    let properties: Map<String, Value> = STANDARD
        .iter()
        .map(|(key, title, description)| {
            let what = json!({"title": title, "description": description, "type": "boolean"});
            (key.to_string(), what)
        })
        .collect();
    Reply::ok(&json!({
        "namespace": format!("OS::Storage::Capabilities::{}", row.host),
        "vendor_name": of("vendor_name"),
        "volume_backend_name": of("volume_backend_name"),
        "pool_name": report.pool,
        "driver_version": of("driver_version"),
        "storage_protocol": of("storage_protocol"),
        "display_name": of("display_name"),
        "description": of("description"),
        "visibility": of("visibility"),
        "replication_targets": [],
        "properties": properties,
    }))
}
