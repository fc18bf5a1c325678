//! What the scheduler knows of each host: its report, its service, its zone and aggregates, and what its instances take.

use crate::db::aggregates;
use crate::db::compute_nodes::ComputeNodeRow;
use crate::db::services::ServiceRow;
use crate::db::usage;
use base::{Result, Timestamp};
use oslo_db::{Tx, everything};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A host as filters and weighers see it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `CONF.host`.
    pub host: String,
    /// The hypervisor's node.
    pub node: String,
    /// Its provider in placement.
    pub provider_id: String,
    /// Its zone.
    pub zone: String,
    /// Metadata of its aggregates.
    pub aggregates: Vec<BTreeMap<String, String>>,
    /// Whether its service is up.
    pub up: bool,
    /// Why it was taken out of service, if it was.
    pub disabled: Option<String>,
    /// Processors there are.
    pub vcpus: i64,
    /// Processors promised.
    pub vcpus_used: i64,
    /// MiB there are.
    pub memory_mb: i64,
    /// MiB promised.
    pub memory_mb_used: i64,
    /// GiB there are.
    pub local_gb: i64,
    /// GiB promised.
    pub local_gb_used: i64,
    /// Guests.
    pub num_instances: i64,
    /// Guests being built.
    pub num_io_ops: i64,
    /// `QEMU`…
    pub hypervisor_type: String,
    /// Version number.
    pub hypervisor_version: i64,
    /// (architecture, hypervisor, mode).
    pub supported_instances: Vec<(String, String, String)>,
    /// What the host says of its processors.
    pub cpu_info: Value,
}

impl Host {
    /// The name by which an outcome speaks of it.
    pub fn name(&self) -> &str {
        &self.host
    }
}

impl oslo_scheduling::HostState for Host {
    fn name(&self) -> &str {
        &self.host
    }
}

/// All hosts, in five queries however many there are.
pub(super) fn load(
    tx: &mut Tx,
    now: Timestamp,
    down_after: Duration,
    default_zone: &str,
) -> Result<Vec<Host>> {
    let nodes = tx.select::<ComputeNodeRow>(everything())?;
    let services: HashMap<String, ServiceRow> = tx
        .select::<ServiceRow>(oslo_db::eq("service_binary", "nova-compute"))?
        .into_iter()
        .map(|s| (s.host.clone(), s))
        .collect();
    let mut zones: HashMap<String, String> = HashMap::new();
    let mut metadata: HashMap<String, Vec<BTreeMap<String, String>>> = HashMap::new();
    for (aggregate, hosts) in aggregates::with_hosts(tx)? {
        for host in hosts {
            if let Some(zone) = aggregate.metadata.0.get("availability_zone") {
                zones.insert(host.clone(), zone.clone());
            }
            metadata
                .entry(host)
                .or_default()
                .push(aggregate.metadata.0.clone());
        }
    }
    let used = usage::by_host(tx)?;
    let mut hosts = Vec::with_capacity(nodes.len());
    for node in nodes {
        let service = services.get(&node.host);
        let u = used.get(&node.host).cloned().unwrap_or_default();
        let disabled = service.filter(|s| s.disabled).map(|s| {
            s.disabled_reason
                .clone()
                .unwrap_or_else(|| "no reason given".into())
        });
        hosts.push(Host {
            zone: zones
                .get(&node.host)
                .cloned()
                .unwrap_or_else(|| default_zone.to_string()),
            aggregates: metadata.get(&node.host).cloned().unwrap_or_default(),
            up: service.is_some_and(|s| s.is_up(now, down_after)),
            disabled,
            vcpus: node.vcpus,
            vcpus_used: u.vcpus,
            memory_mb: node.memory_mb,
            memory_mb_used: u.memory_mb,
            local_gb: node.local_gb,
            local_gb_used: u.disk_gb,
            num_instances: u.instances,
            num_io_ops: u.building,
            hypervisor_type: node.hypervisor_type,
            hypervisor_version: node.hypervisor_version,
            supported_instances: node.supported_instances.0,
            cpu_info: node.cpu_info.0,
            provider_id: node.id,
            node: node.hypervisor_hostname,
            host: node.host,
        });
    }
    Ok(hosts)
}
