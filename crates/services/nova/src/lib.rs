//! Compute: api, conductor and scheduler. Everything about a server that must not be forgotten is here; what happens on
//! a host is `agents/nova-compute`, which this crate reaches by RPC only.

pub mod api;
pub mod config;
pub mod console;
pub mod db;
pub mod flows;
pub mod image;
pub mod instance;
pub mod metadata;
pub mod network;
mod notifications;
pub mod periodic;
mod routes;
pub mod rpc;
pub mod scheduler;
pub mod volume;

use base::{Clock, Microversion, Result};
use config::Conf;
use nova_types::rpc::{ComputeClient, ConductorClient};
use nova_types::scheduler::SchedulerClient;
use oslo_context::RequestContext;
use oslo_db::{Db, Migration};
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint, Schemas, VersionRange, Wording};
use oslo_limit::Limits;
use oslo_messaging::{Bus, ServerHandle};
use oslo_policy::Enforcer;
use oslo_service::Supervisor;
use oslo_taskflow::Engine;
use sdk::Sdk;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

/// The oldest and newest microversion.
pub const MIN_VERSION: Microversion = Microversion(2, 1);
/// See [`MIN_VERSION`].
pub const MAX_VERSION: Microversion = Microversion(2, 104);

/// What the service is made of.
pub struct Nova {
    /// Its database.
    pub db: Db,
    /// Its way to compute hosts.
    pub bus: Bus,
    /// Its way to neighbours.
    pub sdk: Sdk,
    /// Its configuration.
    pub conf: Conf,
    /// Its time.
    pub clock: Clock,
    /// Its quotas.
    pub limits: Limits,
    /// What runs its flows.
    pub engine: Engine,
    reported: rpc::Reported,
    teller: notifications::Teller,
    /// Where this process really serves consoles; 0 while it does not.
    novnc_port: AtomicU16,
}

impl Nova {
    /// The compute host `host`, for requests that may take long.
    pub fn compute(&self, host: &str) -> ComputeClient {
        ComputeClient::new(self.bus.clone())
            .server(host)
            .timeout(Duration::from_secs(self.conf.long_rpc_timeout))
    }

    /// How long after its last heartbeat a service counts as down.
    pub fn down_after(&self) -> Duration {
        Duration::from_secs(self.conf.service_down_time)
    }
}

/// What of nova runs in this process, beside what it serves over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Runs flows and reconcilers, and serves compute hosts.
    pub conductor: bool,
    /// Chooses hosts.
    pub scheduler: bool,
}

/// What the binary hands over.
pub struct Deps {
    /// The service's database.
    pub db: Db,
    /// The bus.
    pub bus: Bus,
    /// The neighbours.
    pub sdk: Sdk,
    /// Who checks tokens.
    pub auth: Arc<dyn Authenticate>,
    /// `[nova]`.
    pub conf: Conf,
    /// Time.
    pub clock: Clock,
    /// Who runs workers.
    pub supervisor: Arc<Supervisor>,
    /// The operator's policy file.
    pub policy_file: Option<PathBuf>,
    /// `http://host:port/` of the identity service.
    pub identity_uri: String,
    /// The name of this process among others (`host`).
    pub host: String,
    /// What of it runs here.
    pub parts: Parts,
}

/// What the binary gets.
pub struct Built {
    /// The HTTP surface (8774).
    pub endpoint: Arc<dyn Endpoint>,
    /// The state, for the operator's commands.
    pub state: Arc<Nova>,
    /// The RPC servers of the conductor and the scheduler, if they are here; they stop when this is dropped.
    pub rpc: Vec<ServerHandle>,
}

/// Every table this service needs.
pub fn migrations() -> Vec<Migration> {
    let mut all = db::MIGRATIONS.to_vec();
    all.extend_from_slice(oslo_limit::MIGRATIONS);
    all.extend_from_slice(oslo_taskflow::MIGRATIONS);
    all.extend_from_slice(oslo_service::MIGRATIONS);
    all
}

/// How long the flows of a conductor that is not heard of stay where they are.
const LEASE: Duration = Duration::from_secs(10);

/// An engine of flows; where no conductor is, it only submits them, and tells one over the bus.
fn engine(deps: &Deps) -> Engine {
    // Telling many times in a row is telling once.
    let told = Arc::new(tokio::sync::Notify::new());
    if !deps.parts.conductor {
        let (bus, told) = (deps.bus.clone(), Arc::clone(&told));
        deps.supervisor.spawn("nova wake a conductor", move |stop| {
            let (conductor, told) = (ConductorClient::new(&bus), Arc::clone(&told));
            async move {
                loop {
                    tokio::select! {
                        () = told.notified() => {}
                        () = stop.cancelled() => return Ok(()),
                    }
                    if let Err(error) = conductor.wake(&RequestContext::internal()).await {
                        tracing::debug!("left to the conductors' own look: {error}");
                    }
                }
            }
        });
    }
    Engine::builder(deps.db.clone(), &format!("nova-conductor@{}", deps.host))
        .lease(LEASE)
        .wake_elsewhere(Arc::new(move || told.notify_one()))
        .build()
}

/// Migrates, starts the parts that run here, and returns the HTTP surface.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("nova", &migrations()).await?;
    deps.db.write(db::addresses::fill).await?;
    let limits = instance::quota::limits(&deps.conf);
    let engine = engine(&deps);
    let teller = notifications::Teller::new(&deps.conf, &deps.host);
    let nova = Arc::new(Nova {
        db: deps.db.clone(),
        bus: deps.bus.clone(),
        sdk: deps.sdk,
        conf: deps.conf,
        clock: deps.clock,
        limits,
        engine,
        reported: rpc::Reported::default(),
        teller,
        novnc_port: AtomicU16::new(0),
    });
    flows::register(&nova);
    let mut rpc = Vec::new();
    if deps.parts.scheduler {
        let manager = Arc::new(scheduler::Manager::new(Arc::clone(&nova)));
        rpc.push(SchedulerClient::serve(&deps.bus, &deps.host, manager).await?);
    }
    if deps.parts.conductor {
        nova.engine.start();
        let conductor = Arc::new(rpc::Conductor(Arc::clone(&nova)));
        rpc.push(ConductorClient::serve(&deps.bus, &deps.host, conductor).await?);
    }
    periodic::start(&deps.supervisor, &nova, &deps.host, deps.parts);

    let policy = Arc::new(Enforcer::new(
        include_str!("../policy.yaml"),
        deps.policy_file,
    )?);
    let config = ApiConfig {
        versions: Some(VersionRange {
            service_type: "compute",
            min: MIN_VERSION,
            max: MAX_VERSION,
            legacy_header: Some("x-openstack-nova-api-version"),
        }),
        request_id_headers: &["x-compute-request-id"],
        identity_uri: deps.identity_uri,
        ..ApiConfig::new("nova", oslo_http::faults::keyed_compute)
    };
    let schemas = Schemas::load(include_str!("../schemas.json"), Wording::FieldAttribute)?;
    let endpoint = Api::new(
        Arc::clone(&nova),
        config,
        routes::routes(),
        deps.auth,
        policy,
        Some(schemas),
    )?;
    Ok(Built {
        endpoint: Arc::new(endpoint),
        state: nova,
        rpc,
    })
}
