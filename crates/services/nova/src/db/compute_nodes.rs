//! What hosts reported about themselves.

use base::{Cell, Json, Result, Timestamp, id};
use nova_types::rpc::HostReport;
use oslo_db::{Tx, all, eq, everything};
use serde_json::Value;

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

/// Makes or renews the row. Its id is derived from host and node, so that a lost database finds placement's
/// provider again; it is also the provider's id.
pub fn report(tx: &mut Tx, service_id: &str, r: &HostReport, now: Timestamp) -> Result<Reported> {
    let found = tx.find::<ComputeNodeRow>(all([
        eq("host", r.host.as_str()),
        eq("hypervisor_hostname", r.hypervisor_hostname.as_str()),
    ]))?;
    let number = match &found {
        Some(row) => row.number,
        None => next_number(tx)?,
    };
    let row = ComputeNodeRow {
        id: id::named_id(&format!(
            "compute-node/{}/{}",
            r.host, r.hypervisor_hostname
        )),
        number,
        service_id: service_id.into(),
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
        created_at: found.as_ref().map_or(now, |f| f.created_at),
        updated_at: Some(now),
        clock_skew_ms: skew_ms(r, now),
    };
    let skew_before_ms = found.as_ref().map_or(0, |f| f.clock_skew_ms);
    tell_skew(&row.host, skew_before_ms, row.clock_skew_ms);
    let placed = |n: &ComputeNodeRow| (n.vcpus, n.memory_mb, n.local_gb, n.traits.0.clone());
    let changed = found.as_ref().is_none_or(|f| placed(f) != placed(&row));
    match found {
        None => tx.insert(&row)?,
        Some(_) => {
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
        }
    }
    Ok(Reported {
        node: row,
        changed,
        skew_before_ms,
    })
}

/// One more than the highest number: rows are deleted, so counting them would give a number twice.
fn next_number(tx: &mut Tx) -> Result<i64> {
    let last =
        tx.select_sorted::<ComputeNodeRow>(everything(), &[("number", base::Dir::Desc)], Some(1))?;
    Ok(last.first().map_or(1, |row| row.number + 1))
}
