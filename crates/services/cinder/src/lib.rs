//! Cinder: volumes, their snapshots and types, and who is attached to them.
//!
//! A request becomes a row, a quota and a flow in one transaction; flows ask a backend's agent over RPC; statuses
//! change by one transition table ([`volume::status`]).

mod api;
pub mod backup;
mod config;
pub mod db;
mod flows;
mod message;
mod periodic;
mod quota;
mod routes;
mod rpc;
mod scheduler;
pub mod snapshot;
pub mod volume;

pub use config::CinderConf as Conf;

use base::{Clock, Json, Result};
use cinder_types::SchedulerClient;
use db::{ServiceRow, TypeRow};
use oslo_context::RequestContext;
use oslo_db::{Db, eq};
use oslo_http::{Api, Authenticate, Endpoint, Schemas, Wording};
use oslo_limit::Limits;
use oslo_messaging::{Bus, ServerHandle};
use oslo_policy::Enforcer;
use oslo_service::{LeaderLock, Reconciler, Supervisor};
use oslo_taskflow::Engine;
use sdk::Sdk;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long the flows of a scheduler that is not heard of stay where they are.
const LEASE: Duration = Duration::from_secs(10);
/// A reconciler's leader that is not heard of for so long is replaced.
const LEADER_TTL: Duration = Duration::from_secs(30);

/// Which parts of cinder run in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Answers HTTP.
    pub api: bool,
    /// Runs flows and reconcilers, listens to agents.
    pub scheduler: bool,
}

/// What the binary gives.
pub struct Deps {
    pub db: Db,
    pub bus: Bus,
    pub sdk: Sdk,
    pub auth: Arc<dyn Authenticate>,
    pub conf: Conf,
    pub clock: Clock,
    pub supervisor: Arc<Supervisor>,
    pub parts: Parts,
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
    /// Which filters users may put into lists.
    pub(crate) filters: api::filters::ResourceFilters,
}

/// An engine of flows; where no scheduler is, it only submits them, and tells one over the bus.
fn engine(deps: &Deps) -> Engine {
    // Telling many times in a row is telling once.
    let told = Arc::new(tokio::sync::Notify::new());
    if !deps.parts.scheduler {
        let (bus, told) = (deps.bus.clone(), Arc::clone(&told));
        deps.supervisor
            .spawn("cinder wake a scheduler", move |stop| {
                let (scheduler, told) = (SchedulerClient::new(&bus), Arc::clone(&told));
                async move {
                    loop {
                        tokio::select! {
                            () = told.notified() => {}
                            () = stop.cancelled() => return Ok(()),
                        }
                        if let Err(error) = scheduler.wake(&RequestContext::internal()).await {
                            tracing::debug!("left to the schedulers' own look: {error}");
                        }
                    }
                }
            });
    }
    Engine::builder(deps.db.clone(), &format!("cinder/{}", deps.conf.host))
        .lease(LEASE)
        .wake_elsewhere(Arc::new(move || told.notify_one()))
        .build()
}

/// Migrates, makes the default type, and starts the parts that run here.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("cinder", &db::migrations()).await?;
    scheduler::enabled(&deps.conf)?;
    let engine = engine(&deps);
    let cinder = Arc::new(Cinder {
        limits: quota::limits(&deps.conf),
        filters: api::filters::ResourceFilters::load(
            deps.conf.resource_query_filters_file.as_deref(),
        )?,
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
    cinder
        .engine
        .register::<flows::CreateSnapshot>(cinder.clone());
    cinder
        .engine
        .register::<flows::DeleteSnapshot>(cinder.clone());
    cinder
        .engine
        .register::<flows::RevertVolume>(cinder.clone());
    cinder.engine.register::<flows::Manage>(cinder.clone());
    cinder
        .engine
        .register::<flows::CreateBackup>(cinder.clone());
    cinder
        .engine
        .register::<flows::RestoreBackup>(cinder.clone());
    cinder
        .engine
        .register::<flows::DeleteBackup>(cinder.clone());
    cinder
        .engine
        .register::<flows::ImportBackup>(cinder.clone());
    cinder
        .engine
        .register::<flows::UploadVolume>(cinder.clone());
    let mut servers = Vec::new();
    if deps.parts.scheduler {
        servers.push(start_scheduler(&cinder, &deps.supervisor).await?);
    }

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
        servers,
    })
}

/// Listens to agents, runs flows, and reconciles: of all schedulers one at a time, for each names itself by its host.
async fn start_scheduler(cinder: &Arc<Cinder>, supervisor: &Supervisor) -> Result<ServerHandle> {
    let flows = cinder.engine.clone();
    supervisor.spawn("cinder flows", move |token| {
        let flows = flows.clone();
        async move {
            flows.start();
            token.cancelled().await;
            flows.stop().await;
            Ok(())
        }
    });
    let stuck = periodic::StuckVolumes(cinder.clone());
    let owner = format!("cinder-scheduler@{}", cinder.conf.host);
    let clock = cinder.clock.clone();
    let lock = LeaderLock::new(&cinder.db, stuck.name(), &owner, LEADER_TTL, clock.clone());
    supervisor.reconcile(Arc::new(stuck), Some(lock));
    let stuck = periodic::StuckSnapshots(cinder.clone());
    let lock = LeaderLock::new(&cinder.db, stuck.name(), &owner, LEADER_TTL, clock.clone());
    supervisor.reconcile(Arc::new(stuck), Some(lock));
    supervisor.reconcile(Arc::new(periodic::ExpiredMessages(cinder.clone())), None);
    let backups = backup::StuckBackups(cinder.clone());
    let lock = LeaderLock::new(&cinder.db, backups.name(), &owner, LEADER_TTL, clock);
    supervisor.reconcile(Arc::new(backups), Some(lock));
    supervisor.reconcile(Arc::new(periodic::Heartbeat(cinder.clone())), None);
    SchedulerClient::serve(&cinder.bus, &cinder.conf.host, cinder.clone()).await
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
                    qos_specs_id: None,
                };
                tx.upsert(&row, &["id"])
            })
            .await
    }

    /// How long messages to users are kept.
    pub(crate) fn message_ttl(&self) -> Duration {
        Duration::from_secs(self.conf.message_ttl)
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
