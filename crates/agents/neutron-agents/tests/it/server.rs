//! A neutron server that wants what the test says and remembers what it is told.

use async_trait::async_trait;
use base::Result;
use neutron_agents::NeutronAgentsConf;
use neutron_types::rpc::*;
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Told {
    pub up: BTreeSet<String>,
    pub floating: Vec<FloatingIpStatus>,
    pub agents: BTreeSet<String>,
    /// Hosts that reported, and in how many messages they all did.
    pub alive: BTreeSet<String>,
    pub heartbeats: usize,
    /// Messages about ports.
    pub messages: usize,
    /// How often each host asked.
    pub asked: BTreeMap<String, usize>,
    pub revision: i64,
    pub state: HostState,
    /// States of hosts that are not all alike.
    pub hosts: BTreeMap<String, HostState>,
    pub owners: Vec<(MetadataSource, IpAddr, MetadataOwner)>,
}

#[derive(Clone, Default)]
pub struct Server(pub Arc<Mutex<Told>>);

#[async_trait]
impl PluginApi for Server {
    async fn host_state(
        &self,
        _: &RequestContext,
        host: String,
        known: Option<Revisions>,
    ) -> Result<HostNews> {
        let mut told = self.0.lock().unwrap();
        *told.asked.entry(host.clone()).or_default() += 1;
        let revisions = Revisions::from([("all".to_string(), told.revision)]);
        if known.as_ref() == Some(&revisions) {
            return Ok(HostNews::Nothing);
        }
        let mut state = told.hosts.get(&host).unwrap_or(&told.state).clone();
        state.revisions = revisions;
        Ok(HostNews::All(state))
    }

    async fn ports_status(&self, _: &RequestContext, reports: Vec<PortsReport>) -> Result<()> {
        let mut told = self.0.lock().unwrap();
        told.messages += 1;
        for report in reports {
            told.up.retain(|p| !report.down.contains(p));
            told.up.extend(report.up);
        }
        Ok(())
    }

    async fn floatingips_status(
        &self,
        _: &RequestContext,
        _host: String,
        statuses: Vec<FloatingIpStatus>,
    ) -> Result<()> {
        self.0.lock().unwrap().floating.extend(statuses);
        Ok(())
    }

    async fn report_agents(&self, _: &RequestContext, hosts: Vec<HostReport>) -> Result<()> {
        let mut told = self.0.lock().unwrap();
        told.heartbeats += 1;
        for report in hosts {
            told.alive.insert(report.host);
            let agents = report.agents.into_iter().map(|r| r.binary);
            told.agents.extend(agents);
        }
        Ok(())
    }

    async fn metadata_lookup(
        &self,
        _: &RequestContext,
        source: MetadataSource,
        address: IpAddr,
    ) -> Result<Option<MetadataOwner>> {
        let told = self.0.lock().unwrap();
        Ok(told
            .owners
            .iter()
            .find(|(s, a, _)| *s == source && *a == address)
            .map(|(_, _, o)| o.clone()))
    }
}

impl Server {
    pub async fn serve(&self, bus: &Bus) -> ServerHandle {
        PluginClient::serve(bus, "plugin", Arc::new(self.clone()))
            .await
            .unwrap()
    }

    /// Wants something else from now on, and says so.
    pub async fn want(&self, bus: &Bus, change: impl FnOnce(&mut HostState)) {
        let revision = {
            let mut told = self.0.lock().unwrap();
            change(&mut told.state);
            told.revision += 1;
            told.revision
        };
        let moved = [("all".to_string(), revision)].into();
        let _ = AgentClient::new(bus.clone())
            .fanout()
            .state_changed(&RequestContext::internal(), moved)
            .await;
    }

    /// Hosts are to be something else from now on.
    pub async fn want_hosts(
        &self,
        bus: &Bus,
        change: impl FnOnce(&mut BTreeMap<String, HostState>),
    ) {
        change(&mut self.0.lock().unwrap().hosts);
        self.want(bus, |_| ()).await;
    }

    pub async fn until(&self, what: &str, seen: impl Fn(&Told) -> bool) {
        until(what, || seen(&self.0.lock().unwrap())).await;
    }
}

pub async fn until(what: &str, seen: impl Fn() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "never came: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn conf(name: &str) -> NeutronAgentsConf {
    let state_path =
        std::env::temp_dir().join(format!("ferrostack-neutron-{name}-{}", std::process::id()));
    NeutronAgentsConf {
        host: "here".into(),
        state_path,
        ..NeutronAgentsConf::default()
    }
}

/// A network, a subnet, and ports of it.
pub struct Net {
    pub id: String,
    pub subnet: String,
    pub prefix: &'static str,
}

impl Net {
    pub fn new(prefix: &'static str) -> Net {
        Net {
            id: base::new_id(),
            subnet: base::new_id(),
            prefix,
        }
    }

    pub fn ip(&self, last: u8) -> IpAddr {
        format!("{}.{last}", self.prefix).parse().unwrap()
    }

    pub fn state(&self, isolated: bool) -> NetworkState {
        let subnet = serde_json::json!({"id": self.subnet, "cidr": format!("{}.0/24", self.prefix), "gateway_ip": self.ip(1),
            "enable_dhcp": true, "dns_nameservers": ["9.9.9.9"], "isolated": isolated});
        serde_json::from_value(serde_json::json!({"id": self.id, "network_type": "local", "mtu": 1442, "dns_domain": "cloud.example.",
            "dhcp_here": true, "subnets": [subnet]}))
        .unwrap()
    }

    pub fn port(&self, last: u8, owner: &str, groups: &[&str]) -> PortState {
        let id = base::new_id();
        let tail = &id[..4];
        PortState {
            mac_address: format!("fa:16:3e:{}:{}:{last:02x}", &tail[..2], &tail[2..]),
            network_id: self.id.clone(),
            fixed_ips: vec![FixedIp {
                subnet_id: self.subnet.clone(),
                ip_address: self.ip(last),
            }],
            device_owner: owner.into(),
            admin_state_up: true,
            security_groups: groups.iter().map(|g| g.to_string()).collect(),
            port_security_enabled: true,
            id,
            ..PortState::default()
        }
    }
}

pub fn dhcp_host(port: &PortState, hostname: &str) -> DhcpHost {
    DhcpHost {
        port_id: port.id.clone(),
        network_id: port.network_id.clone(),
        mac_address: port.mac_address.clone(),
        fixed_ips: port.fixed_ips.clone(),
        hostname: hostname.into(),
        extra_dhcp_opts: Vec::new(),
    }
}

/// Takes down what a test made even when it fails half-way; once is enough, twice does no harm.
pub struct Undo(pub NeutronAgentsConf);

impl Drop for Undo {
    fn drop(&mut self) {
        let conf = self.0.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(neutron_agents::teardown(&conf)).unwrap();
            let _ = std::fs::remove_dir_all(&conf.state_path);
        };
        let _ = std::thread::spawn(work).join();
    }
}
