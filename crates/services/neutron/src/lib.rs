//! Networks, subnets, ports, routers and who may talk to whom (upstream: neutron with ML2, Linux bridge and L3 agents).
//!
//! All resources go through one pipeline ([`crud`]) that interprets upstream's attribute maps; a noun says only what is
//! particular to it. Hosts learn what to do by [`host_state`], which is computed from the tables.

mod agents;
mod attributes;
mod availability;
mod compute;
mod config;
mod convert;
mod crud;
mod db;
mod fault;
mod floatingips;
mod groups;
mod herald;
mod host_state;
mod interfaces;
mod ipam;
mod list;
mod networks;
mod noun;
mod pipeline;
mod ports;
mod quota;
mod rbac;
mod reconcile;
mod routers;
mod routes;
mod rpc;
mod rules;
mod schedule;
mod scheduling;
mod subnets;
mod tags;
mod topics;
mod validate;
mod versions;

pub use config::Conf;

use base::{Clock, Result};
use db::revisions;
use neutron_types::rpc::{AgentClient, PluginClient};
use noun::Call;
use oslo_db::{Db, Migration, Tx, is_duplicate};
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint};
use oslo_limit::Limits;
use oslo_messaging::{Bus, ServerHandle};
use oslo_policy::Enforcer;
use oslo_service::{LeaderLock, Supervisor};
use sdk::Sdk;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The service's state.
pub struct Neutron {
    pub(crate) db: Db,
    pub(crate) sdk: Sdk,
    pub(crate) agents: AgentClient,
    pub(crate) herald: herald::Herald,
    pub(crate) events: compute::Events,
    pub(crate) around: host_state::Cache,
    pub(crate) limits: Limits,
    pub(crate) policy: Arc<Enforcer>,
    pub(crate) conf: Conf,
    pub(crate) clock: Clock,
}

/// What the service needs from outside.
pub struct Deps {
    /// Its own database.
    pub db: Db,
    /// The bus to its agents.
    pub bus: Bus,
    /// The way to its neighbours.
    pub sdk: Sdk,
    /// Token to caller.
    pub auth: Arc<dyn Authenticate>,
    /// Its options.
    pub conf: Conf,
    /// Time.
    pub clock: Clock,
    /// Runs its reconcilers.
    pub supervisor: Arc<Supervisor>,
    /// The operator's policy.yaml.
    pub policy_file: Option<PathBuf>,
    /// The name under which it listens on the bus.
    pub server_name: String,
}

/// The running service.
pub struct Built {
    /// Its HTTP surface.
    pub endpoint: Arc<dyn Endpoint>,
    /// Its state.
    pub state: Arc<Neutron>,
    /// Its RPC server; it stops when this is dropped.
    pub rpc: ServerHandle,
}

/// How long a server that reconciles may be silent before another one does it.
const LEADER_TTL: Duration = Duration::from_secs(30);

const POLICY: &str = include_str!("../policy.yaml");

/// Every table this service needs; the first are its own.
pub const MIGRATIONS: &[(&str, &[Migration])] = &[
    ("neutron", db::MIGRATIONS),
    ("neutron-limits", oslo_limit::MIGRATIONS),
    ("neutron-leader", oslo_service::MIGRATIONS),
];

/// Starts the service: migrations, RPC, reconcilers; the endpoint is the caller's to serve.
pub async fn build(deps: Deps) -> Result<Built> {
    for (of, migrations) in MIGRATIONS {
        deps.db.migrate(of, migrations).await?;
    }
    let policy = Arc::new(Enforcer::new(POLICY, deps.policy_file)?);
    let state = Arc::new(Neutron {
        db: deps.db,
        sdk: deps.sdk,
        agents: AgentClient::new(deps.bus.clone()),
        herald: herald::Herald::default(),
        events: compute::Events::default(),
        around: host_state::Cache::default(),
        limits: quota::limits(&deps.conf),
        policy: Arc::clone(&policy),
        conf: deps.conf,
        clock: deps.clock,
    });
    let mut config = ApiConfig::new("neutron", oslo_http::faults::typed);
    config.identity_uri = state.conf.www_authenticate_uri.clone();
    config.trailing_slash = true;
    let api = Api::new(
        Arc::clone(&state),
        config,
        routes::routes(),
        deps.auth,
        policy,
        None,
    )?;
    let plugin = Arc::new(rpc::Plugin::new(Arc::clone(&state)));
    let rpc = PluginClient::serve(&deps.bus, &deps.server_name, plugin).await?;
    herald::start(&state, &deps.supervisor);
    compute::start(&state, &deps.supervisor);
    // Of all servers one reconciles; the others take over when it is not heard of.
    // One that is started again goes on at once, because its name is the same.
    let lock = LeaderLock::new(
        &state.db,
        "neutron-reschedule",
        &deps.server_name,
        LEADER_TTL,
        state.clock.clone(),
    );
    deps.supervisor.reconcile(
        Arc::new(reconcile::Reschedule::new(Arc::clone(&state))),
        Some(lock),
    );
    Ok(Built {
        endpoint: Arc::new(api),
        state,
        rpc,
    })
}

/// How often a change is tried that loses a race for a unique key.
const ATTEMPTS: usize = 10;

impl Neutron {
    /// Runs a change; what it touches of what hosts do moves in the same transaction, and hosts are told after.
    pub(crate) async fn change<T, F>(self: &Arc<Self>, call: &Call, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx, &Call) -> Result<T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let mut attempt = 1;
        let value = loop {
            let (inner, work) = (call.clone(), Arc::clone(&work));
            let outcome = self
                .db
                .write(move |tx| {
                    inner.begin();
                    let value = work(tx, &inner)?;
                    let (moved, gone) = inner.touched();
                    revisions::forget(tx, topics::names(&gone))?;
                    let names = moved.difference(&gone).map(topics::Topic::name);
                    revisions::advance(tx, names.collect())?;
                    Ok(value)
                })
                .await;
            match outcome {
                Err(e) if is_duplicate(&e) && attempt < ATTEMPTS => attempt += 1,
                other => break other?,
            }
        };
        self.herald.moved(call.touched().0);
        let readdressed = |server| compute::Event {
            name: "network-changed",
            server,
            port: None,
        };
        let servers = std::mem::take(&mut *call.lock_servers());
        self.events
            .tell(servers.into_iter().map(readdressed).collect());
        Ok(value)
    }
}
