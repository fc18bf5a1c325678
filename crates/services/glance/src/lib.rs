//! Glance: a record, a stream and a store.
//!
//! The record is rows ([`db`]), the stream is [`upload`] and the download in [`api`], the store a folder ([`store`]).
//! What a broken upload or a delete leaves behind is removed by [`periodic`].

mod api;
mod config;
pub mod db;
pub mod image;
pub mod inspect;
mod metadef;
pub mod periodic;
mod routes;
pub mod store;
mod upload;

pub use config::GlanceConf as Conf;
pub use inspect::{ImageInspector, Inspectors, Verdict};

use base::{Clock, Error, Result};
use oslo_db::Db;
use oslo_http::{Api, Authenticate, Endpoint};
use oslo_policy::Enforcer;
use oslo_service::{Poke, Supervisor};
use std::sync::{Arc, OnceLock};
use store::Store;

/// What the binary gives.
pub struct Deps {
    pub db: Db,
    pub auth: Arc<dyn Authenticate>,
    pub conf: Conf,
    pub clock: Clock,
    pub supervisor: Arc<Supervisor>,
    pub inspectors: Inspectors,
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
    pub(crate) store: Store,
    pub(crate) inspectors: Inspectors,
    /// This process, for the uploads it receives.
    pub(crate) process: String,
    pub(crate) live: upload::Live,
    poke_uploads: OnceLock<Poke>,
    poke_files: OnceLock<Poke>,
}

impl Glance {
    pub(crate) fn poke_uploads(&self) {
        if let Some(poke) = self.poke_uploads.get() {
            poke.poke();
        }
    }

    pub(crate) fn poke_files(&self) {
        if let Some(poke) = self.poke_files.get() {
            poke.poke();
        }
    }
}

/// Migrates, opens the store, starts the reconcilers.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("glance", db::MIGRATIONS).await?;
    metadef::catalog::load(&deps.db, deps.clock.now()).await?;
    let folder = deps.conf.filesystem_store_datadir.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    let store = opened.map_err(Error::internal)??;
    let policy = Enforcer::new(
        include_str!("../policy.yaml"),
        deps.conf.policy_file.clone(),
    )?;
    let config = routes::config(&deps.conf);
    let state = Arc::new(Glance {
        db: deps.db,
        conf: deps.conf,
        clock: deps.clock,
        store,
        inspectors: deps.inspectors,
        process: base::new_id(),
        live: upload::Live::default(),
        poke_uploads: OnceLock::new(),
        poke_files: OnceLock::new(),
    });
    let uploads = Arc::new(periodic::uploads::Uploads::new(&state));
    let files = Arc::new(periodic::files::Files::new(&state));
    let _ = state
        .poke_uploads
        .set(deps.supervisor.reconcile(uploads, None));
    let _ = state.poke_files.set(deps.supervisor.reconcile(files, None));
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
