//! What the neutron server and its agents say to each other.
//!
//! Agents are level-triggered: [`PluginApi::host_state`] is the whole truth about one host, and an agent makes the host
//! equal to it from any starting point. [`AgentApi::state_changed`] only wakes it sooner; a lost one costs seconds.
//! A host depends on a few dozen topics; while their revisions stand still, so does its state, and asking costs one query.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How often each topic that somebody depends on has moved. A topic is one piece of what hosts have to do ("the ports of that
/// host", "who is in that group"); only its server knows what its name means.
pub type Revisions = BTreeMap<String, i64>;

oslo_messaging::interface! {
    /// The server's side, asked by agents (upstream's `q-plugin` topic).
    pub trait PluginApi, client PluginClient, topic "q-plugin", exchange "neutron", version "2.0" {
        /// What is new for `host` since the topics that it depends on had the revisions `known`; with none known, all.
        call fn host_state(&self, host: String, known: Option<Revisions>) -> HostNews;
        /// Which ports are in place and which are not, on one host or more.
        call fn ports_status(&self, reports: Vec<PortsReport>) -> ();
        /// Which floating addresses are in place.
        call fn floatingips_status(&self, host: String, statuses: Vec<FloatingIpStatus>) -> ();
        /// Heartbeats of all agents of a process, which nearly always is one host's.
        call fn report_agents(&self, hosts: Vec<HostReport>) -> ();
        /// Whose fixed address this is, seen from a network or from a router. `None` if nobody's, or not one instance's.
        call fn metadata_lookup(&self, source: MetadataSource, address: IpAddr) -> Option<MetadataOwner>;
    }
}

oslo_messaging::interface! {
    /// The agents' side. Each agent listens by its own name ([`agent_server`]), so that who is not concerned is not woken.
    pub trait AgentApi, client AgentClient, topic "neutron-agent", exchange "neutron", version "2.0" {
        /// These topics have moved, to these revisions where the server says so (0 where it does not): ask what is new.
        cast fn state_changed(&self, moved: Revisions);
    }
}

/// The agents that are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentKind {
    /// Layer 2: every host has it.
    L2,
    /// DHCP.
    Dhcp,
    /// Layer 3.
    L3,
    /// Metadata.
    Metadata,
}

/// The name under which an agent of a host listens. They may be processes of their own.
pub fn agent_server(host: &str, kind: AgentKind) -> String {
    match kind {
        AgentKind::L2 => host.to_string(),
        AgentKind::Dhcp => format!("{host}:dhcp"),
        AgentKind::L3 => format!("{host}:l3"),
        AgentKind::Metadata => format!("{host}:metadata"),
    }
}

/// What is new for a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostNews {
    /// Nothing.
    Nothing,
    /// Only what others contribute; of large groups and networks that moves often.
    Around(Around),
    /// All there is.
    All(HostState),
}

/// The parts of a [`HostState`] that follow from what happens on other hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Around {
    /// Replaces those of the state.
    pub revisions: Revisions,
    /// Entries of [`HostState::remote_groups`] that are different now.
    pub remote_groups: BTreeMap<String, Vec<IpNet>>,
    /// [`NetworkState::tunnel_peers`] of networks where they are different now.
    pub tunnel_peers: BTreeMap<String, Vec<IpAddr>>,
}

/// What an agent says of ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortsReport {
    /// Where.
    pub host: String,
    /// These are plugged, filtered and forwarding there.
    pub up: Vec<String>,
    /// These, though wanted there, have no device (any more).
    pub down: Vec<String>,
}

/// The heartbeats of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// Which.
    pub host: String,
    /// Of those of its agents that are in this process.
    pub agents: Vec<AgentReport>,
}

/// Everything one host has to do for the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostState {
    /// What all this depends on, as it was then. While none of it moves, the state is the same.
    pub revisions: Revisions,
    /// Networks of which any port, DHCP server or router leg is on this host.
    pub networks: Vec<NetworkState>,
    /// Ports bound to this host (guests', `network:dhcp`, router legs), and no others.
    pub ports: Vec<PortState>,
    /// Every port of networks that this host serves DHCP for, wherever it is bound (host entries of dnsmasq).
    pub dhcp_hosts: Vec<DhcpHost>,
    /// Groups named by `ports`.
    pub security_groups: Vec<SecurityGroupState>,
    /// Member addresses of each group (or address group) that a rule of `security_groups` names as remote.
    pub remote_groups: BTreeMap<String, Vec<IpNet>>,
    /// Routers scheduled to this host.
    pub routers: Vec<RouterState>,
    /// After how many seconds to ask again without being woken: the more hosts there are, the longer. 0 leaves it to the agent.
    pub look_again_secs: u64,
}

base::str_enum! {
    /// How a network's frames travel between hosts.
    pub enum NetworkType {
        /// They do not.
        Local = "local",
        /// Untagged on a physical network.
        Flat = "flat",
        /// Tagged on a physical network.
        Vlan = "vlan",
        /// In VXLAN tunnels.
        Vxlan = "vxlan",
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkState {
    /// Its id.
    pub id: String,
    /// `provider:network_type`.
    pub network_type: NetworkType,
    /// `provider:physical_network`.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// `provider:segmentation_id`.
    #[serde(default)]
    pub segmentation_id: Option<u32>,
    /// Largest packet.
    pub mtu: u32,
    /// Domain that DHCP hands out.
    #[serde(default)]
    pub dns_domain: String,
    /// `router:external`.
    #[serde(default)]
    pub external: bool,
    /// Whether this host serves DHCP for it (then one of `ports` has owner `network:dhcp`).
    #[serde(default)]
    pub dhcp_here: bool,
    /// Its subnets.
    #[serde(default)]
    pub subnets: Vec<SubnetState>,
    /// Tunnel addresses of the other hosts that have a port of it, if it travels in tunnels.
    #[serde(default)]
    pub tunnel_peers: Vec<IpAddr>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetState {
    /// Its id.
    pub id: String,
    /// Its addresses.
    pub cidr: IpNet,
    /// Its router.
    #[serde(default)]
    pub gateway_ip: Option<IpAddr>,
    /// Whether DHCP is served.
    #[serde(default)]
    pub enable_dhcp: bool,
    /// Name servers to hand out.
    #[serde(default)]
    pub dns_nameservers: Vec<IpAddr>,
    /// Routes to hand out.
    #[serde(default)]
    pub host_routes: Vec<Route>,
    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless` or nothing.
    #[serde(default)]
    pub ipv6_ra_mode: Option<String>,
    /// As above.
    #[serde(default)]
    pub ipv6_address_mode: Option<String>,
    /// First and last address of each pool.
    #[serde(default)]
    pub allocation_pools: Vec<(IpAddr, IpAddr)>,
    /// No router holds its gateway address: metadata is served from the DHCP namespace.
    #[serde(default)]
    pub isolated: bool,
}

/// A route of a subnet's hosts or of a router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which neighbour.
    pub nexthop: IpAddr,
}

/// An address of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet it is from.
    pub subnet_id: String,
    /// The address.
    pub ip_address: IpAddr,
}

/// Further addresses a guest may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressPair {
    /// The port's own if `None`.
    #[serde(default)]
    pub mac_address: Option<String>,
    /// Address or range.
    pub ip_address: IpNet,
}

/// An extra DHCP option of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DhcpOption {
    /// Name or number, as dnsmasq knows it.
    pub opt_name: String,
    /// Its value.
    pub opt_value: String,
    /// 4 or 6.
    pub ip_version: u8,
}

/// A port bound to the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortState {
    /// Its id.
    pub id: String,
    /// Its network.
    pub network_id: String,
    /// Its hardware address.
    pub mac_address: String,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// The instance, router or DHCP server it belongs to.
    pub device_id: String,
    /// `compute:nova`, `network:dhcp`, `network:router_interface`, `network:router_gateway`, …
    pub device_owner: String,
    /// Whether it may forward.
    pub admin_state_up: bool,
    /// Its groups.
    pub security_groups: Vec<String>,
    /// Whether groups and anti-spoofing apply.
    pub port_security_enabled: bool,
    /// Further addresses it may use.
    pub allowed_address_pairs: Vec<AddressPair>,
    /// The server believes that it is in place. If it is and the server does not, say so again.
    pub active: bool,
}

/// A host entry of dnsmasq.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DhcpHost {
    /// The port.
    pub port_id: String,
    /// Its network.
    pub network_id: String,
    /// Its hardware address.
    pub mac_address: String,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// `dns_name`; `host-10-0-0-5` is made up if empty.
    pub hostname: String,
    /// `extra_dhcp_opts`.
    pub extra_dhcp_opts: Vec<DhcpOption>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupState {
    /// Its id.
    pub id: String,
    /// Whether answers to allowed packets are allowed.
    #[serde(default = "yes")]
    pub stateful: bool,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<RuleState>,
}

fn yes() -> bool {
    true
}

base::str_enum! {
    /// Seen from the guest.
    pub enum Direction {
        /// To the guest.
        Ingress = "ingress",
        /// From the guest.
        Egress = "egress",
    }
}

/// A rule of a security group: it allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// To or from the guest.
    pub direction: Direction,
    /// 4 or 6.
    pub ip_version: u8,
    /// Name or number; `None` is any.
    #[serde(default)]
    pub protocol: Option<String>,
    /// First port, or ICMP type.
    #[serde(default)]
    pub port_range_min: Option<i64>,
    /// Last port, or ICMP code.
    #[serde(default)]
    pub port_range_max: Option<i64>,
    /// The other end's addresses.
    #[serde(default)]
    pub remote_ip_prefix: Option<IpNet>,
    /// The other end's group (or address group): a key of [`HostState::remote_groups`].
    #[serde(default)]
    pub remote_group_id: Option<String>,
}

/// A router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterState {
    /// Its id.
    pub id: String,
    /// Whether it routes.
    pub admin_state_up: bool,
    /// Its legs inside.
    pub interfaces: Vec<RouterInterface>,
    /// Its leg outside.
    pub gateway: Option<RouterGateway>,
    /// Floating addresses that lead to ports behind it.
    pub floating_ips: Vec<FloatingIpState>,
    /// `routes`.
    pub routes: Vec<Route>,
}

/// A leg of a router in a project's network; its port is in [`HostState::ports`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouterInterface {
    /// The port.
    pub port_id: String,
    /// Its addresses with the prefix of their subnets.
    pub addresses: Vec<IpNet>,
}

/// The leg of a router in the external network; its port is in [`HostState::ports`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouterGateway {
    /// The port.
    pub port_id: String,
    /// The external network.
    pub network_id: String,
    /// Its addresses with the prefix of their subnets.
    pub addresses: Vec<IpNet>,
    /// Gateways of those subnets.
    pub nexthops: Vec<IpAddr>,
    /// Whether guests without a floating address go out under the router's.
    pub enable_snat: bool,
}

/// A floating address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIpState {
    /// Its id.
    pub id: String,
    /// The address outside.
    pub floating_ip_address: IpAddr,
    /// The address inside.
    pub fixed_ip_address: IpAddr,
    /// The port inside.
    pub port_id: String,
}

/// Whether a floating address is in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIpStatus {
    /// Its id.
    pub id: String,
    /// `ACTIVE`, `DOWN` or `ERROR`.
    pub status: String,
}

/// Heartbeat of one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentReport {
    /// `Linux bridge agent`, `DHCP agent`, `L3 agent`, `Metadata agent`.
    pub agent_type: String,
    /// `neutron-linuxbridge-agent`, …
    pub binary: String,
    /// `N/A`, `dhcp_agent`, `l3_agent`.
    pub topic: String,
    /// `nova` unless configured.
    pub availability_zone: Option<String>,
    /// Free-form, shown by `network agent show`.
    pub configurations: Map<String, Value>,
    /// First report since the agent's start.
    pub start_flag: bool,
}

/// Where a metadata request came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataSource {
    /// In a router's namespace.
    Router(String),
    /// In the DHCP namespace of an isolated network.
    Network(String),
}

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetadataOwner {
    /// The instance.
    pub instance_id: String,
    /// Its project.
    pub project_id: String,
}
