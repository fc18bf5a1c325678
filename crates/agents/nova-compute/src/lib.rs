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
use futures::{StreamExt, TryStreamExt};
use host_privsep::Privsep;
use nova_types::rpc::{ComputeClient, ConductorClient};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where images come from; the binary gives one made of its `sdk`.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Writes the image's data to `path`, which does not exist yet.
    async fn download(&self, image_id: &str, path: &Path) -> Result<()>;
}

/// Starts the driver, takes up what runs already, and answers requests until the supervisor stops. One agent, unless the
/// process stands for several fake hosts.
pub async fn start(
    bus: &Bus,
    conf: ComputeConf,
    privsep: Privsep,
    images: Arc<dyn ImageSource>,
    supervisor: &Supervisor,
) -> Result<Vec<Arc<ComputeAgent>>> {
    let mut hosts = Vec::new();
    for conf in conf.hosts()? {
        let driver: Arc<dyn VirtDriver> = match conf.compute_driver.as_str() {
            config::FAKE => Arc::new(FakeDriver::open(&conf)?),
            "libvirt.LibvirtDriver" => {
                let (privsep, images) = (privsep.clone(), images.clone());
                Arc::new(LibvirtDriver::start(&conf, privsep, images).await?)
            }
            other => {
                let known = "libvirt.LibvirtDriver, fake.FakeDriver";
                let words = format!("compute_driver: there is no driver {other}, only {known}");
                return Err(Error::bad_request(words));
            }
        };
        hosts.push((conf, driver));
    }
    start_all(bus, hosts, supervisor).await
}

/// The same with a driver of the caller's choice.
pub async fn start_with(
    bus: &Bus,
    conf: ComputeConf,
    driver: Arc<dyn VirtDriver>,
    supervisor: &Supervisor,
) -> Result<Arc<ComputeAgent>> {
    let conf = conf.with_host_name()?;
    let agents = start_all(bus, vec![(conf, driver)], supervisor).await?;
    agents
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("an agent was lost"))
}

/// How many servers make themselves known to the broker at the same time.
const AT_ONCE: usize = 8;

type Served = Vec<ServerHandle>;

async fn start_all(
    bus: &Bus,
    hosts: Vec<(ComputeConf, Arc<dyn VirtDriver>)>,
    supervisor: &Supervisor,
) -> Result<Vec<Arc<ComputeAgent>>> {
    let conductor = ConductorClient::new(bus.clone()).timeout(Duration::from_secs(20));
    let agent = |(conf, driver)| Arc::new(ComputeAgent::new(&conf, driver, conductor.clone()));
    let agents: Vec<Arc<ComputeAgent>> = hosts.into_iter().map(agent).collect();
    let Some(first) = agents.first() else {
        return Ok(agents);
    };
    // Served at once, not when the worker gets its turn: whoever reads our first report may call us.
    let served = Arc::new(Mutex::new(Some(serve(bus, &agents).await?)));
    let (server, serving) = (bus.clone(), agents.clone());
    supervisor.spawn(&format!("nova-compute {}", first.host), move |token| {
        let (bus, agents, served) = (server.clone(), serving.clone(), served.clone());
        async move {
            let started = served.lock().unwrap_or_else(PoisonError::into_inner).take();
            let handles = match started {
                Some(handles) => handles,
                None => serve(&bus, &agents).await?,
            };
            token.cancelled().await;
            futures::future::join_all(handles.into_iter().map(ServerHandle::stop)).await;
            Ok(())
        }
    });
    report::spawn(&agents, supervisor);
    Ok(agents)
}

async fn serve(bus: &Bus, agents: &[Arc<ComputeAgent>]) -> Result<Served> {
    let pairs: Vec<_> = agents.iter().map(|a| (bus.clone(), a.clone())).collect();
    let each = pairs.into_iter().map(|(bus, agent)| async move {
        let host = agent.host.clone();
        ComputeClient::serve(&bus, &host, agent).await
    });
    futures::stream::iter(each)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
