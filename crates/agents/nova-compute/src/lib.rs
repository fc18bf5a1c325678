//! nova-compute: the agent that makes guests be on one host. It has no database: what it needs comes in the
//! request, what it must remember lies beside the guest's disks.
//!
//! Every request is a desired state and may be repeated. Requests for one instance queue, except that a
//! destruction first switches the guest off, so that nobody waits for a shutdown that no longer matters.

mod agent;
mod config;
mod driver;
mod fake;
mod libvirt;
mod locks;
mod report;
mod teardown;

pub use agent::ComputeAgent;
pub use config::ComputeConf;
pub use driver::{HostFacts, VirtDriver};
pub use fake::FakeDriver;
pub use libvirt::LibvirtDriver;
pub use teardown::{kvm_usable, teardown};

use async_trait::async_trait;
use base::{Error, Result};
use host_privsep::Privsep;
use nova_types::rpc::{ComputeClient, ConductorClient};
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where images come from; the binary gives one made of its `sdk`.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Writes the image's data to `path`, which does not exist yet.
    async fn download(&self, image_id: &str, path: &Path) -> Result<()>;
}

/// Starts the driver, takes up what runs already, and answers requests until the supervisor stops.
pub async fn start(
    bus: &Bus,
    conf: ComputeConf,
    privsep: Privsep,
    images: Arc<dyn ImageSource>,
    supervisor: &Supervisor,
) -> Result<Arc<ComputeAgent>> {
    let conf = conf.with_host_name()?;
    let driver: Arc<dyn VirtDriver> = match conf.compute_driver.as_str() {
        "fake.FakeDriver" => Arc::new(FakeDriver::open(&conf)?),
        "libvirt.LibvirtDriver" => Arc::new(LibvirtDriver::start(&conf, privsep, images).await?),
        other => {
            let known = "libvirt.LibvirtDriver, fake.FakeDriver";
            let words = format!("compute_driver: there is no driver {other}, only {known}");
            return Err(Error::bad_request(words));
        }
    };
    start_with(bus, conf, driver, supervisor).await
}

/// The same with a driver of the caller's choice.
pub async fn start_with(
    bus: &Bus,
    conf: ComputeConf,
    driver: Arc<dyn VirtDriver>,
    supervisor: &Supervisor,
) -> Result<Arc<ComputeAgent>> {
    let conf = conf.with_host_name()?;
    let conductor = ConductorClient::new(bus.clone()).timeout(Duration::from_secs(20));
    let agent = Arc::new(ComputeAgent::new(&conf, driver, conductor));
    let host = conf.host.clone();
    // Served at once, not when the worker gets its turn: whoever reads our first report may call us.
    let first = ComputeClient::serve(bus, &host, agent.clone()).await?;
    let first = Arc::new(std::sync::Mutex::new(Some(first)));
    let (server, served) = (bus.clone(), agent.clone());
    supervisor.spawn(&format!("nova-compute {host}"), move |token| {
        let (bus, agent, host, first) =
            (server.clone(), served.clone(), host.clone(), first.clone());
        async move {
            let started = first
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take();
            let handle = match started {
                Some(handle) => handle,
                None => ComputeClient::serve(&bus, &host, agent).await?,
            };
            token.cancelled().await;
            handle.stop().await;
            Ok(())
        }
    });
    report::spawn(&agent, supervisor);
    Ok(agent)
}
