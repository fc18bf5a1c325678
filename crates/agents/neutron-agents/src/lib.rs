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
mod worker;

pub use config::{NeutronAgentsConf, Settings};

use async_trait::async_trait;
use base::Result;
use driver::Driver;
use neutron_types::rpc::{AgentApi, AgentClient, PluginClient};
use oslo_context::RequestContext;
use oslo_messaging::Bus;
use oslo_service::{CancellationToken, Supervisor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

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
    let (_alone, driver): (_, Arc<dyn Driver>) = if settings.fake {
        (None, Arc::new(fake::FakeDriver::new(settings.clone())?))
    } else {
        let alone = owned::claim(&settings.state_path, &settings.here())?;
        let driver = bridge::BridgeDriver::new(settings.clone())?;
        (Some(alone), Arc::new(driver))
    };
    let wake = Arc::new(Notify::new());
    let listener = Arc::new(Listener { wake: wake.clone() });
    let _listening = AgentClient::serve(&bus, &settings.host, listener).await?;
    // A server that does not answer must not keep the host from what it knows already.
    let plugin = PluginClient::new(bus).timeout(Duration::from_secs(10));
    let worker = worker::Worker {
        metadata: metadata::Metadata::new(plugin.clone(), settings.clone()),
        settings,
        driver,
        plugin,
        wake,
        cancel,
        state: None,
        news: true,
        reported: worker::Reported::default(),
    };
    worker.run().await;
    Ok(())
}

/// Removes every namespace, bridge, device, table and process that agents of this configuration made on this host.
pub async fn teardown(conf: &NeutronAgentsConf) -> Result<()> {
    let settings = conf.settings()?;
    if settings.fake {
        return Ok(());
    }
    bridge::teardown(&settings).await
}

struct Listener {
    wake: Arc<Notify>,
}

#[async_trait]
impl AgentApi for Listener {
    async fn state_changed(&self, _ctx: &RequestContext, _revision: i64) -> Result<()> {
        self.wake.notify_one();
        Ok(())
    }
}
