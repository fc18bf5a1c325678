//! Neutron's agents on a host: layer 2 with security groups, DHCP, layer 3 with floating addresses, and metadata.
//!
//! One level-triggered loop serves all four: the server's [`neutron_types::rpc::HostState`] is what the host must be, and
//! each pass makes it so from any starting point, after a kill as after a reboot. Read [`plan`] for what becomes of a
//! state, `bridge.rs` for the order of a pass, `worker.rs` for when there is one.

mod bridge;
mod config;
mod dhcp;
mod driver;
mod fake;
mod firewall;
mod l3;
mod leg;
mod metadata;
mod nova;
mod owned;
pub mod plan;
mod report;
mod uplink;
mod worker;

pub use config::{NeutronAgentsConf, Settings};

use async_trait::async_trait;
use base::{Error, Result};
use driver::Driver;
use neutron_types::rpc::{AgentApi, AgentClient, PluginClient, Revisions, agent_server};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::{CancellationToken, Supervisor};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use uplink::Uplink;

/// Starts the agents as a worker of `supervisor`, which also ends them. Networks go on without them: what is on the host
/// stays until [`teardown`].
pub fn start(bus: &Bus, conf: &NeutronAgentsConf, supervisor: &Supervisor) -> Result<()> {
    start_some(bus, conf, &["l2", "dhcp", "l3", "metadata"], supervisor)
}

/// The same for a process that is only some of the host's agents; the others may run beside it.
pub fn start_some(
    bus: &Bus,
    conf: &NeutronAgentsConf,
    agents: &[&str],
    supervisor: &Supervisor,
) -> Result<()> {
    let (bus, mut settings) = (bus.clone(), conf.settings()?.only(agents));
    if settings.here().is_empty() {
        return Ok(());
    }
    if settings.metadata {
        settings.nova.trust()?;
    }
    supervisor.spawn("neutron-agents", move |cancel| {
        run(bus.clone(), settings.clone(), cancel)
    });
    Ok(())
}

async fn run(bus: Bus, settings: Settings, cancel: CancellationToken) -> Result<()> {
    // Of a host that is no fake this process alone is these agents.
    let _alone = match settings.fake {
        true => None,
        false => Some(owned::claim(&settings.state_path, &settings.here())?),
    };
    let hosts = settings.hosts();
    // A server that does not answer must not keep the host from what it knows already.
    let plugin = PluginClient::new(&bus).timeout(Duration::from_secs(10));
    let uplink = Uplink::new(plugin, hosts.len());
    let mut workers = JoinSet::new();
    // Hosts begin one after the other, so that many of them bring neither the broker nor the server to its knees.
    for settings in hosts {
        let host = Host::listen(&bus, settings, &uplink, &cancel).await?;
        if cancel.is_cancelled() {
            break;
        }
        workers.spawn(host.run());
    }
    while let Some(ended) = workers.join_next().await {
        // One that panics takes the others along: all begin anew.
        ended.map_err(Error::internal)?;
    }
    Ok(())
}

/// A host that hears what the server says.
struct Host {
    listening: Vec<ServerHandle>,
    worker: worker::Worker,
}

impl Host {
    async fn listen(
        bus: &Bus,
        settings: Settings,
        uplink: &Uplink,
        cancel: &CancellationToken,
    ) -> Result<Host> {
        let told = Arc::new(worker::Told::default());
        let mut listening = Vec::new();
        for kind in settings.kinds() {
            let listener = Arc::new(Listener(Arc::clone(&told)));
            let name = agent_server(&settings.host, kind);
            listening.push(AgentClient::serve(bus, &name, listener).await?);
        }
        let driver: Arc<dyn Driver> = match settings.fake {
            true => Arc::new(fake::FakeDriver::new(settings.clone())?),
            false => Arc::new(bridge::BridgeDriver::new(settings.clone())?),
        };
        let worker = worker::Worker {
            metadata: metadata::Metadata::new(uplink.plugin.clone(), settings.clone()),
            settings,
            driver,
            uplink: uplink.clone(),
            told,
            cancel: cancel.clone(),
            state: None,
            reported: worker::Reported::default(),
        };
        Ok(Host { listening, worker })
    }

    async fn run(self) {
        self.worker.run().await;
        drop(self.listening);
    }
}

/// Removes every namespace, bridge, device, table and process that agents of this configuration made on this host.
pub async fn teardown(conf: &NeutronAgentsConf) -> Result<()> {
    let settings = conf.settings()?;
    if settings.fake {
        return Ok(());
    }
    bridge::teardown(&settings).await
}

struct Listener(Arc<worker::Told>);

#[async_trait]
impl AgentApi for Listener {
    async fn state_changed(&self, _ctx: &RequestContext, moved: Revisions) -> Result<()> {
        self.0.add(moved);
        Ok(())
    }
}
