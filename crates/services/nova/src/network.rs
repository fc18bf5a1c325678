//! Neutron as nova needs it: which networks a user may use, ports for a guest, and what the guest is told of them.

use crate::db::instances::{CachedAddress, CachedPort};
use base::{Error, Kind, Result};
use neutron_types::rest::{
    FloatingIp, Network, Port, PortAddress, PortRequest, SecurityGroup, Subnet,
};
use oslo_context::RequestContext;
use sdk::{Caller, Sdk};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// A card as the user asked for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct RequestedNetwork {
    /// A network, on which nova makes the port.
    pub network_id: Option<String>,
    /// Or a port the user made.
    pub port_id: Option<String>,
    /// A fixed address on the network.
    pub fixed_ip: Option<String>,
    /// A device tag.
    pub tag: Option<String>,
}

/// Checks, with the user's own eyes, that every requested network and port may be used; fills in the network when
/// none was named (exactly one usable network), in upstream's words otherwise.
pub async fn check_requested(
    sdk: &Sdk,
    ctx: &RequestContext,
    requested: Option<Vec<RequestedNetwork>>,
    count: usize,
) -> Result<Vec<RequestedNetwork>> {
    let user = Caller::User(ctx);
    let neutron = sdk.neutron();
    let Some(requested) = requested else {
        let inner = [("router:external", "False"), ("admin_state_up", "True")];
        let networks = neutron.networks(user, &inner).await?;
        let usable: Vec<Network> = networks
            .into_iter()
            .filter(|n| !n.external && !n.subnets.is_empty())
            .filter(|n| n.shared || n.project_id == ctx.project())
            .collect();
        return match usable.as_slice() {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![RequestedNetwork {
                network_id: Some(one.id.clone()),
                ..Default::default()
            }]),
            _ => Err(Error::conflict(
                "Multiple possible networks found, use a Network ID to be more specific.",
            )
            .class("NetworkAmbiguous")),
        };
    };
    let ids: Vec<String> = requested
        .iter()
        .filter_map(|r| r.network_id.clone())
        .collect();
    if !ids.is_empty() {
        let networks = neutron.networks_by_id(user, &ids).await?;
        for id in &ids {
            let network = networks.iter().find(|n| n.id == *id);
            let Some(network) = network else {
                return Err(Error::bad_request(format!(
                    "Network {id} could not be found."
                )));
            };
            if network.external && !network.shared && !ctx.is_admin {
                return Err(Error::forbidden(format!(
                    "It is not allowed to create an interface on external network {id}"
                )));
            }
            if network.subnets.is_empty() {
                return Err(Error::bad_request(format!(
                    "Network {id} requires a subnet in order to boot instances on."
                )));
            }
        }
    }
    for request in requested.iter().filter(|r| r.port_id.is_some()) {
        let id = request.port_id.as_deref().unwrap_or("");
        let port = neutron.port(user, id).await.map_err(|e| match e.kind() {
            Kind::NotFound => Error::bad_request(format!("Port id {id} could not be found.")),
            _ => e,
        })?;
        if !port.device_id.is_empty() {
            return Err(Error::conflict(format!("Port {id} is still in use.")).class("PortInUse"));
        }
        if port.fixed_ips.is_empty() {
            return Err(Error::bad_request(format!(
                "Port {id} requires a FixedIP in order to be used."
            )));
        }
        if count > 1 {
            return Err(Error::bad_request(
                "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.",
            ));
        }
    }
    if count > 1 && requested.iter().any(|r| r.fixed_ip.is_some()) {
        return Err(Error::bad_request(
            "max_count cannot be greater than 1 if an fixed_ip is specified.",
        ));
    }
    Ok(requested)
}

/// Names or ids of security groups to ids, with the user's own eyes; none for the project's default alone, which
/// neutron gives by itself.
pub async fn resolve_groups(
    sdk: &Sdk,
    ctx: &RequestContext,
    names: &[String],
) -> Result<Vec<String>> {
    if names.is_empty() || names == ["default"] {
        return Ok(Vec::new());
    }
    let neutron = sdk.neutron();
    let found = neutron.security_group_ids(Caller::User(ctx), ctx.project(), names);
    found.await.map_err(|e| match e.kind() {
        Kind::NotFound => Error::bad_request(e.message()),
        _ => e,
    })
}

/// The ports of a server.
pub async fn ports_of(sdk: &Sdk, instance_id: &str) -> Result<Vec<Port>> {
    let devices = [instance_id.to_string()];
    sdk.neutron().ports_of(Caller::Service, &devices).await
}

/// Makes a port for a server. The caller has looked for ports that an earlier, interrupted try left behind.
pub async fn create_port(sdk: &Sdk, wanted: &NewPort<'_>) -> Result<Port> {
    let address = |ip: &str| {
        vec![PortAddress {
            subnet_id: None,
            ip_address: Some(ip.to_string()),
        }]
    };
    let groups = wanted.security_groups;
    let port = PortRequest {
        network_id: Some(wanted.network_id.to_string()),
        project_id: Some(wanted.project_id.to_string()),
        fixed_ips: wanted.fixed_ip.map(address),
        security_groups: (!groups.is_empty()).then(|| groups.to_vec()),
        ..binding(wanted.instance_id, wanted.host, wanted.zone)
    };
    sdk.neutron().create_port(Caller::Service, &port).await
}

/// Who has a port, and where.
fn binding(instance_id: &str, host: &str, zone: &str) -> PortRequest {
    PortRequest {
        device_id: Some(instance_id.to_string()),
        device_owner: Some(format!("compute:{zone}")),
        host: Some(host.to_string()),
        ..PortRequest::default()
    }
}

/// What [`create_port`] needs to know.
pub struct NewPort<'a> {
    /// The server.
    pub instance_id: &'a str,
    /// Its project, which owns the port and whose quota it takes.
    pub project_id: &'a str,
    /// The network.
    pub network_id: &'a str,
    /// A fixed address.
    pub fixed_ip: Option<&'a str>,
    /// The host that the guest runs on.
    pub host: &'a str,
    /// Its zone.
    pub zone: &'a str,
    /// Groups; none means the project's default.
    pub security_groups: &'a [String],
}

/// Gives an existing port to a server on a host.
pub async fn bind_port(
    sdk: &Sdk,
    id: &str,
    instance_id: &str,
    host: &str,
    zone: &str,
) -> Result<Port> {
    let port = binding(instance_id, host, zone);
    sdk.neutron().update_port(Caller::Service, id, &port).await
}

/// Takes a port away from a server; success if there is no such port.
pub async fn unbind_port(sdk: &Sdk, id: &str) -> Result<()> {
    let nobody = PortRequest {
        device_id: Some(String::new()),
        device_owner: Some(String::new()),
        host: Some(String::new()),
        ..PortRequest::default()
    };
    match sdk
        .neutron()
        .update_port(Caller::Service, id, &nobody)
        .await
    {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Deletes a port; success if there is none.
pub async fn delete_port(sdk: &Sdk, id: &str) -> Result<()> {
    sdk.neutron().delete_port(Caller::Service, id).await
}

/// What neutron says around some ports: four requests per hundred of them.
struct Surroundings {
    networks: HashMap<String, Network>,
    subnets: HashMap<String, Subnet>,
    floating: HashMap<String, Vec<FloatingIp>>,
}

async fn surroundings(sdk: &Sdk, ports: &[Port]) -> Result<Surroundings> {
    let (neutron, us) = (sdk.neutron(), Caller::Service);
    let ids: BTreeSet<String> = ports.iter().map(|p| p.network_id.clone()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let networks = neutron.networks_by_id(us, &ids).await?;
    let subnets = neutron.subnets_of(us, &ids).await?;
    let ids: Vec<String> = ports.iter().map(|p| p.id.clone()).collect();
    let mut floating: HashMap<String, Vec<FloatingIp>> = HashMap::new();
    match neutron.floating_ips_of(us, &ids).await {
        Ok(found) => {
            for f in found {
                let port = f.port_id.clone().unwrap_or_default();
                floating.entry(port).or_default().push(f);
            }
        }
        // A neutron without routers has no floating addresses.
        Err(e) if e.is_not_found() => {}
        Err(e) => return Err(e),
    }
    Ok(Surroundings {
        networks: networks.into_iter().map(|n| (n.id.clone(), n)).collect(),
        subnets: subnets.into_iter().map(|s| (s.id.clone(), s)).collect(),
        floating,
    })
}

/// Everything a guest and the API are told of some ports, whoever has them.
pub async fn describe(
    sdk: &Sdk,
    ports: &[Port],
    made: &[String],
    tags: &HashMap<String, String>,
) -> Result<Vec<CachedPort>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let around = surroundings(sdk, ports).await?;
    let view = |port: &Port| {
        let network = around.networks.get(&port.network_id);
        CachedPort {
            id: port.id.clone(),
            network_id: port.network_id.clone(),
            network_name: network.map(|n| n.name.clone()).unwrap_or_default(),
            mac: port.mac_address.clone(),
            mtu: network.map(|n| n.mtu).filter(|m| *m > 0).unwrap_or(1500),
            addresses: port
                .fixed_ips
                .iter()
                .map(|fixed| address(port, fixed, &around))
                .collect(),
            created_by_nova: made.contains(&port.id),
            vif_type: port.vif_type.clone(),
            tag: tags.get(&port.id).cloned(),
        }
    };
    Ok(ports.iter().map(view).collect())
}

fn address(port: &Port, fixed: &PortAddress, around: &Surroundings) -> CachedAddress {
    let subnet_id = fixed.subnet_id.clone().unwrap_or_default();
    let ip = fixed.ip_address.clone().unwrap_or_default();
    let floating = around
        .floating
        .get(&port.id)
        .into_iter()
        .flatten()
        .filter(|f| f.fixed_ip_address.as_deref() == Some(&ip))
        .map(|f| f.floating_ip_address.clone())
        .collect();
    let Some(subnet) = around.subnets.get(&subnet_id) else {
        return CachedAddress {
            version: if ip.contains(':') { 6 } else { 4 },
            ip,
            subnet_id,
            floating,
            ..CachedAddress::default()
        };
    };
    CachedAddress {
        ip,
        version: subnet.ip_version,
        subnet_id,
        cidr: subnet.cidr.clone(),
        gateway: subnet.gateway_ip.clone(),
        dns: subnet.dns_nameservers.clone(),
        dhcp: subnet.enable_dhcp,
        floating,
    }
}

/// The port as a compute host needs it.
pub fn spec(port: &CachedPort) -> nova_types::rpc::PortSpec {
    nova_types::rpc::PortSpec {
        id: port.id.clone(),
        network_id: port.network_id.clone(),
        mac: port.mac.clone(),
        mtu: port.mtu,
        addresses: port
            .addresses
            .iter()
            .map(|a| nova_types::rpc::AddressSpec {
                ip: a.ip.clone(),
                cidr: a.cidr.clone(),
                gateway: a.gateway.clone(),
                dns: a.dns.clone(),
                routes: Vec::new(),
                dhcp: a.dhcp,
            })
            .collect(),
        vif_type: port.vif_type.clone(),
        tag: port.tag.clone(),
    }
}

/// The security groups of ports.
pub async fn groups_of(sdk: &Sdk, ports: &[Port]) -> Result<Vec<SecurityGroup>> {
    let ids: BTreeSet<String> = ports
        .iter()
        .flat_map(|p| p.security_groups.clone())
        .collect();
    let ids: Vec<String> = ids.into_iter().collect();
    sdk.neutron()
        .security_groups_by_id(Caller::Service, &ids)
        .await
}

/// Their names, for `security_groups` in replies.
pub async fn group_names(sdk: &Sdk, ports: &[Port]) -> Result<Vec<String>> {
    let groups = groups_of(sdk, ports).await?;
    Ok(groups.into_iter().map(|g| g.name).collect())
}

/// Adds a group to, or takes it from, every port of a server.
pub async fn change_group(sdk: &Sdk, ports: &[Port], group_id: &str, add: bool) -> Result<bool> {
    let mut changed = false;
    for port in ports {
        let has = port.security_groups.iter().any(|g| g == group_id);
        if has == add {
            continue;
        }
        let mut groups = port.security_groups.clone();
        if add {
            groups.push(group_id.to_string());
        } else {
            groups.retain(|g| g != group_id);
        }
        let change = PortRequest {
            security_groups: Some(groups),
            ..PortRequest::default()
        };
        let neutron = sdk.neutron();
        neutron
            .update_port(Caller::Service, &port.id, &change)
            .await?;
        changed = true;
    }
    Ok(changed)
}
