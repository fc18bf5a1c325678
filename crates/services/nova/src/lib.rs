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
pub mod periodic;
mod routes;
pub mod rpc;
pub mod scheduler;
pub mod volume;

use base::{Clock, Microversion, Result};
use config::Conf;
use nova_types::rpc::{ComputeClient, ConductorClient};
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
}

/// What the binary gets.
pub struct Built {
    /// The HTTP surface (8774).
    pub endpoint: Arc<dyn Endpoint>,
    /// The state, for the operator's commands.
    pub state: Arc<Nova>,
    /// The conductor's RPC server; it stops when this is dropped.
    pub rpc: ServerHandle,
}

/// Every table this service needs.
pub fn migrations() -> Vec<Migration> {
    let mut all = db::MIGRATIONS.to_vec();
    all.extend_from_slice(oslo_limit::MIGRATIONS);
    all.extend_from_slice(oslo_taskflow::MIGRATIONS);
    all
}

/// Migrates, starts the conductor's RPC, the flow engine and the reconcilers, and returns the HTTP surface.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("nova", &migrations()).await?;
    deps.db.write(db::addresses::fill).await?;
    let limits = instance::quota::limits(&deps.conf);
    let nova = Arc::new(Nova {
        db: deps.db.clone(),
        bus: deps.bus.clone(),
        sdk: deps.sdk,
        conf: deps.conf,
        clock: deps.clock,
        limits,
        engine: Engine::builder(deps.db.clone(), &format!("nova-conductor@{}", deps.host)).build(),
        reported: rpc::Reported::default(),
    });
    flows::register(&nova);
    nova.engine.start();
    let conductor = Arc::new(rpc::Conductor(Arc::clone(&nova)));
    let rpc = ConductorClient::serve(&deps.bus, &deps.host, conductor).await?;
    periodic::start(&deps.supervisor, &nova, &deps.host);

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
