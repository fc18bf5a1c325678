//! What can take volumes: each pool of each backend that reports, with what is promised on it.

use crate::config::CinderConf;
use crate::db::clusters::ClusterRow;
use crate::db::{self, ServiceRow};
use base::{Result, Timestamp};
use cinder_types::BackendReport;
use oslo_db::{Tx, eq};
use oslo_scheduling::HostState;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// A pool that could take a volume.
pub struct Backend {
    pub service_id: String,
    /// `host@backend#pool`.
    pub name: String,
    /// What its agent says of this pool.
    pub report: BackendReport,
    /// GiB promised to volumes that exist, what they will grow by included.
    pub provisioned: i64,
    /// How many they are.
    pub volumes: i64,
}

impl HostState for Backend {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Backend {
    /// GiB that are never given away.
    fn reserved(&self) -> f64 {
        (self.report.total_capacity_gb * self.report.reserved_percentage as f64 / 100.0).floor()
    }

    /// How many times its capacity it may promise: its own word, else the cloud's.
    pub fn over_subscription(&self, cloud: f64) -> f64 {
        let own = self.report.capabilities.get("max_over_subscription_ratio");
        own.and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()))
            .unwrap_or(cloud)
    }

    /// GiB that can still be promised. Where the volume takes its space at once, it is what is free.
    pub fn virtual_free(&self, cloud: f64, thick: bool) -> f64 {
        if self.report.thin && !thick {
            let usable = self.report.total_capacity_gb - self.reserved();
            usable * self.over_subscription(cloud) - self.provisioned as f64
        } else {
            self.report.free_capacity_gb - self.reserved()
        }
    }

    /// What it reports, and what every backend has; what extra specs, expressions and queries of operators mean.
    pub fn facts(&self) -> Map<String, Value> {
        let mut facts = self.report.capabilities.clone();
        let mut put = |key: &str, value: Value| drop(facts.insert(key.into(), value));
        let (backend, _) = self.name.split_once('#').unwrap_or((&self.name, ""));
        put("host", json!(self.name));
        put("backend_id", json!(self.name));
        put("location", json!(backend));
        put("pool_name", json!(self.report.pool));
        put("availability_zone", json!(self.report.availability_zone));
        put("total_capacity_gb", json!(self.report.total_capacity_gb));
        put("free_capacity_gb", json!(self.report.free_capacity_gb));
        put("allocated_capacity_gb", json!(self.provisioned));
        put("provisioned_capacity_gb", json!(self.provisioned));
        put("total_volumes", json!(self.volumes));
        put(
            "reserved_percentage",
            json!(self.report.reserved_percentage),
        );
        put("thin_provisioning_support", json!(self.report.thin));
        put("thick_provisioning_support", json!(!self.report.thin));
        facts
    }
}

/// Whether a service reported lately.
pub fn is_up(conf: &CinderConf, service: &ServiceRow, now: Timestamp) -> bool {
    now.since(service.seen_at) <= Duration::from_secs(conf.service_down_time)
}

/// The pools whose agents report, with what is promised on them. Those of disabled services and clusters are left out.
pub fn backends(tx: &mut Tx, conf: &CinderConf, now: Timestamp) -> Result<Vec<Backend>> {
    let off: HashSet<String> = tx
        .select::<ClusterRow>(eq("disabled", true))?
        .into_iter()
        .map(|c| c.name)
        .collect();
    let mut out = Vec::new();
    for service in db::services::of_binary(tx, db::services::VOLUME)? {
        let report = service.report.0.clone();
        if service.disabled || !is_up(conf, &service, now) || off.contains(&report.cluster) {
            continue;
        }
        for report in report.each_pool() {
            out.push(Backend {
                service_id: service.id.clone(),
                name: format!("{}#{}", service.host, report.pool),
                report,
                provisioned: 0,
                volumes: 0,
            });
        }
    }
    let names: Vec<String> = out.iter().map(|b| b.name.clone()).collect();
    let promised = db::usage::promised(tx, &names)?;
    for backend in &mut out {
        let (volumes, gigabytes) = promised.get(&backend.name).copied().unwrap_or_default();
        (backend.volumes, backend.provisioned) = (volumes, gigabytes);
    }
    Ok(out)
}
