//! The desired state of one host, computed from the tables in a fixed number of queries, and what of it is new.

use crate::db::{
    AddressPairRow, AgentEndRow, AgentPlaceRow, AgentRow, AllocationRow, DhcpBindingRow,
    FloatingIpRow, GroupRow, L3BindingRow, NetworkRow, PortRow, RouterRow, RuleRow, SubnetRow,
    concerned, revisions,
};
use crate::topics::{self, Topic};
use crate::{agents, ipam, ports};
use base::Result;
use ipnet::IpNet;
use neutron_types::rpc::{
    AddressPair, Around, DhcpHost, DhcpOption, Direction, FixedIp, FloatingIpState, HostNews,
    HostState, NetworkState, NetworkType, PortState, Revisions, Route, RouterGateway,
    RouterInterface, RouterState, RuleState, SecurityGroupState, SubnetState,
};
use oslo_db::{Tx, all, eq, is_in};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All hosts together ask without being woken no oftener than this in a second.
const LOOKS_PER_SECOND: u64 = 20;
/// And each at least so often.
const LONGEST_LOOK: u64 = 60;

/// What many hosts ask for and is the same for all of them, as long as its topic stands still.
#[derive(Default)]
pub(crate) struct Cache {
    members: Shelf<IpNet>,
    ends: Shelf<(String, IpAddr)>,
}

/// By group or network: of which revision, since when, and what.
type Kept<T> = HashMap<String, (i64, Instant, Arc<Vec<T>>)>;

struct Shelf<T>(Mutex<Kept<T>>);

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf(Mutex::default())
    }
}

/// A mistake about what moves a topic is forgotten after this.
const KEPT: Duration = Duration::from_secs(60);
const MOST_KEPT: usize = 4_096;

impl<T> Shelf<T> {
    /// What is there of these ids; then who reads the rest puts it there.
    fn get(
        &self,
        wanted: Vec<(String, i64)>,
        read: impl FnOnce(&[String]) -> Result<HashMap<String, Vec<T>>>,
    ) -> Result<HashMap<String, Arc<Vec<T>>>> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, revision) in wanted {
                match kept.get(&id) {
                    Some((of, since, value)) if *of == revision && since.elapsed() < KEPT => {
                        found.insert(id, Arc::clone(value));
                    }
                    _ => missing.push((id, revision)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let ids: Vec<String> = missing.iter().map(|(id, _)| id.clone()).collect();
        let mut fresh = read(&ids)?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + missing.len() > MOST_KEPT {
            kept.clear();
        }
        for (id, revision) in missing {
            let value = Arc::new(fresh.remove(&id).unwrap_or_default());
            found.insert(id.clone(), Arc::clone(&value));
            // Somebody may have read a later one meanwhile.
            if kept.get(&id).is_none_or(|(of, _, _)| *of <= revision) {
                kept.insert(id, (revision, Instant::now(), value));
            }
        }
        Ok(found)
    }
}

/// What is new for `host` since what it depends on had the revisions `known`.
pub(crate) fn news(
    tx: &mut Tx,
    cache: &Cache,
    host: &str,
    known: Option<Revisions>,
) -> Result<HostNews> {
    let Some(known) = known.filter(|k| k.contains_key(&Topic::Host(host.into()).name())) else {
        return whole(tx, cache, host).map(HostNews::All);
    };
    let now = revisions::of(tx, known.keys().cloned().collect())?;
    let moved = now.iter().filter(|(name, r)| known.get(*name) != Some(r));
    let moved: Vec<&String> = moved.map(|(name, _)| name).collect();
    if moved.is_empty() {
        return Ok(HostNews::Nothing);
    }
    // What else the host depends on follows from what did not move, so that it is the same.
    let Some((groups, networks)) = topics::around(moved.into_iter()) else {
        return whole(tx, cache, host).map(HostNews::All);
    };
    Ok(HostNews::Around(Around {
        remote_groups: members(tx, cache, groups, &now)?,
        tunnel_peers: tunnel_peers(tx, cache, host, networks, &now)?,
        revisions: now,
    }))
}

/// Everything `host` has to do.
fn whole(tx: &mut Tx, cache: &Cache, host: &str) -> Result<HostState> {
    let own: Vec<AgentRow> = tx.select(eq("host", host))?;
    let agent = |kind: &str| {
        own.iter()
            .find(|a| a.agent_type == kind && a.admin_state_up)
            .map(|a| a.id.clone())
    };
    let dhcp_networks: BTreeSet<String> = match agent(agents::DHCP) {
        None => BTreeSet::new(),
        Some(agent) => tx
            .select::<DhcpBindingRow>(eq("agent_id", agent))?
            .into_iter()
            .map(|b| b.network_id)
            .collect(),
    };
    let router_ids: Vec<String> = match agent(agents::L3) {
        None => Vec::new(),
        Some(agent) => tx
            .select::<L3BindingRow>(eq("agent_id", agent))?
            .into_iter()
            .map(|b| b.router_id)
            .collect(),
    };

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

    let served = match dhcp_networks.is_empty() {
        true => Vec::new(),
        false => tx.select_sorted::<PortRow>(
            is_in("network_id", dhcp_networks.iter()),
            &[("id", base::Dir::Asc)],
            None,
        )?,
    };
    let ids: HashSet<&str> = here.iter().chain(&served).map(|p| p.id.as_str()).collect();
    let addresses = ports::addresses(tx, ids.iter().copied())?;
    let groups = ports::groups_of(tx, here.iter().map(|p| p.id.as_str()))?;
    let security_groups = security(tx, &groups)?;
    let remotes: BTreeSet<String> = security_groups
        .iter()
        .flat_map(|g| g.rules.iter().filter_map(|r| r.remote_group_id.clone()))
        .collect();
    let tunnelled: Vec<String> = networks
        .iter()
        .filter(|n| n.network_type == NetworkType::Vxlan.as_str())
        .map(|n| n.id.clone())
        .collect();

    // All that was looked at. What moves one of these moves the state, and nothing else does.
    let mut leans: BTreeSet<Topic> = [Topic::Host(host.into())].into();
    leans.extend(network_ids.iter().map(|n| Topic::Network(n.to_string())));
    leans.extend(dhcp_networks.iter().cloned().map(Topic::Ports));
    leans.extend(tunnelled.iter().cloned().map(Topic::Peers));
    leans.extend(security_groups.iter().map(|g| Topic::Group(g.id.clone())));
    leans.extend(remotes.iter().cloned().map(Topic::Members));
    leans.extend(router_ids.iter().cloned().map(Topic::Router));
    let revisions = revisions::of(tx, topics::names(&leans))?;

    let routed = routed_gateways(tx, &network_ids)?;
    let mut peers = tunnel_peers(tx, cache, host, tunnelled, &revisions)?;
    let remote_groups = members(tx, cache, remotes.into_iter().collect(), &revisions)?;
    let routers = routers(tx, &router_ids, &here, &addresses, &by_subnet)?;
    let hosts = tx.count::<AgentPlaceRow>(is_in("agent_type", agents::L2.iter().copied()))?;

    Ok(HostState {
        revisions,
        networks: networks
            .iter()
            .map(|n| {
                let peers = peers.remove(&n.id).unwrap_or_default();
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
        look_again_secs: (hosts / LOOKS_PER_SECOND).min(LONGEST_LOOK),
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
    tunnel_peers: Vec<IpAddr>,
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
        tunnel_peers,
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
    let pair = |p: &AddressPairRow| {
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
        active: row.status == "ACTIVE",
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

fn security(tx: &mut Tx, groups: &HashMap<String, Vec<String>>) -> Result<Vec<SecurityGroupState>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
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
    Ok(states)
}

/// The addresses of each group's members.
fn members(
    tx: &mut Tx,
    cache: &Cache,
    groups: Vec<String>,
    revisions: &Revisions,
) -> Result<BTreeMap<String, Vec<IpNet>>> {
    let of = |g: String| {
        let revision = revisions.get(&Topic::Members(g.clone()).name()).copied();
        (g, revision.unwrap_or_default())
    };
    let found = cache
        .members
        .get(groups.into_iter().map(of).collect(), |groups| {
            let mut found: HashMap<String, Vec<IpNet>> = HashMap::new();
            for (group, address) in concerned::member_addresses(tx, groups)? {
                found.entry(group).or_default().extend(net(&address));
            }
            for (group, pairs) in concerned::member_pairs(tx, groups)? {
                let pairs: Vec<AddressPairRow> = serde_json::from_str(&pairs)?;
                let nets = pairs.iter().filter_map(|p| net(&p.ip_address));
                found.entry(group).or_default().extend(nets);
            }
            for list in found.values_mut() {
                list.sort();
                list.dedup();
            }
            Ok(found)
        })?;
    Ok(found
        .into_iter()
        .map(|(group, nets)| (group, nets.as_ref().clone()))
        .collect())
}

fn routers(
    tx: &mut Tx,
    ids: &[String],
    here: &[PortRow],
    addresses: &HashMap<String, Vec<AllocationRow>>,
    subnets: &HashMap<&str, &SubnetRow>,
) -> Result<Vec<RouterState>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
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
    cache: &Cache,
    host: &str,
    networks: Vec<String>,
    revisions: &Revisions,
) -> Result<BTreeMap<String, Vec<IpAddr>>> {
    let of = |n: String| {
        let revision = revisions.get(&Topic::Peers(n.clone()).name()).copied();
        (n, revision.unwrap_or_default())
    };
    let found = cache
        .ends
        .get(networks.into_iter().map(of).collect(), |networks| {
            ends(tx, networks)
        })?;
    let others = |(network, ends): (String, Arc<Vec<(String, IpAddr)>>)| {
        let ends = ends.iter().filter(|(at, _)| at != host);
        let ends: BTreeSet<IpAddr> = ends.map(|(_, end)| *end).collect();
        (network, ends.into_iter().collect())
    };
    Ok(found.into_iter().map(others).collect())
}

/// The ends of the tunnels of networks' hosts.
fn ends(tx: &mut Tx, networks: &[String]) -> Result<HashMap<String, Vec<(String, IpAddr)>>> {
    let places = concerned::of_networks(tx, networks)?;
    let hosts: BTreeSet<&str> = places.iter().map(|(_, host)| host.as_str()).collect();
    let agents = tx.select::<AgentEndRow>(all([
        is_in("host", hosts),
        is_in("agent_type", agents::L2.iter().copied()),
    ]))?;
    let ends: HashMap<&str, IpAddr> = agents
        .iter()
        .filter_map(|a| {
            let text = a.configurations.0.get(agents::TUNNEL_END)?.as_str()?;
            Some((a.host.as_str(), text.parse().ok()?))
        })
        .collect();
    let mut found: HashMap<String, Vec<(String, IpAddr)>> = HashMap::new();
    for (network, host) in &places {
        if let Some(end) = ends.get(host.as_str()) {
            let list = found.entry(network.clone()).or_default();
            list.push((host.clone(), *end));
        }
    }
    Ok(found)
}
