//! What hosts reported about themselves.

use super::{generation, services};
use base::{Cell, Json, Result, Timestamp, id};
use nova_types::rpc::HostReport;
use oslo_db::{Tx, all, eq, everything};
use serde_json::Value;
use std::time::Duration;

/// The service that stands for a compute host.
pub const COMPUTE: &str = "nova-compute";

oslo_db::table! {
    /// A hypervisor.
    pub struct ComputeNodeRow in "compute_nodes" {
        pub id: String,
        pub number: i64,
        pub service_id: String,
        pub host: String,
        pub hypervisor_hostname: String,
        pub hypervisor_type: String,
        pub hypervisor_version: i64,
        pub host_ip: String,
        pub vcpus: i64,
        pub memory_mb: i64,
        pub local_gb: i64,
        pub disk_available_gb: i64,
        pub cpu_info: Json<Value>,
        pub supported_instances: Json<Vec<(String, String, String)>>,
        pub traits: Json<Vec<String>>,
        pub driver: String,
        pub uptime_s: i64,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
        pub clock_skew_ms: i64,
    }
}

/// A clock that is further off than this is told of.
const SKEW_MS: i64 = 5_000;

/// How far the host's clock is ahead, in milliseconds. The way of the report counts as the host being behind, which is
/// little: a report that is late by seconds is refused by its sender.
fn skew_ms(r: &HostReport, now: Timestamp) -> i64 {
    (r.reported_at.0 - now.0) / 1000
}

/// Says once that a clock is off, and once that it is right again.
fn tell_skew(host: &str, before: i64, now: i64) {
    let seconds = now as f64 / 1000.0;
    match (before.abs() > SKEW_MS, now.abs() > SKEW_MS) {
        (false, true) => tracing::warn!(host, "the clock of this host is off by {seconds:.1} s"),
        (true, false) => tracing::info!(host, "the clock of this host is right again"),
        _ => {}
    }
}

/// What a report left.
pub struct Reported {
    /// The row.
    pub node: ComputeNodeRow,
    /// Whether placement's view of the host may be another one now: some conductor heard of a change.
    pub changed: bool,
    /// How far the host's clock was ahead before, in milliseconds.
    pub skew_before_ms: i64,
}

/// How old a row may be that has nothing new but the host's uptime.
const AGE: Duration = Duration::from_secs(60);

/// A clock that moves by less is as it was.
const STEADY_MS: i64 = 250;

/// A heartbeat of the service and, if there is something new, the row. Its id is derived from host and node, so that a
/// lost database finds placement's provider again; it is also the provider's id.
pub fn report(tx: &mut Tx, r: &HostReport, now: Timestamp) -> Result<Reported> {
    let known = find(tx, r)?;
    let news = known
        .as_ref()
        .is_none_or(|row| facts(row) != facts(&describe(r, now)));
    if news {
        generation::advance(tx)?;
    }
    services::report(tx, &r.host, COMPUTE, "compute", now)?;
    // What was read before the lock may have changed.
    let known = if news { find(tx, r)? } else { known };
    let mut row = describe(r, now);
    let Some(known) = known else {
        let service = services::find(tx, &r.host, COMPUTE)?;
        row.service_id = service.map(|s| s.id).unwrap_or_default();
        row.number = next_number(tx)?;
        tell_skew(&row.host, 0, row.clock_skew_ms);
        tx.insert(&row)?;
        return Ok(Reported {
            node: row,
            changed: true,
            skew_before_ms: 0,
        });
    };
    let skew_before_ms = known.clock_skew_ms;
    let steady = (skew_before_ms - row.clock_skew_ms).abs() < STEADY_MS
        && known.disk_available_gb == row.disk_available_gb
        && known.host_ip == row.host_ip
        && known.updated_at.is_some_and(|t| now.since(t) < AGE);
    let changed = placed(&known) != placed(&row);
    (row.number, row.created_at) = (known.number, known.created_at);
    if steady && !news {
        return Ok(Reported {
            node: known,
            changed,
            skew_before_ms,
        });
    }
    tell_skew(&row.host, skew_before_ms, row.clock_skew_ms);
    let values = [
        ("hypervisor_type", row.hypervisor_type.to_cell()),
        ("hypervisor_version", row.hypervisor_version.to_cell()),
        ("host_ip", row.host_ip.to_cell()),
        ("vcpus", row.vcpus.to_cell()),
        ("memory_mb", row.memory_mb.to_cell()),
        ("local_gb", row.local_gb.to_cell()),
        ("disk_available_gb", row.disk_available_gb.to_cell()),
        ("cpu_info", row.cpu_info.to_cell()),
        ("supported_instances", row.supported_instances.to_cell()),
        ("traits", row.traits.to_cell()),
        ("driver", row.driver.to_cell()),
        ("uptime_s", row.uptime_s.to_cell()),
        ("updated_at", now.to_cell()),
        ("clock_skew_ms", row.clock_skew_ms.to_cell()),
    ];
    tx.update::<ComputeNodeRow>(eq("id", row.id.as_str()), &values)?;
    Ok(Reported {
        node: row,
        changed,
        skew_before_ms,
    })
}

fn find(tx: &mut Tx, r: &HostReport) -> Result<Option<ComputeNodeRow>> {
    tx.find(all([
        eq("host", r.host.as_str()),
        eq("hypervisor_hostname", r.hypervisor_hostname.as_str()),
    ]))
}

/// The row that a report makes, but for what only the database knows.
fn describe(r: &HostReport, now: Timestamp) -> ComputeNodeRow {
    ComputeNodeRow {
        id: id::named_id(&format!(
            "compute-node/{}/{}",
            r.host, r.hypervisor_hostname
        )),
        number: 0,
        service_id: String::new(),
        host: r.host.clone(),
        hypervisor_hostname: r.hypervisor_hostname.clone(),
        hypervisor_type: r.hypervisor_type.clone(),
        hypervisor_version: r.hypervisor_version as i64,
        host_ip: r.host_ip.clone(),
        vcpus: i64::from(r.vcpus),
        memory_mb: r.memory_mb as i64,
        local_gb: r.local_gb as i64,
        disk_available_gb: r.disk_available_gb as i64,
        cpu_info: Json(r.cpu_info.clone()),
        supported_instances: Json(r.supported_instances.clone()),
        traits: Json(r.traits.clone()),
        driver: r.driver.clone(),
        uptime_s: r.uptime_s as i64,
        created_at: now,
        updated_at: Some(now),
        clock_skew_ms: skew_ms(r, now),
    }
}

type Placed<'a> = (i64, i64, i64, &'a Vec<String>);

/// What placement is told.
fn placed(n: &ComputeNodeRow) -> Placed<'_> {
    (n.vcpus, n.memory_mb, n.local_gb, &n.traits.0)
}

/// What schedulers remember.
#[derive(PartialEq)]
struct Facts<'a> {
    placed: Placed<'a>,
    kind: (&'a str, i64, &'a str),
    cpu_info: &'a Value,
    supported: &'a Vec<(String, String, String)>,
}

fn facts(n: &ComputeNodeRow) -> Facts<'_> {
    Facts {
        placed: placed(n),
        kind: (&n.hypervisor_type, n.hypervisor_version, &n.driver),
        cpu_info: &n.cpu_info.0,
        supported: &n.supported_instances.0,
    }
}

/// One more than the highest number: rows are deleted, so counting them would give a number twice. The caller holds
/// [`generation`], or two might get the same.
fn next_number(tx: &mut Tx) -> Result<i64> {
    let last =
        tx.select_sorted::<ComputeNodeRow>(everything(), &[("number", base::Dir::Desc)], Some(1))?;
    Ok(last.first().map_or(1, |row| row.number + 1))
}
