//! The tables. Rows are as flat as SQL wants them; what the API calls an attribute is composed by the nouns.

pub mod concerned;
pub mod held;
pub mod revisions;

use base::{Json, Timestamp};
use oslo_db::Migration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The schema's history.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "2026-11-23-initial",
        sql: include_str!("../../migrations/2026-11-23-initial.sql"),
    },
    Migration {
        id: "2026-11-25-revisions",
        sql: include_str!("../../migrations/2026-11-25-revisions.sql"),
    },
];

/// First and last address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub start: String,
    pub end: String,
}

/// A route of a subnet's hosts or of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    pub destination: String,
    pub nexthop: String,
}

/// Further addresses of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPairRow {
    pub mac_address: String,
    pub ip_address: String,
}

/// A DHCP option of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptionRow {
    pub opt_name: String,
    pub opt_value: String,
    pub ip_version: i64,
}

oslo_db::table! {
    pub struct NetworkRow in "networks" {
        pub id: String, pub project_id: String, pub name: String, pub admin_state_up: bool, pub status: String,
        pub mtu: i64, pub external: bool, pub is_default: bool, pub port_security_enabled: bool, pub dns_domain: String,
        pub network_type: String, pub physical_network: Option<String>, pub segmentation_id: Option<i64>,
        pub availability_zone_hints: Json<Vec<String>>,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct SegmentRow in "network_segments" {
        pub network_type: String, pub physical_network: String, pub segmentation_id: i64, pub network_id: String,
    }

    pub struct SubnetRow in "subnets" {
        pub id: String, pub project_id: String, pub network_id: String, pub name: String, pub ip_version: i64, pub cidr: String,
        pub gateway_ip: Option<String>, pub enable_dhcp: bool, pub ipv6_ra_mode: Option<String>, pub ipv6_address_mode: Option<String>,
        pub allocation_pools: Json<Vec<Pool>>, pub dns_nameservers: Json<Vec<String>>, pub host_routes: Json<Vec<RouteRow>>,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct PortRow in "ports" {
        pub id: String, pub project_id: String, pub network_id: String, pub name: String, pub mac_address: String,
        pub admin_state_up: bool, pub status: String, pub device_id: String, pub device_owner: String,
        pub port_security_enabled: bool, pub dns_name: String, pub vnic_type: String, pub host: String,
        pub profile: Json<Map<String, Value>>, pub vif_type: String, pub vif_details: Json<Map<String, Value>>,
        pub allowed_address_pairs: Json<Vec<AddressPairRow>>, pub extra_dhcp_opts: Json<Vec<DhcpOptionRow>>,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    /// Where a port is: as much of its row as tunnels need.
    pub struct PortPlaceRow in "ports" { pub network_id: String, pub host: String }

    /// An agent's host and how it is configured.
    pub struct AgentEndRow in "neutron_agents" { pub host: String, pub configurations: Json<Map<String, Value>> }

    pub struct AllocationRow in "ip_allocations" {
        pub subnet_id: String, pub ip_address: String, pub network_id: String, pub port_id: String, pub position: i64,
    }

    pub struct PortGroupRow in "port_security_groups" { pub port_id: String, pub security_group_id: String }

    pub struct GroupRow in "security_groups" {
        pub id: String, pub project_id: String, pub name: String, pub stateful: bool,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct DefaultGroupRow in "default_security_groups" { pub project_id: String, pub security_group_id: String }

    pub struct RuleRow in "security_group_rules" {
        pub id: String, pub project_id: String, pub security_group_id: String, pub direction: String, pub ethertype: String,
        pub protocol: Option<String>, pub port_range_min: Option<i64>, pub port_range_max: Option<i64>,
        pub remote_ip_prefix: Option<String>, pub remote_group_id: Option<String>,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct RouterRow in "routers" {
        pub id: String, pub project_id: String, pub name: String, pub admin_state_up: bool, pub status: String,
        pub gw_port_id: Option<String>, pub enable_snat: bool, pub routes: Json<Vec<RouteRow>>,
        pub availability_zone_hints: Json<Vec<String>>,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct FloatingIpRow in "floatingips" {
        pub id: String, pub project_id: String, pub floating_network_id: String, pub floating_port_id: String,
        pub floating_ip_address: String, pub port_id: Option<String>, pub fixed_ip_address: Option<String>,
        pub router_id: Option<String>, pub status: String, pub dns_name: String, pub dns_domain: String,
        pub description: String, pub created_at: Timestamp, pub updated_at: Timestamp, pub revision_number: i64,
    }

    pub struct AgentRow in "neutron_agents" {
        pub id: String, pub agent_type: String, pub host: String, pub binary_name: String, pub topic: String,
        pub availability_zone: Option<String>, pub configurations: Json<Map<String, Value>>, pub admin_state_up: bool,
        pub description: Option<String>, pub created_at: Timestamp, pub started_at: Timestamp, pub heartbeat_at: Timestamp,
    }

    pub struct DhcpBindingRow in "dhcp_bindings" { pub network_id: String, pub agent_id: String }

    pub struct L3BindingRow in "l3_bindings" { pub router_id: String, pub agent_id: String }

    pub struct RbacRow in "rbac_policies" {
        pub id: String, pub project_id: String, pub object_type: String, pub object_id: String, pub action: String,
        pub target_project: String,
    }

    pub struct TagRow in "neutron_tags" { pub resource_id: String, pub tag: String }

    /// An agent's place and when it was heard of.
    pub struct AgentPlaceRow in "neutron_agents" { pub agent_type: String, pub host: String, pub heartbeat_at: Timestamp }

    /// The one row that is locked by what must not happen twice in a cloud, and is rare.
    pub struct CloudRow in "neutron_state" { pub id: i64, pub revision: i64 }
}
