//! The desired state of one host, computed from the tables in a fixed number of queries.

use crate::db::{
    AgentRow, AllocationRow, DhcpBindingRow, FloatingIpRow, GroupRow, L3BindingRow, NetworkRow,
    PortGroupRow, PortPlaceRow, PortRow, RouterRow, RuleRow, StateRow, SubnetRow,
};
use crate::{agents, ipam, ports};
use base::Result;
use ipnet::IpNet;
use neutron_types::rpc::{
    AddressPair, DhcpHost, DhcpOption, Direction, FixedIp, FloatingIpState, HostState,
    NetworkState, NetworkType, PortState, Route, RouterGateway, RouterInterface, RouterState,
    RuleState, SecurityGroupState, SubnetState,
};
use oslo_db::{Tx, all, eq, is_in, ne};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Milliseconds. All hosts together ask for whole states no oftener than once in this time.
const PATIENCE_PER_HOST: u64 = 3;

/// Everything `host` has to do, unless it knows that already.
pub(crate) fn of_host(tx: &mut Tx, host: &str, known: Option<i64>) -> Result<HostState> {
    let revision = tx.find::<StateRow>(eq("id", 1))?.map_or(1, |r| r.revision);
    if known == Some(revision) {
        return Ok(HostState {
            revision,
            unchanged: true,
            ..HostState::default()
        });
    }
    let own: Vec<AgentRow> = tx.select(eq("host", host))?;
    let agent = |kind: &str| {
        own.iter()
            .find(|a| a.agent_type == kind && a.admin_state_up)
            .map(|a| a.id.clone())
            .unwrap_or_default()
    };
    let dhcp_networks: BTreeSet<String> = tx
        .select::<DhcpBindingRow>(eq("agent_id", agent(agents::DHCP)))?
        .into_iter()
        .map(|b| b.network_id)
        .collect();
    let router_ids: Vec<String> = tx
        .select::<L3BindingRow>(eq("agent_id", agent(agents::L3)))?
        .into_iter()
        .map(|b| b.router_id)
        .collect();

    let here = tx.select_sorted::<PortRow>(eq("host", host), &[("id", base::Dir::Asc)], None)?;
    let network_ids: BTreeSet<&str> = here
        .iter()
        .map(|p| p.network_id.as_str())
        .chain(dhcp_networks.iter().map(String::as_str))
        .collect();
    let networks = tx.select::<NetworkRow>(is_in("id", network_ids.iter().copied()))?;
    let subnets = tx.select_sorted::<SubnetRow>(
        is_in("network_id", network_ids.iter().copied()),
        &[("id", base::Dir::Asc)],
        None,
    )?;
    let by_subnet: HashMap<&str, &SubnetRow> = subnets.iter().map(|s| (s.id.as_str(), s)).collect();

    let served = tx.select_sorted::<PortRow>(
        is_in("network_id", dhcp_networks.iter()),
        &[("id", base::Dir::Asc)],
        None,
    )?;
    let ids: HashSet<&str> = here.iter().chain(&served).map(|p| p.id.as_str()).collect();
    let addresses = ports::addresses(tx, ids.iter().copied())?;
    let groups = ports::groups_of(tx, here.iter().map(|p| p.id.as_str()))?;

    let routed = routed_gateways(tx, &network_ids)?;
    let mut peers = tunnel_peers(tx, host, &networks)?;
    let (security_groups, remote_groups) = security(tx, &groups)?;
    let routers = routers(tx, &router_ids, &here, &addresses, &by_subnet)?;

    Ok(HostState {
        revision,
        unchanged: false,
        networks: networks
            .iter()
            .map(|n| {
                let peers = peers.remove(n.id.as_str()).unwrap_or_default();
                network(n, &subnets, &dhcp_networks, &routed, peers)
            })
            .collect::<Result<_>>()?,
        ports: here.iter().map(|p| port(p, &addresses, &groups)).collect(),
        dhcp_hosts: served
            .iter()
            .filter(|p| p.device_owner != ports::DHCP)
            .map(|p| dhcp_host(p, &addresses))
            .collect(),
        security_groups,
        remote_groups,
        routers,
        patience_ms: PATIENCE_PER_HOST
            * tx.count::<AgentRow>(is_in("agent_type", agents::L2.iter().copied()))?,
    })
}

/// (subnet, address) pairs that router legs hold: what has its gateway there is not isolated.
fn routed_gateways(tx: &mut Tx, networks: &BTreeSet<&str>) -> Result<HashSet<(String, String)>> {
    let legs = tx.select::<PortRow>(all([
        is_in("network_id", networks.iter().copied()),
        eq("device_owner", ports::INTERFACE),
    ]))?;
    let held = tx.select::<AllocationRow>(is_in("port_id", legs.iter().map(|p| p.id.as_str())))?;
    Ok(held
        .into_iter()
        .map(|a| (a.subnet_id, a.ip_address))
        .collect())
}

fn network(
    row: &NetworkRow,
    subnets: &[SubnetRow],
    dhcp: &BTreeSet<String>,
    routed: &HashSet<(String, String)>,
    peers: BTreeSet<IpAddr>,
) -> Result<NetworkState> {
    let mut own = Vec::new();
    for subnet in subnets.iter().filter(|s| s.network_id == row.id) {
        let gateway = subnet.gateway_ip.clone().unwrap_or_default();
        own.push(SubnetState {
            id: subnet.id.clone(),
            cidr: ipam::cidr(subnet)?,
            gateway_ip: gateway.parse().ok(),
            enable_dhcp: subnet.enable_dhcp,
            dns_nameservers: subnet
                .dns_nameservers
                .0
                .iter()
                .filter_map(|s| s.parse().ok())
                .collect(),
            host_routes: subnet
                .host_routes
                .0
                .iter()
                .filter_map(|r| route(&r.destination, &r.nexthop))
                .collect(),
            ipv6_ra_mode: subnet.ipv6_ra_mode.clone(),
            ipv6_address_mode: subnet.ipv6_address_mode.clone(),
            allocation_pools: subnet
                .allocation_pools
                .0
                .iter()
                .filter_map(|p| Some((p.start.parse().ok()?, p.end.parse().ok()?)))
                .collect(),
            isolated: !routed.contains(&(subnet.id.clone(), gateway)),
        });
    }
    Ok(NetworkState {
        id: row.id.clone(),
        network_type: NetworkType::parse(&row.network_type)?,
        physical_network: row.physical_network.clone(),
        segmentation_id: row.segmentation_id.and_then(|n| u32::try_from(n).ok()),
        mtu: u32::try_from(row.mtu).unwrap_or(1500),
        dns_domain: row.dns_domain.clone(),
        external: row.external,
        dhcp_here: dhcp.contains(&row.id),
        subnets: own,
        tunnel_peers: peers.into_iter().collect(),
    })
}

fn route(destination: &str, nexthop: &str) -> Option<Route> {
    Some(Route {
        destination: destination.parse().ok()?,
        nexthop: nexthop.parse().ok()?,
    })
}

fn fixed_ips(port: &str, addresses: &HashMap<String, Vec<AllocationRow>>) -> Vec<FixedIp> {
    let fixed = |a: &AllocationRow| {
        Some(FixedIp {
            subnet_id: a.subnet_id.clone(),
            ip_address: a.ip_address.parse().ok()?,
        })
    };
    addresses
        .get(port)
        .into_iter()
        .flatten()
        .filter_map(fixed)
        .collect()
}

/// An address or a range as a range.
fn net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn port(
    row: &PortRow,
    addresses: &HashMap<String, Vec<AllocationRow>>,
    groups: &HashMap<String, Vec<String>>,
) -> PortState {
    let pair = |p: &crate::db::AddressPairRow| {
        Some(AddressPair {
            mac_address: Some(p.mac_address.clone()),
            ip_address: net(&p.ip_address)?,
        })
    };
    PortState {
        id: row.id.clone(),
        network_id: row.network_id.clone(),
        mac_address: row.mac_address.clone(),
        fixed_ips: fixed_ips(&row.id, addresses),
        device_id: row.device_id.clone(),
        device_owner: row.device_owner.clone(),
        admin_state_up: row.admin_state_up,
        security_groups: groups.get(&row.id).cloned().unwrap_or_default(),
        port_security_enabled: row.port_security_enabled,
        allowed_address_pairs: row
            .allowed_address_pairs
            .0
            .iter()
            .filter_map(pair)
            .collect(),
    }
}

fn dhcp_host(row: &PortRow, addresses: &HashMap<String, Vec<AllocationRow>>) -> DhcpHost {
    let option = |o: &crate::db::DhcpOptionRow| DhcpOption {
        opt_name: o.opt_name.clone(),
        opt_value: o.opt_value.clone(),
        ip_version: if o.ip_version == 6 { 6 } else { 4 },
    };
    DhcpHost {
        port_id: row.id.clone(),
        network_id: row.network_id.clone(),
        mac_address: row.mac_address.clone(),
        fixed_ips: fixed_ips(&row.id, addresses),
        hostname: row.dns_name.clone(),
        extra_dhcp_opts: row.extra_dhcp_opts.0.iter().map(option).collect(),
    }
}

type Security = (Vec<SecurityGroupState>, BTreeMap<String, Vec<IpNet>>);

fn security(tx: &mut Tx, groups: &HashMap<String, Vec<String>>) -> Result<Security> {
    let wanted: BTreeSet<&str> = groups.values().flatten().map(String::as_str).collect();
    let rows = tx.select_sorted::<GroupRow>(
        is_in("id", wanted.iter().copied()),
        &[("id", base::Dir::Asc)],
        None,
    )?;
    let rules = tx.select_sorted::<RuleRow>(
        is_in("security_group_id", wanted),
        &[("id", base::Dir::Asc)],
        None,
    )?;
    let remotes: BTreeSet<String> = rules
        .iter()
        .filter_map(|r| r.remote_group_id.clone())
        .collect();
    let mut states = Vec::new();
    for row in rows {
        let mut own = Vec::new();
        for rule in rules.iter().filter(|r| r.security_group_id == row.id) {
            own.push(RuleState {
                direction: Direction::parse(&rule.direction)?,
                ip_version: if rule.ethertype == "IPv6" { 6 } else { 4 },
                protocol: rule.protocol.clone(),
                port_range_min: rule.port_range_min,
                port_range_max: rule.port_range_max,
                remote_ip_prefix: rule.remote_ip_prefix.as_deref().and_then(net),
                remote_group_id: rule.remote_group_id.clone(),
            });
        }
        states.push(SecurityGroupState {
            id: row.id,
            stateful: row.stateful,
            rules: own,
        });
    }
    Ok((states, members(tx, remotes)?))
}

/// The addresses of each group's members.
fn members(tx: &mut Tx, groups: BTreeSet<String>) -> Result<BTreeMap<String, Vec<IpNet>>> {
    let members = tx.select::<PortGroupRow>(is_in("security_group_id", groups.iter()))?;
    let ids: HashSet<&str> = members.iter().map(|m| m.port_id.as_str()).collect();
    let addresses = ports::addresses(tx, ids.iter().copied())?;
    let paired = all([
        is_in("id", ids.iter().copied()),
        ne("allowed_address_pairs", "[]"),
    ]);
    let pairs: HashMap<String, PortRow> = tx
        .select::<PortRow>(paired)?
        .into_iter()
        .map(|p| (p.id.clone(), p))
        .collect();
    let mut found: BTreeMap<String, Vec<IpNet>> =
        groups.into_iter().map(|g| (g, Vec::new())).collect();
    for member in members {
        let list = found.entry(member.security_group_id).or_default();
        list.extend(
            addresses
                .get(&member.port_id)
                .into_iter()
                .flatten()
                .filter_map(|a| net(&a.ip_address)),
        );
        if let Some(port) = pairs.get(&member.port_id) {
            list.extend(
                port.allowed_address_pairs
                    .0
                    .iter()
                    .filter_map(|p| net(&p.ip_address)),
            );
        }
    }
    for list in found.values_mut() {
        list.sort();
        list.dedup();
    }
    Ok(found)
}

fn routers(
    tx: &mut Tx,
    ids: &[String],
    here: &[PortRow],
    addresses: &HashMap<String, Vec<AllocationRow>>,
    subnets: &HashMap<&str, &SubnetRow>,
) -> Result<Vec<RouterState>> {
    let rows =
        tx.select_sorted::<RouterRow>(is_in("id", ids.iter()), &[("id", base::Dir::Asc)], None)?;
    let floating = tx.select_sorted::<FloatingIpRow>(
        is_in("router_id", ids.iter()),
        &[("id", base::Dir::Asc)],
        None,
    )?;
    let nets = |port: &PortRow| -> Vec<IpNet> {
        let with_prefix = |a: &AllocationRow| {
            let subnet = subnets.get(a.subnet_id.as_str())?;
            IpNet::new(
                a.ip_address.parse().ok()?,
                ipam::cidr(subnet).ok()?.prefix_len(),
            )
            .ok()
        };
        addresses
            .get(&port.id)
            .into_iter()
            .flatten()
            .filter_map(with_prefix)
            .collect()
    };
    let nexthops = |port: &PortRow| -> Vec<IpAddr> {
        let hop = |a: &AllocationRow| {
            subnets
                .get(a.subnet_id.as_str())?
                .gateway_ip
                .as_deref()?
                .parse()
                .ok()
        };
        addresses
            .get(&port.id)
            .into_iter()
            .flatten()
            .filter_map(hop)
            .collect()
    };
    let state = |row: RouterRow| {
        let legs = || here.iter().filter(|p| p.device_id == row.id);
        let interfaces = legs().filter(|p| p.device_owner == ports::INTERFACE);
        let gateway = legs().find(|p| p.device_owner == ports::GATEWAY);
        let floating_ip = |f: &FloatingIpRow| {
            Some(FloatingIpState {
                id: f.id.clone(),
                floating_ip_address: f.floating_ip_address.parse().ok()?,
                fixed_ip_address: f.fixed_ip_address.as_deref()?.parse().ok()?,
                port_id: f.port_id.clone()?,
            })
        };
        RouterState {
            admin_state_up: row.admin_state_up,
            interfaces: interfaces
                .map(|p| RouterInterface {
                    port_id: p.id.clone(),
                    addresses: nets(p),
                })
                .collect(),
            gateway: gateway.map(|p| RouterGateway {
                port_id: p.id.clone(),
                network_id: p.network_id.clone(),
                addresses: nets(p),
                nexthops: nexthops(p),
                enable_snat: row.enable_snat,
            }),
            floating_ips: floating
                .iter()
                .filter(|f| f.router_id.as_deref() == Some(&row.id))
                .filter_map(floating_ip)
                .collect(),
            routes: row
                .routes
                .0
                .iter()
                .filter_map(|r| route(&r.destination, &r.nexthop))
                .collect(),
            id: row.id,
        }
    };
    Ok(rows.into_iter().map(state).collect())
}

/// Where the tunnels of the other hosts end that have a port of each network. An agent that is silent does not take its
/// guests away; a host is left out when nothing of the network is there, or its agent is deleted.
fn tunnel_peers(
    tx: &mut Tx,
    host: &str,
    networks: &[NetworkRow],
) -> Result<HashMap<String, BTreeSet<IpAddr>>> {
    let tunnelled: Vec<&str> = networks
        .iter()
        .filter(|n| n.network_type == NetworkType::Vxlan.as_str())
        .map(|n| n.id.as_str())
        .collect();
    let mut found: HashMap<String, BTreeSet<IpAddr>> = HashMap::new();
    if tunnelled.is_empty() {
        return Ok(found);
    }
    let elsewhere = tx.select::<PortPlaceRow>(all([
        is_in("network_id", tunnelled),
        ne("host", host),
        ne("host", ""),
    ]))?;
    let hosts: BTreeSet<&str> = elsewhere.iter().map(|p| p.host.as_str()).collect();
    let agents = tx.select::<AgentRow>(all([
        is_in("host", hosts),
        is_in("agent_type", agents::L2.iter().copied()),
    ]))?;
    let ends: HashMap<&str, IpAddr> = agents
        .iter()
        .filter_map(|a| {
            let text = a.configurations.0.get("tunneling_ip")?.as_str()?;
            Some((a.host.as_str(), text.parse().ok()?))
        })
        .collect();
    for place in &elsewhere {
        if let Some(end) = ends.get(place.host.as_str()) {
            found
                .entry(place.network_id.clone())
                .or_default()
                .insert(*end);
        }
    }
    Ok(found)
}
