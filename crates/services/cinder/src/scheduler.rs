//! Choosing a backend: upstream's filters and weigher over what the agents report and what is promised already.

use crate::config::CinderConf;
use crate::db::{self, ServiceRow, TypeRow, VolumeRow};
use base::{Error, Result, Timestamp};
use cinder_types::BackendReport;
use oslo_db::{Tx, eq};
use oslo_scheduling::{Filter, HostState, Weigher};
use serde_json::{Map, Value};
use std::time::Duration;

/// A backend that could take a volume.
pub struct Backend {
    pub service_id: String,
    /// `host@backend#pool`.
    pub name: String,
    pub report: BackendReport,
    /// GiB promised to volumes that exist.
    pub provisioned: i64,
}

impl HostState for Backend {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Backend {
    fn reserved(&self) -> f64 {
        self.report.total_capacity_gb * self.report.reserved_percentage as f64 / 100.0
    }

    /// GiB that can still be promised.
    fn virtual_free(&self, ratio: f64) -> f64 {
        if self.report.thin {
            (self.report.total_capacity_gb - self.reserved()) * ratio - self.provisioned as f64
        } else {
            self.report.free_capacity_gb - self.reserved()
        }
    }
}

/// What is wanted.
pub struct Request {
    pub size: i64,
    pub availability_zone: String,
    pub extra_specs: Map<String, Value>,
    pub over_subscription: f64,
}

/// What was chosen.
pub struct Chosen {
    pub host: String,
    pub service_id: String,
}

struct AvailabilityZoneFilter;

impl Filter<Backend, Request> for AvailabilityZoneFilter {
    fn name(&self) -> &'static str {
        "AvailabilityZoneFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Result<(), String> {
        if host.report.availability_zone == request.availability_zone {
            return Ok(());
        }
        Err(format!("is in zone {}", host.report.availability_zone))
    }
}

struct CapacityFilter;

impl Filter<Backend, Request> for CapacityFilter {
    fn name(&self) -> &'static str {
        "CapacityFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Result<(), String> {
        let free = host.virtual_free(request.over_subscription);
        if free >= request.size as f64 {
            return Ok(());
        }
        Err(format!("{free:.1} GiB free, {} wanted", request.size))
    }
}

struct CapabilitiesFilter;

impl Filter<Backend, Request> for CapabilitiesFilter {
    fn name(&self) -> &'static str {
        "CapabilitiesFilter"
    }

    /// Keys without scope, or of the scope `capabilities`, must match what the backend reports.
    fn passes(&self, host: &Backend, request: &Request) -> Result<(), String> {
        for (key, wanted) in &request.extra_specs {
            let key = key.strip_prefix("capabilities:").unwrap_or(key);
            if key.contains(':') || key == "multiattach" {
                continue;
            }
            let wanted = wanted.as_str().unwrap_or("");
            let offered = match host.report.capabilities.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => return Err(format!("does not report {key}")),
            };
            if !matches(wanted, &offered) {
                return Err(format!("{key} is {offered}, not {wanted}"));
            }
        }
        Ok(())
    }
}

/// `<is> True`, `<in> text`, or the same text.
fn matches(wanted: &str, offered: &str) -> bool {
    if let Some(flag) = wanted.strip_prefix("<is>") {
        return oslo_http::is_true(flag) == oslo_http::is_true(offered);
    }
    if let Some(part) = wanted.strip_prefix("<in>") {
        return offered.contains(part.trim());
    }
    wanted == offered
}

struct CapacityWeigher;

impl Weigher<Backend, Request> for CapacityWeigher {
    fn name(&self) -> &'static str {
        "CapacityWeigher"
    }

    fn multiplier(&self, _: &Request) -> f64 {
        1.0
    }

    fn weigh(&self, host: &Backend, request: &Request) -> f64 {
        host.virtual_free(request.over_subscription)
    }
}

/// Whether a service reported lately.
pub fn is_up(conf: &CinderConf, service: &ServiceRow, now: Timestamp) -> bool {
    now.since(service.seen_at) <= Duration::from_secs(conf.service_down_time)
}

/// The backends whose agents report, with what is promised on them.
pub fn backends(tx: &mut Tx, conf: &CinderConf, now: Timestamp) -> Result<Vec<Backend>> {
    let mut out = Vec::new();
    for service in db::services::of_binary(tx, db::services::VOLUME)? {
        if service.disabled || !is_up(conf, &service, now) {
            continue;
        }
        let name = format!("{}#{}", service.host, service.report.0.pool);
        let provisioned = tx.sum::<VolumeRow>("size", eq("host", &name))?;
        out.push(Backend {
            service_id: service.id,
            name,
            report: service.report.0,
            provisioned,
        });
    }
    Ok(out)
}

/// The best backend for a volume (or the `only` one that has what it shall begin with), which nobody else gives away
/// until the transaction ends.
pub fn choose(
    tx: &mut Tx,
    conf: &CinderConf,
    volume: &VolumeRow,
    only: Option<&str>,
    now: Timestamp,
) -> Result<Chosen> {
    let mut chosen = best(tx, conf, volume, only, now)?;
    loop {
        tx.find_for_update::<ServiceRow>(eq("id", &chosen.service_id))?;
        // Another scheduler may have filled it while this one waited.
        let again = best(tx, conf, volume, only, now)?;
        if again.service_id == chosen.service_id {
            return Ok(again);
        }
        chosen = again;
    }
}

fn best(
    tx: &mut Tx,
    conf: &CinderConf,
    volume: &VolumeRow,
    only: Option<&str>,
    now: Timestamp,
) -> Result<Chosen> {
    let kind = tx.find::<TypeRow>(eq("id", &volume.volume_type_id))?;
    let request = Request {
        size: volume.size,
        availability_zone: volume.availability_zone.clone(),
        extra_specs: kind.map(|k| k.extra_specs.0).unwrap_or_default(),
        over_subscription: conf.max_over_subscription_ratio,
    };
    let mut backends = backends(tx, conf, now)?;
    backends.retain(|b| only.is_none_or(|only| b.name == only));
    if backends.is_empty() {
        // Agents report every few seconds: worth another try.
        return Err(Error::unavailable(
            "No valid backend was found. No backend is up.",
        ));
    }
    let outcome = oslo_scheduling::run(
        &backends,
        &request,
        &[
            &AvailabilityZoneFilter,
            &CapacityFilter,
            &CapabilitiesFilter,
        ],
        &[&CapacityWeigher],
    );
    let best = outcome.best().map_err(|e| {
        Error::conflict("No valid backend was found. No weighed backends available.")
            .class("NoValidBackend")
            .log(e.log_message())
    })?;
    let chosen = backends
        .iter()
        .find(|b| b.name == best)
        .ok_or_else(|| Error::internal("the scheduler chose a stranger"))?;
    Ok(Chosen {
        host: chosen.name.clone(),
        service_id: chosen.service_id.clone(),
    })
}
