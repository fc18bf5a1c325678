//! From what the server wants to what the host must look like: pure, so that tests can read it.
//!
//! What cannot be understood (an id that is none, a network type this driver lacks) becomes a problem of that one thing;
//! the rest of the host goes on.

use crate::config::Settings;
use crate::firewall;
use base::{Error, Result};
use host_netns::dnsmasq::{Dnsmasq, Host, Subnet};
use host_netns::firewall::Firewall;
use host_netns::link::RouteEntry;
use host_netns::nat::Nat;
use host_netns::radvd::{Advertisement, Radvd};
use host_netns::{Id, IfName, Mac, Namespace};
use ipnet::IpNet;
use neutron_types::rpc::{
    HostState, NetworkState, NetworkType, PortState, RouterState, SubnetState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The address at which guests look for metadata.
pub const METADATA: &str = "169.254.169.254";

/// What the host must look like.
#[derive(Debug, Default)]
pub struct Plan {
    /// Bridges by name.
    pub bridges: BTreeMap<IfName, Bridge>,
    /// Ports of guests: devices that others make and this host plugs.
    pub guests: Vec<Guest>,
    /// DHCP servers.
    pub dhcp: Vec<Dhcp>,
    /// Routers.
    pub routers: Vec<Router>,
    /// Filters.
    pub firewall: Firewall,
    /// What could not be understood.
    pub problems: Vec<String>,
}

/// A network's bridge.
#[derive(Debug)]
pub struct Bridge {
    pub name: IfName,
    pub mtu: u32,
    pub external: bool,
    pub network: Option<Id>,
    /// Its way to other hosts.
    pub tunnel: Option<Tunnel>,
}

/// A network's VXLAN.
#[derive(Debug, Clone)]
pub struct Tunnel {
    pub name: IfName,
    pub vni: u32,
    /// Where the other hosts that have a part in the network end it.
    pub peers: BTreeSet<IpAddr>,
}

/// A guest's port.
#[derive(Debug)]
pub struct Guest {
    pub port: Id,
    pub tap: IfName,
    pub bridge: IfName,
    pub mtu: u32,
    /// Whether it may forward; if not, it is plugged and filtered but never reported as up.
    pub enabled: bool,
}

/// A device inside a namespace and its other end on a bridge.
#[derive(Debug, Clone)]
pub struct Leg {
    pub port: Id,
    pub tap: IfName,
    pub device: IfName,
    pub bridge: IfName,
    pub mac: Mac,
    pub mtu: u32,
    pub addresses: Vec<IpNet>,
}

/// A network's DHCP server.
#[derive(Debug)]
pub struct Dhcp {
    pub network: Id,
    pub namespace: Namespace,
    pub leg: Leg,
    pub routes: Vec<RouteEntry>,
    pub server: Dnsmasq,
    pub metadata: bool,
}

/// A router.
#[derive(Debug)]
pub struct Router {
    pub id: Id,
    pub namespace: Namespace,
    /// Whether it is switched on. One that is off stays plugged, without addresses: it answers and forwards nothing.
    pub on: bool,
    pub legs: Vec<Leg>,
    /// The device outside.
    pub outside: Option<IfName>,
    pub routes: Vec<RouteEntry>,
    pub nat: Nat,
    pub radvd: Option<Radvd>,
    /// Ids of its floating addresses.
    pub floating: Vec<String>,
}

/// Makes the plan.
pub fn plan(state: &HostState, settings: &Settings) -> Plan {
    let mut plan = Plan::default();
    let outside = !settings.external_addresses.is_empty() || settings.external_interface.is_some();
    if settings.l3 && outside {
        let name = settings.external_bridge.clone();
        plan.bridges.insert(
            name.clone(),
            Bridge {
                name,
                mtu: 1500,
                external: true,
                network: None,
                tunnel: None,
            },
        );
    }
    let mut bridge_of = BTreeMap::new();
    for network in &state.networks {
        match bridge(network, settings) {
            Ok(bridge) => {
                bridge_of.insert(network.id.as_str(), bridge.name.clone());
                plan.bridges.insert(bridge.name.clone(), bridge);
            }
            Err(e) => plan.problems.push(format!("network {}: {e}", network.id)),
        }
    }
    let world = World {
        state,
        settings,
        bridge_of,
    };
    for port in &state.ports {
        if world.is_guest(port) {
            match world.guest(port) {
                Ok(guest) => plan.guests.push(guest),
                Err(e) => plan.problems.push(format!("port {}: {e}", port.id)),
            }
        }
    }
    for network in state.networks.iter().filter(|n| n.dhcp_here) {
        match world.dhcp(network) {
            Ok(Some(dhcp)) => plan.dhcp.push(dhcp),
            Ok(None) => {}
            Err(e) => plan
                .problems
                .push(format!("DHCP of network {}: {e}", network.id)),
        }
    }
    for router in &state.routers {
        match world.router(router, &mut plan.problems) {
            Ok(router) => plan.routers.push(router),
            Err(e) => plan.problems.push(format!("router {}: {e}", router.id)),
        }
    }
    firewall::build(state, &mut plan);
    plan
}

fn bridge(network: &NetworkState, settings: &Settings) -> Result<Bridge> {
    let id = Id::parse(&network.id)?;
    let own = |tunnel| Bridge {
        name: IfName::bridge(&id),
        mtu: network.mtu,
        external: false,
        network: Some(id.clone()),
        tunnel,
    };
    match network.network_type {
        NetworkType::Local => Ok(own(None)),
        NetworkType::Vxlan => {
            let vni = network.segmentation_id.filter(|v| (1..1 << 24).contains(v));
            let vni = vni.ok_or_else(|| Error::bad_request("a VXLAN network needs a number"))?;
            Ok(own(settings.local_ip.map(|local| Tunnel {
                name: IfName::vxlan(vni),
                vni,
                peers: network
                    .tunnel_peers
                    .iter()
                    .copied()
                    .filter(|p| *p != local)
                    .collect(),
            })))
        }
        NetworkType::Flat
            if network.physical_network.as_deref() == Some(&settings.physical_network) =>
        {
            Ok(Bridge {
                name: settings.external_bridge.clone(),
                mtu: network.mtu,
                external: true,
                network: Some(id),
                tunnel: None,
            })
        }
        other => Err(Error::bad_request(format!(
            "this host has no way to {other} networks on {:?}",
            network.physical_network
        ))),
    }
}

struct World<'a> {
    state: &'a HostState,
    settings: &'a Settings,
    bridge_of: BTreeMap<&'a str, IfName>,
}

impl World<'_> {
    fn is_guest(&self, port: &PortState) -> bool {
        !port.device_owner.starts_with("network:")
    }

    fn network(&self, id: &str) -> Result<&NetworkState> {
        let found = self.state.networks.iter().find(|n| n.id == id);
        found.ok_or_else(|| Error::not_found(format!("network {id} is not in the host's state")))
    }

    fn bridge(&self, network: &str) -> Result<IfName> {
        let found = self.bridge_of.get(network).cloned();
        found.ok_or_else(|| Error::not_found(format!("network {network} has no bridge here")))
    }

    fn port(&self, id: &str) -> Result<&PortState> {
        let found = self.state.ports.iter().find(|p| p.id == id);
        found.ok_or_else(|| Error::not_found(format!("port {id} is not in the host's state")))
    }

    fn guest(&self, port: &PortState) -> Result<Guest> {
        let id = Id::parse(&port.id)?;
        let bridge = self.bridge(&port.network_id)?;
        Ok(Guest {
            tap: IfName::tap(&id),
            bridge,
            mtu: self.network(&port.network_id)?.mtu,
            enabled: port.admin_state_up,
            port: id,
        })
    }

    fn leg(
        &self,
        port: &PortState,
        device: fn(&Id) -> IfName,
        addresses: Vec<IpNet>,
    ) -> Result<Leg> {
        let id = Id::parse(&port.id)?;
        Ok(Leg {
            tap: IfName::tap(&id),
            device: device(&id),
            bridge: self.bridge(&port.network_id)?,
            mac: Mac::parse(&port.mac_address)?,
            mtu: self.network(&port.network_id)?.mtu,
            addresses,
            port: id,
        })
    }

    fn dhcp(&self, network: &NetworkState) -> Result<Option<Dhcp>> {
        let served: Vec<&SubnetState> = network.subnets.iter().filter(|s| s.enable_dhcp).collect();
        let port = self
            .state
            .ports
            .iter()
            .find(|p| p.network_id == network.id && p.device_owner == "network:dhcp");
        let (Some(port), false) = (port, served.is_empty()) else {
            return Ok(None);
        };
        let id = Id::parse(&network.id)?;
        let own = |subnet: &SubnetState| {
            port.fixed_ips
                .iter()
                .find(|f| f.subnet_id == subnet.id)
                .map(|f| f.ip_address)
        };
        let mut addresses = Vec::new();
        let mut routes = Vec::new();
        let mut subnets = Vec::new();
        for subnet in &network.subnets {
            let Some(address) = own(subnet) else { continue };
            addresses.push(IpNet::new(address, subnet.cidr.prefix_len()).map_err(Error::internal)?);
            if !subnet.enable_dhcp || subnet.ipv6_address_mode.as_deref() == Some("slaac") {
                continue;
            }
            subnets.push(self.served(subnet, address)?);
        }
        let leg_device = IfName::dhcp(&Id::parse(&port.id)?);
        if let Some(gateway) = served
            .iter()
            .find_map(|s| s.gateway_ip.filter(|g| g.is_ipv4()))
        {
            routes.push(RouteEntry {
                destination: default_route(false),
                via: gateway,
                device: leg_device.to_string(),
            });
        }
        let metadata = self.settings.metadata_on_host
            && served
                .iter()
                .any(|s| s.isolated && own(s).is_some_and(|a| a.is_ipv4()));
        if metadata {
            addresses.push(metadata_net());
        }
        let namespace = Namespace::dhcp(&id);
        let leg = self.leg(port, IfName::dhcp, addresses)?;
        let server = Dnsmasq {
            namespace: namespace.clone(),
            interface: leg.device.clone(),
            folder: self.settings.state_path.join("dhcp").join(id.as_str()),
            domain: network.dns_domain.clone(),
            mtu: network.mtu,
            lease_seconds: self.settings.lease_seconds,
            forwarders: self.settings.forwarders.clone(),
            subnets,
            hosts: self.hosts(network)?,
        };
        Ok(Some(Dhcp {
            network: id,
            namespace,
            leg,
            routes,
            server,
            metadata,
        }))
    }

    fn served(&self, subnet: &SubnetState, own: IpAddr) -> Result<Subnet> {
        let mut routes: Vec<(IpNet, IpAddr)> = subnet
            .host_routes
            .iter()
            .map(|r| (r.destination, r.nexthop))
            .collect();
        if own.is_ipv4() && self.settings.metadata_on_host {
            let via = if subnet.isolated {
                Some(own)
            } else {
                subnet.gateway_ip
            };
            if let Some(via) = via
                && !routes.iter().any(|(to, _)| *to == metadata_net())
            {
                routes.push((metadata_net(), via));
            }
        }
        Ok(Subnet {
            id: Id::parse(&subnet.id)?,
            cidr: subnet.cidr.trunc(),
            gateway: subnet.gateway_ip,
            name_servers: subnet.dns_nameservers.clone(),
            routes,
        })
    }

    fn hosts(&self, network: &NetworkState) -> Result<Vec<Host>> {
        // Addresses that hosts make themselves are not handed out.
        let slaac = |id: &str| {
            let subnet = network.subnets.iter().find(|s| s.id == id);
            subnet.is_none_or(|s| {
                !s.enable_dhcp
                    || matches!(
                        s.ipv6_address_mode.as_deref(),
                        Some("slaac" | "dhcpv6-stateless")
                    )
            })
        };
        let mut hosts = Vec::new();
        for entry in self
            .state
            .dhcp_hosts
            .iter()
            .filter(|h| h.network_id == network.id)
        {
            hosts.push(Host {
                port: Id::parse(&entry.port_id)?,
                mac: Mac::parse(&entry.mac_address)?,
                addresses: entry
                    .fixed_ips
                    .iter()
                    .filter(|f| !slaac(&f.subnet_id))
                    .map(|f| f.ip_address)
                    .collect(),
                name: entry.hostname.clone(),
                options: entry
                    .extra_dhcp_opts
                    .iter()
                    .map(|o| (o.opt_name.clone(), o.opt_value.clone(), o.ip_version == 6))
                    .collect(),
            });
        }
        hosts.sort_by(|a, b| a.port.cmp(&b.port));
        Ok(hosts)
    }

    fn router(&self, router: &RouterState, problems: &mut Vec<String>) -> Result<Router> {
        let id = Id::parse(&router.id)?;
        let mut legs = Vec::new();
        let mut inside = Vec::new();
        let mut advertisements = Vec::new();
        for interface in &router.interfaces {
            let leg = self.port(&interface.port_id).and_then(|p| {
                Ok((
                    p,
                    self.leg(p, IfName::router_inside, interface.addresses.clone())?,
                ))
            });
            // A leg that is wrong must not take the whole router with it.
            let (port, leg) = match leg {
                Ok(leg) => leg,
                Err(e) => {
                    problems.push(format!(
                        "router {}, port {}: {e}",
                        router.id, interface.port_id
                    ));
                    continue;
                }
            };
            inside.extend(
                interface
                    .addresses
                    .iter()
                    .filter_map(|a| if let IpNet::V4(n) = a { Some(*n) } else { None }),
            );
            advertisements.extend(self.advertisement(port, &leg));
            legs.push(leg);
        }
        let mut routes = Vec::new();
        let mut nat = Nat {
            inside,
            ..Nat::default()
        };
        let mut outside = None;
        if let Some(gateway) = &router.gateway {
            let port = self.port(&gateway.port_id)?;
            let mut leg = self.leg(port, IfName::router_outside, gateway.addresses.clone())?;
            for floating in &router.floating_ips {
                leg.addresses
                    .push(IpNet::from(floating.floating_ip_address));
                if let (IpAddr::V4(outer), IpAddr::V4(inner)) =
                    (floating.floating_ip_address, floating.fixed_ip_address)
                {
                    nat.floating.push((outer, inner));
                }
            }
            for via in &gateway.nexthops {
                routes.push(RouteEntry {
                    destination: default_route(via.is_ipv6()),
                    via: *via,
                    device: leg.device.to_string(),
                });
            }
            let own = gateway.addresses.iter().find_map(|a| {
                if let IpNet::V4(n) = a {
                    Some(n.addr())
                } else {
                    None
                }
            });
            nat.snat = own.filter(|_| gateway.enable_snat);
            nat.outside = Some(leg.device.clone());
            outside = Some(leg.device.clone());
            legs.push(leg);
        }
        for route in &router.routes {
            let leg = legs
                .iter()
                .find(|l| l.addresses.iter().any(|a| a.contains(&route.nexthop)));
            match leg {
                Some(leg) => {
                    routes.retain(|r| r.destination != route.destination);
                    routes.push(RouteEntry {
                        destination: route.destination.trunc(),
                        via: route.nexthop,
                        device: leg.device.to_string(),
                    });
                }
                None => problems.push(format!(
                    "router {}: {} is not its neighbour",
                    router.id, route.nexthop
                )),
            }
        }
        let namespace = Namespace::router(&id);
        let floating = router.floating_ips.iter().map(|f| f.id.clone()).collect();
        if !router.admin_state_up {
            legs.iter_mut().for_each(|leg| leg.addresses.clear());
            return Ok(Router {
                id,
                namespace,
                on: false,
                legs,
                outside: None,
                routes: Vec::new(),
                nat: Nat::default(),
                radvd: None,
                floating,
            });
        }
        let folder = self.settings.state_path.join("routers").join(id.as_str());
        let radvd = (!advertisements.is_empty()).then(|| Radvd {
            namespace: namespace.clone(),
            folder,
            interfaces: advertisements,
        });
        Ok(Router {
            id,
            namespace,
            on: true,
            legs,
            outside,
            routes,
            nat,
            radvd,
            floating,
        })
    }

    fn advertisement(&self, port: &PortState, leg: &Leg) -> Option<Advertisement> {
        let network = self.network(&port.network_id).ok()?;
        let mut it = Advertisement {
            interface: leg.device.clone(),
            mtu: leg.mtu,
            prefixes: Vec::new(),
            managed: false,
            other: false,
            name_servers: Vec::new(),
        };
        for fixed in &port.fixed_ips {
            let Some(subnet) = network.subnets.iter().find(|s| s.id == fixed.subnet_id) else {
                continue;
            };
            let (Some(mode), IpNet::V6(prefix)) = (subnet.ipv6_ra_mode.as_deref(), subnet.cidr)
            else {
                continue;
            };
            it.prefixes.push((prefix, mode != "dhcpv6-stateful"));
            it.managed |= mode == "dhcpv6-stateful";
            it.other |= mode != "slaac";
            it.name_servers
                .extend(subnet.dns_nameservers.iter().filter_map(|a| {
                    if let IpAddr::V6(v) = a {
                        Some(*v)
                    } else {
                        None
                    }
                }));
        }
        (!it.prefixes.is_empty()).then_some(it)
    }
}

/// `169.254.169.254/32`.
pub fn metadata_net() -> IpNet {
    IpNet::from(IpAddr::from([169, 254, 169, 254]))
}

fn default_route(six: bool) -> IpNet {
    let any = if six {
        IpAddr::from([0u16; 8])
    } else {
        IpAddr::from([0u8; 4])
    };
    IpNet::new_assert(any, 0)
}

impl Plan {
    /// Every namespace.
    pub fn namespaces(&self) -> BTreeSet<Namespace> {
        let dhcp = self.dhcp.iter().map(|d| d.namespace.clone());
        dhcp.chain(self.routers.iter().map(|r| r.namespace.clone()))
            .collect()
    }

    /// Every device on the host's side that the agents make themselves.
    pub fn links(&self) -> BTreeSet<IfName> {
        let bridges = self.bridges.values().flat_map(|b| {
            std::iter::once(b.name.clone()).chain(b.tunnel.iter().map(|t| t.name.clone()))
        });
        bridges.chain(self.legs().map(|l| l.tap.clone())).collect()
    }

    /// Every leg of DHCP servers and routers.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.dhcp
            .iter()
            .map(|d| &d.leg)
            .chain(self.routers.iter().flat_map(|r| &r.legs))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
