//! Networks, subnets, ports, routers and who may talk to whom (upstream: neutron with ML2, Linux bridge and L3 agents).
//!
//! All resources go through one pipeline ([`crud`]) that interprets upstream's attribute maps; a noun says only what is
//! particular to it. Hosts learn what to do by [`host_state`], which is computed from the tables.

mod agents;
mod attributes;
mod availability;
mod config;
mod convert;
mod crud;
mod db;
mod fault;
mod floatingips;
mod groups;
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
mod validate;
mod versions;

pub use config::Conf;

use base::{Clock, Result};
use db::StateRow;
use neutron_types::rpc::{AgentClient, PluginClient};
use noun::Call;
use oslo_context::RequestContext;
use oslo_db::{Db, Migration, Tx, eq, is_duplicate, set};
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint};
use oslo_limit::Limits;
use oslo_messaging::{Bus, ServerHandle};
use oslo_policy::Enforcer;
use oslo_service::{LeaderLock, Supervisor};
use sdk::{Caller, Method, Sdk};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The service's state.
pub struct Neutron {
    pub(crate) db: Db,
    pub(crate) sdk: Sdk,
    pub(crate) agents: AgentClient,
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
    /// Runs a change; if it touches what hosts do, the revision moves in the same transaction and hosts are told after.
    pub(crate) async fn change<T, F>(self: &Arc<Self>, call: &Call, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx, &Call) -> Result<T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let mut attempt = 1;
        let (value, revision) = loop {
            let (inner, work) = (call.clone(), Arc::clone(&work));
            let outcome = self
                .db
                .write(move |tx| {
                    inner.take_touched();
                    inner.lock_servers().clear();
                    let value = work(tx, &inner)?;
                    let revision = if inner.take_touched() {
                        Some(advance(tx)?)
                    } else {
                        None
                    };
                    Ok((value, revision))
                })
                .await;
            match outcome {
                Err(e) if is_duplicate(&e) && attempt < ATTEMPTS => attempt += 1,
                other => break other?,
            }
        };
        if let Some(revision) = revision {
            self.announce(&call.ctx, revision).await;
        }
        let servers = std::mem::take(&mut *call.lock_servers());
        self.tell_compute(
            "network-changed",
            servers.into_iter().map(|s| (s, None)).collect(),
        )
        .await;
        Ok(value)
    }

    /// Tells compute of servers (and the port in question). Best effort: compute looks at ports by itself too.
    pub(crate) async fn tell_compute(&self, name: &str, servers: Vec<(String, Option<String>)>) {
        if servers.is_empty() {
            return;
        }
        let event = |(server, port): (String, Option<String>)| {
            let mut event = json!({"name": name, "server_uuid": server, "status": "completed"});
            if let Some(port) = port {
                event["tag"] = json!(port);
            }
            event
        };
        let body = json!({"events": servers.into_iter().map(event).collect::<Vec<_>>()});
        let path = "/v2.1/os-server-external-events";
        let told = self
            .sdk
            .request(Caller::Service, "compute", Method::POST, path, Some(body))
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "the compute service did not take an event");
        }
    }

    /// Tells all hosts; who misses it asks by itself before long.
    pub(crate) async fn announce(&self, ctx: &RequestContext, revision: i64) {
        if let Err(error) = self.agents.fanout().state_changed(ctx, revision).await {
            tracing::debug!(%error, revision, "nobody was told of the new revision");
        }
    }
}

/// The next revision of the desired state. Last thing in a transaction, because its row is hot.
fn advance(tx: &mut Tx) -> Result<i64> {
    let row = tx.find_for_update::<StateRow>(eq("id", 1))?;
    let next = row.map_or(1, |r| r.revision + 1);
    tx.update::<StateRow>(eq("id", 1), &[set("revision", next)])?;
    Ok(next)
}
