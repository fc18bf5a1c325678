//! Neutron as nova needs it: which networks a user may use, ports for a guest, and what the guest is told of them.

use crate::db::instances::{CachedAddress, CachedPort};
use base::{Error, Kind, Result};
use oslo_context::RequestContext;
use oslo_http::percent_encode;
use sdk::{Caller, Method, Sdk};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;

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

#[derive(Deserialize)]
struct Network {
    id: String,
    name: String,
    #[serde(default)]
    mtu: Option<u32>,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    project_id: Option<String>,
    #[serde(default, rename = "router:external")]
    external: bool,
    #[serde(default)]
    subnets: Vec<String>,
}

/// Neutron's port, as far as nova looks.
#[derive(Clone, Debug, Deserialize)]
pub struct Port {
    /// Id.
    pub id: String,
    /// Its network.
    pub network_id: String,
    /// MAC.
    pub mac_address: String,
    /// Addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// `ACTIVE` once the L2 agent wired it.
    #[serde(default)]
    pub status: String,
    /// The server that has it.
    #[serde(default)]
    pub device_id: String,
    /// `bridge`, `binding_failed`, …
    #[serde(default, rename = "binding:vif_type")]
    pub vif_type: Option<String>,
    /// Owner.
    #[serde(default)]
    pub project_id: Option<String>,
    /// What nova noted when it made the port.
    #[serde(default)]
    pub name: String,
    /// The port's security groups.
    #[serde(default)]
    pub security_groups: Vec<String>,
}

/// An address of a port.
#[derive(Clone, Debug, Deserialize)]
pub struct FixedIp {
    /// Its subnet.
    pub subnet_id: String,
    /// The address.
    pub ip_address: String,
}

#[derive(Deserialize)]
struct Subnet {
    id: String,
    cidr: String,
    #[serde(default)]
    gateway_ip: Option<String>,
    #[serde(default)]
    dns_nameservers: Vec<String>,
    #[serde(default)]
    enable_dhcp: bool,
    #[serde(default)]
    ip_version: u8,
}

#[derive(Deserialize)]
struct FloatingIp {
    floating_ip_address: String,
    #[serde(default)]
    fixed_ip_address: Option<String>,
    #[serde(default)]
    port_id: Option<String>,
}

async fn list<T: serde::de::DeserializeOwned>(
    sdk: &Sdk,
    caller: Caller<'_>,
    plural: &str,
    query: &str,
) -> Result<Vec<T>> {
    let path = format!("/v2.0/{plural}?{query}");
    sdk.request(caller, "network", Method::GET, &path, None)
        .await?
        .key(&plural.replace('-', "_"))
}

fn or_query(name: &str, values: &[String]) -> String {
    values
        .iter()
        .map(|v| format!("{name}={}", percent_encode(v)))
        .collect::<Vec<_>>()
        .join("&")
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
    let Some(requested) = requested else {
        let networks: Vec<Network> = list(
            sdk,
            user,
            "networks",
            "router:external=False&admin_state_up=True",
        )
        .await?;
        let usable: Vec<Network> = networks
            .into_iter()
            .filter(|n| !n.external && !n.subnets.is_empty())
            .filter(|n| n.shared || n.project_id.as_deref() == ctx.project_id.as_deref())
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
        let networks: Vec<Network> = list(sdk, user, "networks", &or_query("id", &ids)).await?;
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
        let port = get_port(sdk, user, id).await.map_err(|e| match e.kind() {
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

/// Names or ids of security groups to ids, with the user's own eyes.
pub async fn resolve_groups(
    sdk: &Sdk,
    ctx: &RequestContext,
    names: &[String],
) -> Result<Vec<String>> {
    if names.is_empty() || names == ["default"] {
        return Ok(Vec::new());
    }
    #[derive(Deserialize)]
    struct Group {
        id: String,
        name: String,
    }
    let query = format!("project_id={}", percent_encode(ctx.project()));
    let groups: Vec<Group> = list(sdk, Caller::User(ctx), "security-groups", &query).await?;
    let mut ids = Vec::new();
    for name in names {
        let by_id = groups.iter().find(|g| g.id == *name);
        let by_name: Vec<&Group> = groups.iter().filter(|g| g.name == *name).collect();
        let group = match (by_id, by_name.as_slice()) {
            (Some(g), _) => g,
            (None, [g]) => *g,
            (None, []) => {
                return Err(Error::bad_request(format!(
                    "Security group {name} not found for project {}.",
                    ctx.project()
                )));
            }
            (None, _) => {
                return Err(Error::conflict(format!(
                    "Multiple security groups found matching '{name}'. Use an ID to be more specific."
                )));
            }
        };
        if !ids.contains(&group.id) {
            ids.push(group.id.clone());
        }
    }
    Ok(ids)
}

/// One port.
pub async fn get_port(sdk: &Sdk, caller: Caller<'_>, id: &str) -> Result<Port> {
    sdk.request(
        caller,
        "network",
        Method::GET,
        &format!("/v2.0/ports/{}", percent_encode(id)),
        None,
    )
    .await?
    .key("port")
}

/// The ports of a server.
pub async fn ports_of(sdk: &Sdk, instance_id: &str) -> Result<Vec<Port>> {
    list(
        sdk,
        Caller::Service,
        "ports",
        &format!("device_id={}", percent_encode(instance_id)),
    )
    .await
}

/// Makes a port for a server. The caller has looked for ports that an earlier, interrupted try left behind.
pub async fn create_port(sdk: &Sdk, wanted: &NewPort<'_>) -> Result<Port> {
    let mut port = json!({
        "network_id": wanted.network_id,
        "project_id": wanted.project_id,
        "device_id": wanted.instance_id,
        "device_owner": format!("compute:{}", wanted.zone),
        "binding:host_id": wanted.host,
        "admin_state_up": true,
    });
    if let Some(ip) = wanted.fixed_ip {
        port["fixed_ips"] = json!([{"ip_address": ip}]);
    }
    if !wanted.security_groups.is_empty() {
        port["security_groups"] = json!(wanted.security_groups);
    }
    sdk.request(
        Caller::Service,
        "network",
        Method::POST,
        "/v2.0/ports",
        Some(json!({"port": port})),
    )
    .await?
    .key("port")
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
    let body = json!({"port": {"device_id": instance_id, "device_owner": format!("compute:{zone}"), "binding:host_id": host}});
    sdk.request(
        Caller::Service,
        "network",
        Method::PUT,
        &format!("/v2.0/ports/{id}"),
        Some(body),
    )
    .await?
    .key("port")
}

/// Takes a port away from a server; success if there is no such port.
pub async fn unbind_port(sdk: &Sdk, id: &str) -> Result<()> {
    let body = json!({"port": {"device_id": "", "device_owner": "", "binding:host_id": ""}});
    gone_is_fine(
        sdk.request(
            Caller::Service,
            "network",
            Method::PUT,
            &format!("/v2.0/ports/{id}"),
            Some(body),
        )
        .await,
    )
}

/// Deletes a port; success if there is none.
pub async fn delete_port(sdk: &Sdk, id: &str) -> Result<()> {
    gone_is_fine(
        sdk.request(
            Caller::Service,
            "network",
            Method::DELETE,
            &format!("/v2.0/ports/{id}"),
            None,
        )
        .await,
    )
}

fn gone_is_fine<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(e) if e.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Everything a guest and the API are told of some ports: four requests, however many ports.
pub async fn describe(
    sdk: &Sdk,
    ports: &[Port],
    made: &[String],
    tags: &HashMap<String, String>,
) -> Result<Vec<CachedPort>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let unique = |mut v: Vec<String>| {
        v.sort();
        v.dedup();
        v
    };
    let network_ids = unique(ports.iter().map(|p| p.network_id.clone()).collect());
    let networks: Vec<Network> = list(
        sdk,
        Caller::Service,
        "networks",
        &or_query("id", &network_ids),
    )
    .await?;
    let subnet_ids = unique(
        ports
            .iter()
            .flat_map(|p| p.fixed_ips.iter().map(|f| f.subnet_id.clone()))
            .collect(),
    );
    let subnets: Vec<Subnet> = if subnet_ids.is_empty() {
        Vec::new()
    } else {
        list(
            sdk,
            Caller::Service,
            "subnets",
            &or_query("id", &subnet_ids),
        )
        .await?
    };
    let port_ids: Vec<String> = ports.iter().map(|p| p.id.clone()).collect();
    let floating: Vec<FloatingIp> = list(
        sdk,
        Caller::Service,
        "floatingips",
        &or_query("port_id", &port_ids),
    )
    .await
    .unwrap_or_default();
    let mut cached = Vec::new();
    for port in ports {
        let network = networks.iter().find(|n| n.id == port.network_id);
        let mut addresses = Vec::new();
        for fixed in &port.fixed_ips {
            let subnet = subnets.iter().find(|s| s.id == fixed.subnet_id);
            let leads_here = |f: &&FloatingIp| {
                f.port_id.as_deref() == Some(&port.id)
                    && f.fixed_ip_address.as_deref() == Some(&fixed.ip_address)
            };
            addresses.push(CachedAddress {
                ip: fixed.ip_address.clone(),
                version: subnet.map_or(4, |s| s.ip_version),
                subnet_id: fixed.subnet_id.clone(),
                cidr: subnet.map(|s| s.cidr.clone()).unwrap_or_default(),
                gateway: subnet.and_then(|s| s.gateway_ip.clone()),
                dns: subnet
                    .map(|s| s.dns_nameservers.clone())
                    .unwrap_or_default(),
                dhcp: subnet.is_some_and(|s| s.enable_dhcp),
                floating: floating
                    .iter()
                    .filter(leads_here)
                    .map(|f| f.floating_ip_address.clone())
                    .collect(),
            });
        }
        cached.push(CachedPort {
            id: port.id.clone(),
            network_id: port.network_id.clone(),
            network_name: network.map(|n| n.name.clone()).unwrap_or_default(),
            mac: port.mac_address.clone(),
            mtu: network.and_then(|n| n.mtu).unwrap_or(1500),
            addresses,
            created_by_nova: made.contains(&port.id),
            vif_type: port.vif_type.clone().unwrap_or_default(),
            tag: tags.get(&port.id).cloned(),
        });
    }
    Ok(cached)
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

/// Names of the groups of a server's ports, for `security_groups` in replies.
pub async fn group_names(sdk: &Sdk, ports: &[Port]) -> Result<Vec<String>> {
    let mut ids: Vec<String> = ports
        .iter()
        .flat_map(|p| p.security_groups.clone())
        .collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let groups: Vec<Value> = list(
        sdk,
        Caller::Service,
        "security-groups",
        &or_query("id", &ids),
    )
    .await?;
    Ok(groups
        .iter()
        .filter_map(|g| g["name"].as_str().map(str::to_string))
        .collect())
}

/// The security groups of a server's ports, whole.
pub async fn groups_of(sdk: &Sdk, instance_id: &str) -> Result<Vec<Value>> {
    let mut ids: Vec<String> = ports_of(sdk, instance_id)
        .await?
        .into_iter()
        .flat_map(|p| p.security_groups)
        .collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    list(
        sdk,
        Caller::Service,
        "security-groups",
        &or_query("id", &ids),
    )
    .await
}

/// Adds a group to, or takes it from, every port of a server.
pub async fn change_group(sdk: &Sdk, instance_id: &str, group_id: &str, add: bool) -> Result<bool> {
    let mut changed = false;
    for port in ports_of(sdk, instance_id).await? {
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
        let body = json!({"port": {"security_groups": groups}});
        sdk.request(
            Caller::Service,
            "network",
            Method::PUT,
            &format!("/v2.0/ports/{}", port.id),
            Some(body),
        )
        .await?;
        changed = true;
    }
    Ok(changed)
}
