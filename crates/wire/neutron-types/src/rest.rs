//! Bodies of the REST API, as far as other services read them. Unknown attributes are passed over; what a caller may not
//! see is absent.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub project_id: String,
    /// Whether the caller may use it because somebody shares it.
    pub shared: bool,
    /// `router:external`.
    #[serde(rename = "router:external")]
    pub external: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Ids of its subnets.
    pub subnets: Vec<String>,
    /// Whether ports get port security unless they say otherwise.
    pub port_security_enabled: bool,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its network.
    pub network_id: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// Its addresses.
    pub cidr: String,
    /// Its router.
    pub gateway_ip: Option<String>,
    /// Whether DHCP is served.
    pub enable_dhcp: bool,
    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless` or nothing.
    pub ipv6_address_mode: Option<String>,
    /// Name servers.
    pub dns_nameservers: Vec<String>,
    /// Routes that hosts are told of.
    pub host_routes: Vec<HostRoute>,
}

/// A route that hosts of a subnet are told of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: String,
    /// By which neighbour.
    pub nexthop: String,
}

/// An address of a port. In requests either may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortAddress {
    /// The subnet it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network_id: String,
    /// Who owns it.
    pub project_id: String,
    /// Its hardware address.
    pub mac_address: String,
    /// Its addresses.
    pub fixed_ips: Vec<PortAddress>,
    /// `ACTIVE` once the agent of its host has wired it, else `DOWN`.
    pub status: String,
    /// Whether it may forward.
    pub admin_state_up: bool,
    /// The instance or router that has it.
    pub device_id: String,
    /// `compute:nova`, `network:dhcp`, …
    pub device_owner: String,
    /// Its groups.
    pub security_groups: Vec<String>,
    /// Where it is bound.
    #[serde(rename = "binding:host_id")]
    pub host: String,
    /// `bridge`, `unbound`, `binding_failed`.
    #[serde(rename = "binding:vif_type")]
    pub vif_type: String,
    /// How it is plugged there.
    #[serde(rename = "binding:vif_details")]
    pub vif_details: Map<String, Value>,
    /// `normal` unless hardware is wanted.
    #[serde(rename = "binding:vnic_type")]
    pub vnic_type: String,
    /// What the binding's owner noted.
    #[serde(rename = "binding:profile")]
    pub profile: Map<String, Value>,
}

/// What to create or to change of a port; absent is "as it is".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRequest {
    /// The network, when it is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
    /// For whom, when it is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Its addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_ips: Option<Vec<PortAddress>>,
    /// Who has it; `""` is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What kind of thing has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_owner: Option<String>,
    /// Its groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    /// The name DHCP and DNS give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Where to bind it; `""` unbinds.
    #[serde(rename = "binding:host_id", skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the binding's owner notes.
    #[serde(rename = "binding:profile", skip_serializing_if = "Option::is_none")]
    pub profile: Option<Map<String, Value>>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name, not unique.
    pub name: String,
    /// Who owns it.
    pub project_id: String,
    /// Words.
    pub description: String,
    /// What it lets through.
    pub security_group_rules: Vec<SecurityGroupRule>,
}

/// What a security group lets through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroupRule {
    /// Its id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its group.
    pub security_group_id: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// `tcp`, `udp`, `icmp`, …; none is every protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The first port, or ICMP's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<i64>,
    /// The last port, or ICMP's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<i64>,
    /// Whom it is about: addresses,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip_prefix: Option<String>,
    /// or the members of a group; everybody if neither is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_group_id: Option<String>,
}

/// A floating address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloatingIp {
    /// Its id.
    pub id: String,
    /// Who owns it.
    pub project_id: String,
    /// The address.
    pub floating_ip_address: String,
    /// Where it leads: the port,
    pub port_id: Option<String>,
    /// and the port's address.
    pub fixed_ip_address: Option<String>,
}
