//! The section `[neutron]`. Options keep upstream's names; what upstream spreads over DEFAULT, quotas and ml2 is one table here.

use std::time::Duration;

oslo_config::section! {
    /// The network service.
    pub struct Conf in "neutron" {
        /// Seconds without a heartbeat after which an agent is taken for dead.
        pub agent_down_time: i64 = 75,
        /// How many hosts a second each server tells of what is new on others: members of groups, ends of tunnels. Where a
        /// change concerns a thousand hosts it thus takes some seconds to reach all of them; what a host has to do itself is
        /// told at once.
        pub neighbour_notices_per_second: u32 = 100,
        /// Largest packet of the physical network.
        pub global_physnet_mtu: i64 = 1500,
        /// Kinds of network that projects get, the first that has room.
        pub tenant_network_types: Vec<String> = vec!["vxlan".to_string()],
        /// Physical networks on which flat networks may be made; `*` is any.
        pub flat_networks: Vec<String> = vec!["*".to_string()],
        /// `physical:low:high` ranges of VLANs for projects; a bare `physical` may be used by administrators.
        pub network_vlan_ranges: Vec<String> = Vec::<String>::new(),
        /// `low:high` ranges of VXLAN numbers for projects.
        pub vni_ranges: Vec<String> = vec!["1:65536".to_string()],
        /// The domain of ports' names.
        pub dns_domain: String = "openstacklocal".to_string(),
        /// Networks per project; -1 is unlimited.
        pub quota_network: i64 = 100,
        /// Subnets per project.
        pub quota_subnet: i64 = 100,
        /// Ports per project.
        pub quota_port: i64 = 500,
        /// Routers per project.
        pub quota_router: i64 = 10,
        /// Floating addresses per project.
        pub quota_floatingip: i64 = 50,
        /// Security groups per project.
        pub quota_security_group: i64 = 10,
        /// Rules per project.
        pub quota_security_group_rule: i64 = 100,
        /// Shares per project.
        pub quota_rbac_policy: i64 = 10,
        /// The identity service's public address, for `WWW-Authenticate`.
        pub www_authenticate_uri: String = "http://127.0.0.1:5000/".to_string(),
    }
}

impl Conf {
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_secs(1) / self.neighbour_notices_per_second.max(1)
    }

    pub(crate) fn agent_down_time(&self) -> Duration {
        Duration::from_secs(self.agent_down_time.max(1).unsigned_abs())
    }
}
