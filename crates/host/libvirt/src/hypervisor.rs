//! The connection to libvirtd: calls block, so they run on threads of their own; a daemon that died is started
//! again and the call repeated once.

use crate::domain::Acceleration;
use crate::element::Element;
use crate::{Daemon, DaemonConf, kvm};
use base::{Error, Kind, Result};
use host_privsep::Privsep;
use std::sync::{Arc, Mutex, PoisonError};
use virt::connect::Connect;
use virt::error::ErrorNumber;

/// The hypervisor of this host.
#[derive(Clone)]
pub struct Hypervisor {
    daemon: Arc<Daemon>,
    connection: Arc<Mutex<Option<Connect>>>,
    acceleration: Acceleration,
}

/// What the host is.
#[derive(Clone, Debug, Default)]
pub struct HostInfo {
    /// Processors.
    pub cpus: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Sockets, cores, threads per core.
    pub topology: (u32, u32, u32),
    /// `EPYC-Rome`, as libvirt names it; empty if it has no name.
    pub cpu_model: String,
    /// `AMD`.
    pub cpu_vendor: String,
    /// What the model does not say.
    pub cpu_features: Vec<String>,
    /// QEMU's version, `7002022`.
    pub hypervisor_version: u64,
    /// libvirt's version, `9000000`.
    pub libvirt_version: u64,
    /// The host's name, as libvirt knows it.
    pub hostname: String,
}

impl Hypervisor {
    /// Starts (or finds) the daemons, connects, and finds out whether KVM is real.
    pub async fn start(privsep: Privsep, conf: DaemonConf) -> Result<Hypervisor> {
        virt::error::clear_error_callback();
        let daemon = Daemon::new(privsep, conf);
        daemon.ensure_running().await?;
        let probed = blocking(kvm::probe).await;
        let acceleration = match &probed {
            Ok(took) => {
                tracing::info!(
                    duration_ms = took.as_millis() as u64,
                    "KVM works: guests use it"
                );
                Acceleration::Kvm
            }
            Err(why) => {
                tracing::info!(
                    reason = why.message(),
                    "no KVM: guests run by translation (TCG)"
                );
                Acceleration::Tcg
            }
        };
        let connection = Arc::new(Mutex::new(None));
        let hypervisor = Hypervisor {
            daemon: Arc::new(daemon),
            connection,
            acceleration,
        };
        // The first question makes libvirtd look at its emulators, which takes seconds: better now than in a guest's start.
        hypervisor.with(|c| c.capabilities().map(drop)).await?;
        hypervisor.daemon.keep_capabilities();
        Ok(hypervisor)
    }

    /// How guests run here.
    pub fn acceleration(&self) -> Acceleration {
        self.acceleration
    }

    /// The daemons, to stop them or to connect to them.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// What the host is.
    pub async fn host_info(&self) -> Result<HostInfo> {
        let (node, version, library, hostname, capabilities) = self
            .with(|c| {
                let node = c.node_info()?;
                Ok((
                    node,
                    c.hyp_version()?,
                    c.lib_version()?,
                    c.hostname()?,
                    c.capabilities()?,
                ))
            })
            .await?;
        let tree = Element::parse(&capabilities)?;
        let cpu = tree
            .child("host")
            .and_then(|h| h.child("cpu"))
            .cloned()
            .unwrap_or_default();
        let text = |name: &str| cpu.child(name).map(|e| e.text.clone()).unwrap_or_default();
        let features = cpu.all("feature").filter_map(|f| f.attribute("name"));
        Ok(HostInfo {
            cpus: node.cpus,
            memory_mb: node.memory / 1024,
            topology: (node.sockets, node.cores, node.threads),
            cpu_model: text("model"),
            cpu_vendor: text("vendor"),
            cpu_features: features.map(str::to_string).collect(),
            hypervisor_version: version.into(),
            libvirt_version: library.into(),
            hostname,
        })
    }

    /// Runs `work` with a living connection.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl Fn(&Connect) -> std::result::Result<T, virt::error::Error> + Send + Sync + 'static,
    ) -> Result<T> {
        let work = Arc::new(work);
        for last in [false, true] {
            let (slot, uri, job) = (self.connection.clone(), self.daemon.uri(), work.clone());
            let outcome = blocking(move || {
                let connection = open(&slot, &uri)?;
                job(&connection).map_err(|e| {
                    if !connection.is_alive().unwrap_or(false) {
                        slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                        return Error::unavailable("libvirtd is gone").log(&e);
                    }
                    translate(&e)
                })
            });
            match outcome.await {
                Err(e) if e.kind() == Kind::Unavailable && !last => {
                    tracing::warn!(reason = e.log_message(), "lost libvirtd: starting it again");
                    self.daemon.ensure_running().await?;
                }
                other => return other,
            }
        }
        Err(Error::unavailable("libvirtd does not answer"))
    }
}

fn open(slot: &Mutex<Option<Connect>>, uri: &str) -> Result<Connect> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(connection) = slot.as_ref().filter(|c| c.is_alive().unwrap_or(false)) {
        return Ok(connection.clone());
    }
    let fresh = Connect::open(Some(uri));
    let fresh = fresh.map_err(|e| Error::unavailable("no connection to libvirtd").log(e))?;
    Ok(slot.insert(fresh).clone())
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

fn translate(error: &virt::error::Error) -> Error {
    let code = error.code();
    if code.is(ErrorNumber::NoDomain) {
        return Error::not_found("The hypervisor does not know this instance.").log(error);
    }
    if code.is(ErrorNumber::DeviceMissing) {
        return Error::not_found("The instance has no such device.").log(error);
    }
    if code.is(ErrorNumber::OperationTimeout) {
        return Error::new(Kind::Timeout, "The guest did not answer in time.").log(error);
    }
    Error::internal(format!("libvirt: {error}"))
}
