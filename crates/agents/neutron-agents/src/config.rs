//! The `[neutron_agents]` section, and the same as checked types.

use crate::nova::Nova;
use base::{Error, Result, Secret};
use host_netns::{IfName, Tag};
use ipnet::IpNet;
use neutron_types::rpc::AgentKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

oslo_config::section! {
    /// Neutron's agents on this host: bridges and security groups, DHCP, routers, metadata.
    pub struct NeutronAgentsConf in "neutron_agents" {
        /// Name of this host in the cloud; empty means the machine's own.
        pub host: String = String::new(),
        /// Which agents run here: `l2`, `dhcp`, `l3`, `metadata`.
        pub agents: Vec<String> = vec!["l2".into(), "dhcp".into(), "l3".into(), "metadata".into()],
        /// `bridge` (kernel bridges, VXLAN, nft) or `fake` (touches nothing).
        pub l2_driver: String = "bridge".into(),
        /// How many hosts this process stands for, to see how a large cloud behaves: `HOST-1` to `HOST-N`, each with its own
        /// name on the bus and its own heartbeat. Only the driver `fake` makes several hosts of one. With 1 it is `HOST` itself.
        pub fake_hosts: u32 = 1,
        /// Where the agents keep their files.
        pub state_path: PathBuf = "/var/lib/ferrostack/neutron".into(),
        /// Tells several clouds on one machine apart: names of nft tables, alias of devices.
        pub tag: String = "default".into(),
        /// Bridge of the external network; made if it is not there.
        pub external_bridge: String = "br-ex".into(),
        /// The physical network that this bridge is.
        pub physical_network: String = "public".into(),
        /// The host's interface to the outside, which the agent puts into that bridge and takes out again when all is
        /// torn down; it must have no addresses of its own.
        pub external_interface: String = String::new(),
        /// Addresses of the host on that bridge, if the agent is to give it any.
        pub external_bridge_cidr: Vec<String> = vec![],
        /// Whether the host translates what leaves the external network for the world.
        pub external_masquerade: bool = false,
        /// The host's address for tunnels; without it there are none.
        pub local_ip: Option<String> = None,
        /// UDP port of VXLAN.
        pub vxlan_udp_port: u16 = 4789,
        /// Seconds between heartbeats.
        pub report_interval: u64 = 30,
        /// Seconds between looks at the whole host, and between announcements of routers' and DHCP servers' addresses.
        pub resync_interval: u64 = 30,
        /// Seconds that a DHCP lease lives.
        pub dhcp_lease_duration: u32 = 86400,
        /// Name servers that DHCP servers ask about names they do not know.
        pub dnsmasq_dns_servers: Vec<String> = vec![],
        /// Nova's metadata API; empty: `http://127.0.0.1:8775`, or where the configuration says that the APIs are.
        pub nova_metadata_url: String = String::new(),
        /// Authorities (PEM) that sign the certificate of an `https` metadata API; without it, `[api] cafile`, or the
        /// machine's own.
        pub auth_ca_cert: Option<PathBuf> = None,
        /// Signs the instance's id on the way to nova.
        pub metadata_proxy_shared_secret: Secret = Secret::default(),
    }
}

/// The section, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: String,
    /// This process is the layer 2 agent.
    pub l2: bool,
    /// This process is the DHCP agent.
    pub dhcp: bool,
    /// This process is the layer 3 agent.
    pub l3: bool,
    /// This process is the metadata agent.
    pub metadata: bool,
    /// Metadata is served on this host, by this process or another.
    pub metadata_on_host: bool,
    pub fake: bool,
    pub fake_hosts: u32,
    pub state_path: PathBuf,
    pub tag: Tag,
    pub external_bridge: IfName,
    pub external_interface: Option<IfName>,
    pub physical_network: String,
    pub external_addresses: Vec<IpNet>,
    pub external_masquerade: bool,
    pub local_ip: Option<IpAddr>,
    pub vxlan_port: u16,
    pub report_interval: Duration,
    pub resync_interval: Duration,
    pub lease_seconds: u32,
    pub forwarders: Vec<IpAddr>,
    pub nova: Nova,
    pub metadata_secret: Secret,
}

/// The `n`th address after one.
fn nth(ip: IpAddr, n: u32) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(n).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(n.into()).into()),
    }
}

impl Settings {
    /// For a process that is only these of the host's agents.
    pub fn only(mut self, agents: &[&str]) -> Settings {
        let is = |name: &str| agents.contains(&name);
        self.l2 &= is("l2");
        self.dhcp &= is("dhcp");
        self.l3 &= is("l3");
        self.metadata &= is("metadata");
        self
    }

    /// The same, as the server names them.
    pub fn kinds(&self) -> Vec<AgentKind> {
        let all = [
            (AgentKind::L2, self.l2),
            (AgentKind::Dhcp, self.dhcp),
            (AgentKind::L3, self.l3),
            (AgentKind::Metadata, self.metadata),
        ];
        let here = all.into_iter().filter(|(_, is)| *is);
        here.map(|(kind, _)| kind).collect()
    }

    /// The hosts that this process stands for.
    pub fn hosts(&self) -> Vec<Settings> {
        if self.fake_hosts <= 1 {
            return vec![self.clone()];
        }
        let one = |n: u32| {
            let host = format!("{}-{n}", self.host);
            Settings {
                state_path: self.state_path.join(&host),
                fake_hosts: 1,
                // Each ends its tunnels somewhere else.
                local_ip: self.local_ip.map(|ip| nth(ip, n)),
                host,
                ..self.clone()
            }
        };
        (1..=self.fake_hosts).map(one).collect()
    }

    /// The agents that this process is.
    pub fn here(&self) -> Vec<&'static str> {
        let all = [
            ("l2", self.l2),
            ("dhcp", self.dhcp),
            ("l3", self.l3),
            ("metadata", self.metadata),
        ];
        all.into_iter()
            .filter(|(_, is)| *is)
            .map(|(n, _)| n)
            .collect()
    }
}

impl NeutronAgentsConf {
    /// Checks what the file says.
    pub fn settings(&self) -> Result<Settings> {
        let bad = |what: &str, text: &str| {
            Error::bad_request(format!("[neutron_agents] {what}: '{text}' makes no sense"))
        };
        let address = |what: &'static str| {
            move |text: &String| text.parse::<IpAddr>().map_err(|_| bad(what, text))
        };
        for agent in &self.agents {
            if !["l2", "dhcp", "l3", "metadata"].contains(&agent.as_str()) {
                return Err(bad("agents", agent));
            }
        }
        let runs = |name: &str| self.agents.iter().any(|a| a == name);
        let metadata_url = match self.nova_metadata_url.as_str() {
            "" => "http://127.0.0.1:8775",
            url => url,
        };
        let host = match self.host.as_str() {
            "" => nix::unistd::gethostname()
                .map_err(Error::internal)?
                .to_string_lossy()
                .into_owned(),
            name => name.to_string(),
        };
        Ok(Settings {
            host,
            l2: runs("l2"),
            dhcp: runs("dhcp"),
            l3: runs("l3"),
            metadata: runs("metadata"),
            metadata_on_host: runs("metadata"),
            fake: match self.l2_driver.as_str() {
                "fake" => true,
                "bridge" => false,
                other => return Err(bad("l2_driver", other)),
            },
            fake_hosts: match self.fake_hosts {
                n if n > 1 && self.l2_driver != "fake" => {
                    return Err(Error::bad_request(format!(
                        "[neutron_agents] fake_hosts = {n}: only the driver fake makes several hosts of one"
                    )));
                }
                n => n,
            },
            state_path: std::path::absolute(&self.state_path)?,
            tag: Tag::parse(&self.tag)?,
            external_bridge: IfName::parse(&self.external_bridge)?,
            external_interface: match self.external_interface.as_str() {
                "" => None,
                name if name == self.external_bridge => {
                    return Err(bad("external_interface", name));
                }
                name => Some(IfName::parse(name)?),
            },
            physical_network: self.physical_network.clone(),
            external_addresses: self
                .external_bridge_cidr
                .iter()
                .map(|t| t.parse().map_err(|_| bad("external_bridge_cidr", t)))
                .collect::<Result<_>>()?,
            external_masquerade: self.external_masquerade,
            local_ip: self
                .local_ip
                .as_ref()
                .map(address("local_ip"))
                .transpose()?,
            vxlan_port: self.vxlan_udp_port,
            report_interval: Duration::from_secs(self.report_interval.max(1)),
            resync_interval: Duration::from_secs(self.resync_interval.max(1)),
            lease_seconds: self.dhcp_lease_duration,
            forwarders: self
                .dnsmasq_dns_servers
                .iter()
                .map(address("dnsmasq_dns_servers"))
                .collect::<Result<_>>()?,
            nova: Nova::parse(metadata_url, self.auth_ca_cert.as_deref())?,
            metadata_secret: self.metadata_proxy_shared_secret.clone(),
        })
    }
}
