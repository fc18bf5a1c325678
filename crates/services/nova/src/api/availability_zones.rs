//! Availability zones, as the aggregates make them, and which services run in each.

use crate::Nova;
use crate::db::aggregates::zones;
use crate::db::services::ServiceRow;
use base::{Dir, Result};
use oslo_db::everything;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The zone of services that are not compute hosts.
pub const INTERNAL: &str = "internal";

/// The zone of a service.
pub fn zone_of<'a>(
    service: &ServiceRow,
    zones: &'a HashMap<String, String>,
    default: &'a str,
) -> &'a str {
    if service.service_binary != "nova-compute" {
        return INTERNAL;
    }
    zones.get(&service.host).map_or(default, String::as_str)
}

async fn by_zone(nova: &Nova) -> Result<BTreeMap<String, Vec<ServiceRow>>> {
    let default = nova.conf.default_availability_zone.clone();
    nova.db
        .read(move |tx| {
            let zones = zones(tx)?;
            let services =
                tx.select_sorted::<ServiceRow>(everything(), &[("number", Dir::Asc)], None)?;
            let mut map: BTreeMap<String, Vec<ServiceRow>> = BTreeMap::new();
            for service in services {
                let zone = zone_of(&service, &zones, &default).to_string();
                map.entry(zone).or_default().push(service);
            }
            Ok(map)
        })
        .await
}

/// A zone is there for users when one of its hosts is enabled.
fn available(services: &[ServiceRow]) -> bool {
    services.iter().any(|s| !s.disabled)
}

/// `GET /os-availability-zone`.
pub async fn list(nova: Arc<Nova>, _req: Req) -> Result<Reply> {
    let zones = by_zone(&nova).await?;
    let mut rows: Vec<Value> = zones
        .iter()
        .filter(|(name, _)| *name != INTERNAL)
        .map(|(name, s)| json!({"zoneName": name, "zoneState": {"available": available(s)}, "hosts": null}))
        .collect();
    // Upstream lists what is available first.
    rows.sort_by_key(|z| z["zoneState"]["available"] != json!(true));
    Reply::ok(&json!({"availabilityZoneInfo": rows}))
}

/// `GET /os-availability-zone/detail`.
pub async fn detail(nova: Arc<Nova>, _req: Req) -> Result<Reply> {
    let (now, down_after) = (nova.clock.now(), nova.down_after());
    let mut rows = Vec::new();
    for (name, services) in by_zone(&nova).await? {
        let mut hosts = serde_json::Map::new();
        for s in &services {
            let host = hosts.entry(s.host.clone()).or_insert_with(|| json!({}));
            host[&s.service_binary] = json!({
                "available": s.is_up(now, down_after),
                "active": !s.disabled,
                "updated_at": s.last_seen_up.map(|t| t.iso_micros()),
            });
        }
        rows.push(json!({"zoneName": name, "zoneState": {"available": available(&services)}, "hosts": hosts}));
    }
    rows.sort_by_key(|z| z["zoneState"]["available"] != json!(true));
    Reply::ok(&json!({"availabilityZoneInfo": rows}))
}
