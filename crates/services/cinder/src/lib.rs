//! Cinder: volumes, their types, and who is attached to them.
//!
//! A request becomes a row, a quota and a flow in one transaction; flows ask a backend's agent over RPC; statuses
//! change by one transition table ([`volume::status`]).

mod api;
mod config;
pub mod db;
mod flows;
mod periodic;
mod quota;
mod routes;
mod rpc;
mod scheduler;
pub mod volume;

pub use config::CinderConf as Conf;

use base::{Clock, Json, Result};
use cinder_types::SchedulerClient;
use db::{ServiceRow, TypeRow};
use oslo_db::{Db, eq};
use oslo_http::{Api, Authenticate, Endpoint, Schemas, Wording};
use oslo_limit::Limits;
use oslo_messaging::{Bus, ServerHandle};
use oslo_policy::Enforcer;
use oslo_service::Supervisor;
use oslo_taskflow::Engine;
use sdk::Sdk;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the binary gives.
pub struct Deps {
    pub db: Db,
    pub bus: Bus,
    pub sdk: Sdk,
    pub auth: Arc<dyn Authenticate>,
    pub conf: Conf,
    pub clock: Clock,
    pub supervisor: Arc<Supervisor>,
}

/// What the binary gets. Dropping `servers` ends what agents can tell us.
pub struct Built {
    pub endpoint: Arc<dyn Endpoint>,
    pub state: Arc<Cinder>,
    pub servers: Vec<ServerHandle>,
}

pub struct Cinder {
    pub db: Db,
    pub bus: Bus,
    pub sdk: Sdk,
    pub conf: Arc<Conf>,
    pub clock: Clock,
    pub limits: Limits,
    pub engine: Engine,
}

/// Migrates, makes the default type, serves the agents, resumes flows.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("cinder", &db::migrations()).await?;
    let engine = Engine::builder(deps.db.clone(), &format!("cinder/{}", deps.conf.host)).build();
    let cinder = Arc::new(Cinder {
        limits: quota::limits(&deps.conf),
        db: deps.db,
        bus: deps.bus,
        sdk: deps.sdk,
        conf: Arc::new(deps.conf),
        clock: deps.clock,
        engine,
    });
    cinder.ensure_default_type().await?;
    cinder
        .engine
        .register::<flows::CreateVolume>(cinder.clone());
    cinder
        .engine
        .register::<flows::DeleteVolume>(cinder.clone());
    cinder
        .engine
        .register::<flows::ExtendVolume>(cinder.clone());
    let server = SchedulerClient::serve(&cinder.bus, &cinder.conf.host, cinder.clone()).await?;

    let flows = cinder.engine.clone();
    deps.supervisor.spawn("cinder flows", move |token| {
        let flows = flows.clone();
        async move {
            flows.start();
            token.cancelled().await;
            flows.stop().await;
            Ok(())
        }
    });
    deps.supervisor
        .reconcile(Arc::new(periodic::StuckVolumes(cinder.clone())), None);
    deps.supervisor
        .reconcile(Arc::new(periodic::Heartbeat(cinder.clone())), None);

    let policy = Enforcer::new(
        include_str!("../policy.yaml"),
        cinder.conf.policy_file.clone(),
    )?;
    let schemas = routes::both_forms(include_str!("../schemas.json"))?;
    let api = Api::new(
        cinder.clone(),
        routes::config(&cinder.conf),
        routes::routes(),
        deps.auth,
        Arc::new(policy),
        Some(Schemas::load(&schemas, Wording::FieldAttribute)?),
    )?;
    Ok(Built {
        endpoint: Arc::new(api),
        state: cinder,
        servers: vec![server],
    })
}

impl Cinder {
    async fn ensure_default_type(&self) -> Result<()> {
        let (name, now) = (self.conf.default_volume_type.clone(), self.clock.now());
        self.db
            .write(move |tx| {
                if tx.exists::<TypeRow>(eq("name", &name))? {
                    return Ok(());
                }
                let row = TypeRow {
                    // The same everywhere, so that processes that start together make one.
                    id: base::id::named_id(&format!("cinder volume type {name}")),
                    name: name.clone(),
                    description: Some("Default Volume Type".to_string()),
                    is_public: true,
                    extra_specs: Json::default(),
                    created_at: now,
                    updated_at: None,
                };
                tx.upsert(&row, &["id"])
            })
            .await
    }

    /// The availability zones volumes can be made in.
    pub async fn zones(&self) -> Result<BTreeSet<String>> {
        let rows = self
            .db
            .read(|tx| tx.select::<ServiceRow>(eq("binary_name", db::services::VOLUME)))
            .await?;
        let mut zones: BTreeSet<String> = rows
            .into_iter()
            .filter(|s| !s.disabled)
            .map(|s| s.availability_zone)
            .collect();
        zones.insert(self.conf.storage_availability_zone.clone());
        Ok(zones)
    }
}
