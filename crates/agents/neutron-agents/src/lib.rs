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
use oslo_messaging::{Bus, ServerHandle};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The running agents of a host.
pub struct Agents {
    cancel: CancellationToken,
    task: JoinHandle<()>,
    _server: ServerHandle,
}

impl Agents {
    /// Stops the agents. Networks go on: what is on the host stays until [`teardown`].
    pub async fn stop(self) {
        self.cancel.cancel();
        let _ = self.task.await;
    }
}

/// Starts the agents; they end when `cancel` is cancelled, or by [`Agents::stop`].
pub async fn start(
    bus: &Bus,
    conf: &NeutronAgentsConf,
    cancel: CancellationToken,
) -> Result<Agents> {
    let settings = conf.settings()?;
    let driver: Arc<dyn Driver> = if settings.fake {
        Arc::new(fake::FakeDriver::new(settings.clone())?)
    } else {
        Arc::new(bridge::BridgeDriver::new(settings.clone())?)
    };
    let wake = Arc::new(Notify::new());
    let server = AgentClient::serve(
        bus,
        &settings.host,
        Arc::new(Listener { wake: wake.clone() }),
    )
    .await?;
    let plugin = PluginClient::new(bus.clone());
    let worker = worker::Worker {
        metadata: metadata::Metadata::new(plugin.clone(), settings.clone()),
        settings,
        driver,
        plugin,
        wake,
        cancel: cancel.clone(),
        state: None,
        reported: worker::Reported::default(),
    };
    Ok(Agents {
        cancel,
        task: tokio::spawn(worker.run()),
        _server: server,
    })
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
