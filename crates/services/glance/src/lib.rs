//! Glance: a record, a stream and a store.
//!
//! The record is rows ([`db`]), the stream is [`upload`] and the download in [`api`], stores are folders ([`stores`]).
//! What a broken upload or a delete leaves behind is removed by [`periodic`].

mod api;
mod cache;
mod config;
pub mod db;
pub mod flows;
pub mod image;
mod import;
pub mod inspect;
mod limits;
mod metadef;
mod pass;
pub mod periodic;
mod plugins;
mod remote;
mod routes;
mod signature;
pub mod stores;
pub mod unpack;
mod upload;

pub use config::{GlanceConf as Conf, StoreConf};
pub use inspect::{Converter, ImageConverter, ImageInspector, Inspectors, Verdict};

use base::{Clock, Error, Result};
use oslo_db::Db;
use oslo_http::{Api, Authenticate, Endpoint};
use oslo_policy::Enforcer;
use oslo_service::{Poke, Supervisor};
use oslo_taskflow::Engine;
use sdk::{Sdk, WebFilter};
use std::sync::{Arc, OnceLock};
use stores::Stores;
use tokio::sync::Semaphore;

/// What the binary gives.
pub struct Deps {
    pub db: Db,
    pub auth: Arc<dyn Authenticate>,
    pub conf: Conf,
    pub clock: Clock,
    pub supervisor: Arc<Supervisor>,
    pub inspectors: Inspectors,
    pub converter: Converter,
    /// The way to keystone, for limits and for the endpoints of other regions.
    pub sdk: Sdk,
}

/// What the binary gets.
pub struct Built {
    pub endpoint: Arc<dyn Endpoint>,
    pub state: Arc<Glance>,
}

pub struct Glance {
    pub(crate) db: Db,
    pub(crate) conf: Conf,
    pub(crate) clock: Clock,
    pub(crate) stores: Stores,
    pub(crate) cache: Option<cache::Cache>,
    pub(crate) web: WebFilter,
    pub(crate) sdk: Sdk,
    /// Bytes that a project may have in stores.
    pub(crate) quota: Option<u64>,
    /// Runs imports.
    pub engine: Engine,
    pub(crate) inspectors: Inspectors,
    pub(crate) converter: Converter,
    pub(crate) converting: Semaphore,
    /// What is done with imports, in this order.
    pub(crate) plugins: Vec<plugins::Plugin>,
    /// This process, for the uploads it receives.
    pub(crate) process: String,
    pub(crate) live: upload::Live,
    poke_uploads: OnceLock<Poke>,
    poke_files: OnceLock<Poke>,
    poke_cache: OnceLock<Poke>,
}

impl Glance {
    pub(crate) fn poke_uploads(&self) {
        if let Some(poke) = self.poke_uploads.get() {
            poke.poke();
        }
    }

    pub(crate) fn poke_cache(&self) {
        if let Some(poke) = self.poke_cache.get() {
            poke.poke();
        }
    }

    pub(crate) fn poke_files(&self) {
        if let Some(poke) = self.poke_files.get() {
            poke.poke();
        }
    }
}

/// Imports that run at once. Most of them wait for somebody else's web server.
const IMPORTS: usize = 16;
/// Those of one project: however slow the servers are that its members name, others' imports get on.
const IMPORTS_OF_PROJECT: usize = 4;
/// Conversions that run at once: they take processor time and the disk.
const CONVERSIONS: usize = 4;

/// So long an import of a dead process waits for another one.
const FLOW_LEASE: std::time::Duration = std::time::Duration::from_secs(15);

/// Migrates, opens the store, starts the reconcilers.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("glance", db::MIGRATIONS).await?;
    metadef::catalog::load(&deps.db, deps.clock.now()).await?;
    let conf = deps.conf.clone();
    let open = move || -> Result<_> { Ok((Stores::open(&conf)?, cache::Cache::open(&conf)?)) };
    let opened = tokio::task::spawn_blocking(open).await;
    let (stores, cache) = opened.map_err(Error::internal)??;
    let web = deps.conf.web_filter()?;
    let quota = limits::parse_quota(&deps.conf.user_storage_quota)?;
    let plugins = plugins::Plugin::all(&deps.conf)?;
    let process = base::new_id();
    // Each life has a name of its own: what a dead one left is taken up when its lease ends.
    let engine = Engine::builder(deps.db.clone(), &format!("glance/{process}"))
        .lease(FLOW_LEASE)
        .concurrency(IMPORTS)
        .share(IMPORTS_OF_PROJECT)
        .build();
    let policy = Enforcer::new(
        include_str!("../policy.yaml"),
        deps.conf.policy_file.clone(),
    )?;
    let config = routes::config(&deps.conf);
    let state = Arc::new(Glance {
        db: deps.db,
        conf: deps.conf,
        clock: deps.clock,
        stores,
        cache,
        web,
        sdk: deps.sdk,
        quota,
        engine: engine.clone(),
        inspectors: deps.inspectors,
        converter: deps.converter,
        converting: Semaphore::new(CONVERSIONS),
        plugins,
        process,
        live: upload::Live::default(),
        poke_uploads: OnceLock::new(),
        poke_files: OnceLock::new(),
        poke_cache: OnceLock::new(),
    });
    engine.register::<flows::ImportImage>(Arc::clone(&state));
    deps.supervisor.spawn("glance flows", move |stop| {
        let engine = engine.clone();
        async move {
            engine.start();
            stop.cancelled().await;
            engine.stop().await;
            Ok(())
        }
    });
    let uploads = Arc::new(periodic::uploads::Uploads::new(&state));
    let files = Arc::new(periodic::files::Files::new(&state));
    let tasks = Arc::new(periodic::tasks::Tasks::new(&state));
    deps.supervisor.reconcile(tasks, None);
    let _ = state
        .poke_uploads
        .set(deps.supervisor.reconcile(uploads, None));
    let _ = state.poke_files.set(deps.supervisor.reconcile(files, None));
    if state.cache.is_some() {
        let caching = Arc::new(periodic::cache::Caching::new(&state));
        let _ = state
            .poke_cache
            .set(deps.supervisor.reconcile(caching, None));
    }
    let api = Api::new(
        Arc::clone(&state),
        config,
        routes::routes(),
        deps.auth,
        Arc::new(policy),
        None,
    )?;
    Ok(Built {
        endpoint: Arc::new(api),
        state,
    })
}
