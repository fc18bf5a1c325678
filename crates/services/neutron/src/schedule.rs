//! Which agent serves which network and which router. Every function here is idempotent: it looks at what is
//! wanted and at what is there, and mends the difference; reconcilers and API calls use the same ones.

use crate::db::{
    AgentRow, DhcpBindingRow, FloatingIpRow, L3BindingRow, NetworkRow, PortRow, RouterRow,
    SubnetRow, concerned,
};
use crate::ipam::{self, Want};
use crate::noun::Call;
use crate::topics::{Change, Topic};
use crate::{agents, ports, subnets};
use base::{Result, id};
use oslo_db::{Tx, all, eq, everything as any_row, is_in, set};
use serde_json::json;
use std::collections::HashMap;

/// The DHCP port's `device_id`, the same for the same host and network.
pub(crate) fn dhcp_device(host: &str, network: &str) -> String {
    format!("dhcp{}-{network}", id::named_id(host))
}

/// The best agent for a new job: alive, on a host that can plug ports if there is one, and with the least of them.
fn choose(tx: &mut Tx, call: &Call, kind: &str) -> Result<Option<AgentRow>> {
    let mut candidates = agents::alive(tx, call, kind)?;
    let wired = agents::wired(tx, call, candidates.iter().map(|a| a.host.as_str()))?;
    if candidates.iter().any(|a| wired.contains(&a.host)) {
        candidates.retain(|a| wired.contains(&a.host));
    }
    let loads = concerned::loads(tx, kind == agents::DHCP)?;
    let load = |a: &AgentRow| loads.get(&a.id).copied().unwrap_or_default();
    // Of those with the same load the first.
    Ok(candidates.into_iter().min_by_key(load))
}

/// Makes the DHCP service of a network what its subnets want.
pub(crate) fn dhcp(tx: &mut Tx, call: &Call, network: &str) -> Result<bool> {
    // One at a time: two servers must not choose two agents.
    tx.find_for_update::<NetworkRow>(eq("id", network))?;
    let subnets = subnets::of_network(tx, network)?;
    let served: Vec<&SubnetRow> = subnets.iter().filter(|s| s.enable_dhcp).collect();
    let port = tx.find::<PortRow>(all([
        eq("network_id", network),
        eq("device_owner", ports::DHCP),
    ]))?;
    if served.is_empty() {
        if let Some(port) = &port {
            ports::remove(tx, call, port)?;
        }
        for (_, host) in concerned::of_served(tx, &[network.to_string()])? {
            call.touch(Topic::Host(host));
        }
        let unbound = tx.delete::<DhcpBindingRow>(eq("network_id", network))?;
        return Ok(port.is_some() || unbound > 0);
    }
    let bound = tx.find::<DhcpBindingRow>(eq("network_id", network))?;
    let agent = match &bound {
        Some(binding) => tx.find::<AgentRow>(eq("id", binding.agent_id.as_str()))?,
        None => None,
    };
    let dead = agent
        .as_ref()
        .is_none_or(|a| !agents::is_alive(call, a) || !a.admin_state_up);
    let (agent, moved) = match (dead, agent) {
        (false, Some(agent)) => (agent, false),
        (_, old) => match (choose(tx, call, agents::DHCP)?, old) {
            (Some(agent), old) => {
                touch(call, old.iter().chain([&agent]));
                (agent, true)
            }
            // Nobody else can: the old one may come back.
            (None, Some(old)) => (old, false),
            (None, None) => return Ok(false),
        },
    };
    if moved {
        tx.delete::<DhcpBindingRow>(eq("network_id", network))?;
        tx.insert(&DhcpBindingRow {
            network_id: network.into(),
            agent_id: agent.id.clone(),
        })?;
    }
    let changed = serve(tx, call, network, &served, port, &agent)?;
    Ok(moved || changed)
}

/// The hosts of these agents have more to do, or less.
fn touch<'a>(call: &Call, agents: impl Iterator<Item = &'a AgentRow>) {
    for agent in agents {
        call.touch(Topic::Host(agent.host.clone()));
    }
}

/// The DHCP port has an address in every subnet it serves and lives on its agent's host.
fn serve(
    tx: &mut Tx,
    call: &Call,
    network: &str,
    served: &[&SubnetRow],
    port: Option<PortRow>,
    agent: &AgentRow,
) -> Result<bool> {
    let wanted: Vec<&&SubnetRow> = served.iter().filter(|s| !ipam::is_auto(s)).collect();
    let device = dhcp_device(&agent.host, network);
    let Some(mut port) = port else {
        let Some(row) = tx.find::<NetworkRow>(eq("id", network))? else {
            return Ok(false);
        };
        let mut fixed_ips = Vec::new();
        for subnet in wanted {
            // A full subnet cannot be served, but that is no reason to refuse the rest.
            if ipam::free(tx, subnet)?.is_some() {
                fixed_ips.push(json!({"subnet_id": subnet.id}));
            }
        }
        let body = json!({
            "network_id": network, "tenant_id": row.project_id, "device_owner": ports::DHCP, "device_id": device,
            "fixed_ips": fixed_ips, "binding:host_id": agent.host, "security_groups": [], "port_security_enabled": false,
        });
        ports::create_for(tx, call, body)?;
        return Ok(true);
    };
    let mut held = ports::addresses(tx, std::iter::once(port.id.as_str()))?
        .remove(&port.id)
        .unwrap_or_default();
    held.retain(|a| wanted.iter().any(|s| s.id == a.subnet_id));
    let before = tx.count::<crate::db::AllocationRow>(eq("port_id", port.id.as_str()))? as usize;
    let mut wants: Vec<Want> = held
        .iter()
        .map(|a| Want {
            subnet_id: Some(a.subnet_id.clone()),
            ip_address: Some(a.ip_address.clone()),
        })
        .collect();
    for subnet in &wanted {
        if !held.iter().any(|a| a.subnet_id == subnet.id) && ipam::free(tx, subnet)?.is_some() {
            wants.push(Want {
                subnet_id: Some(subnet.id.clone()),
                ip_address: None,
            });
        }
    }
    let auto = served.len() - wanted.len();
    let readdress = wants.len() != held.len() || before > wants.len() + auto;
    if readdress {
        ports::readdress(tx, call, &port, wants)?;
    }
    let elsewhere = port.host != agent.host || port.device_id != device;
    if elsewhere {
        call.touch_port(&port, [], Change::PLACE);
        port.host = agent.host.clone();
        port.device_id = device;
        port.status = "DOWN".into();
        ports::bind(tx, call, &mut port)?;
    }
    if readdress || elsewhere {
        crate::revise!(port, call);
        crate::noun::save(tx, &port)?;
        call.touch_port(
            &port,
            [],
            Change {
                place: elsewhere,
                addresses: readdress,
                lease: false,
            },
        );
    }
    Ok(readdress || elsewhere)
}

/// Makes sure that a router which has legs has a live agent, and that its legs are on the agent's host.
pub(crate) fn l3(tx: &mut Tx, call: &Call, router: &str) -> Result<bool> {
    // One at a time: two servers must not choose two agents.
    tx.find_for_update::<RouterRow>(eq("id", router))?;
    let legs = tx.select::<PortRow>(all([
        eq("device_id", router),
        is_in("device_owner", [ports::INTERFACE, ports::GATEWAY]),
    ]))?;
    if legs.is_empty() {
        return Ok(false);
    }
    let binding = tx.find::<L3BindingRow>(eq("router_id", router))?;
    let agent = match &binding {
        Some(binding) => tx.find::<AgentRow>(eq("id", binding.agent_id.as_str()))?,
        None => None,
    };
    let dead = agent
        .as_ref()
        .is_none_or(|a| !agents::is_alive(call, a) || !a.admin_state_up);
    let (agent, mut changed) = match (dead, agent) {
        (false, Some(agent)) => (agent, false),
        (_, old) => match (choose(tx, call, agents::L3)?, old) {
            (Some(agent), old) => {
                touch(call, old.iter().chain([&agent]));
                (agent, true)
            }
            (None, Some(old)) => (old, false),
            (None, None) => return Ok(false),
        },
    };
    if changed {
        tx.upsert(
            &L3BindingRow {
                router_id: router.into(),
                agent_id: agent.id.clone(),
            },
            &["router_id"],
        )?;
        // Until its new agent says otherwise.
        let leading = all([eq("router_id", router), eq("status", "ACTIVE")]);
        tx.update::<FloatingIpRow>(leading, &[set("status", "DOWN")])?;
    }
    let wired = agents::l2_alive(tx, call, &agent.host)?;
    for mut leg in legs {
        if leg.host != agent.host || (leg.vif_type != "bridge" && wired) {
            call.touch_port(&leg, [], Change::PLACE);
            leg.host = agent.host.clone();
            leg.status = "DOWN".into();
            ports::bind(tx, call, &mut leg)?;
            crate::revise!(leg, call);
            crate::noun::save(tx, &leg)?;
            call.touch_port(&leg, [], Change::PLACE);
            changed = true;
        }
    }
    Ok(changed)
}

/// Networks and routers that no live agent serves though one could, or whose ports are elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Pending {
    networks: Vec<String>,
    routers: Vec<String>,
    pub examined: u64,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.routers.is_empty()
    }
}

/// Looks at everything, in a fixed number of queries.
pub(crate) fn pending(tx: &mut Tx, call: &Call) -> Result<Pending> {
    let mut found = Pending::default();
    let hosts = |agents: Vec<AgentRow>| -> HashMap<String, String> {
        agents.into_iter().map(|a| (a.id, a.host)).collect()
    };
    let dhcp = hosts(agents::alive(tx, call, agents::DHCP)?);
    if !dhcp.is_empty() {
        let served = tx.select::<SubnetRow>(eq("enable_dhcp", true))?;
        let mut networks: Vec<String> = served.into_iter().map(|s| s.network_id).collect();
        networks.sort();
        networks.dedup();
        found.examined += networks.len() as u64;
        let bound = tx.select::<DhcpBindingRow>(any_row())?;
        let bound: HashMap<String, String> = bound
            .into_iter()
            .map(|b| (b.network_id, b.agent_id))
            .collect();
        let ports = tx.select::<PortRow>(eq("device_owner", ports::DHCP))?;
        let ports: HashMap<String, String> =
            ports.into_iter().map(|p| (p.network_id, p.host)).collect();
        networks.retain(|n| {
            let host = bound.get(n).and_then(|agent| dhcp.get(agent));
            host.is_none() || ports.get(n) != host
        });
        found.networks = networks;
    }
    let l3 = hosts(agents::alive(tx, call, agents::L3)?);
    if !l3.is_empty() {
        let owners = is_in("device_owner", [ports::INTERFACE, ports::GATEWAY]);
        let legs = tx.select::<PortRow>(owners)?;
        let bound = tx.select::<L3BindingRow>(any_row())?;
        let bound: HashMap<String, String> = bound
            .into_iter()
            .map(|b| (b.router_id, b.agent_id))
            .collect();
        found.examined += legs.len() as u64;
        let astray = |leg: &&PortRow| {
            let host = bound.get(&leg.device_id).and_then(|agent| l3.get(agent));
            host != Some(&leg.host) || leg.vif_type != "bridge"
        };
        found.routers = legs
            .iter()
            .filter(astray)
            .map(|l| l.device_id.clone())
            .collect();
        found.routers.sort();
        found.routers.dedup();
    }
    Ok(found)
}

/// Mends what is pending. Says how much that was.
pub(crate) fn mend(tx: &mut Tx, call: &Call, pending: &Pending) -> Result<u64> {
    let mut changed = 0;
    for network in &pending.networks {
        changed += u64::from(dhcp(tx, call, network)?);
    }
    for router in &pending.routers {
        changed += u64::from(l3(tx, call, router)?);
    }
    Ok(changed)
}
