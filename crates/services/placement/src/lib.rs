//! Placement: what there is, what is taken, and who could serve a request.
//!
//! Reads that concern providers come from an index in memory that knows by one row whether it is behind ([`index`]);
//! writes are hard, serial transactions ([`db::revision`]) that check capacity and generations inside.

mod api;
pub mod candidates;
mod config;
pub mod db;
pub mod index;
mod names;
mod provider;
mod routes;

pub use config::PlacementConf as Conf;

use base::{Clock, Result};
use db::revision::{Change, serial};
use index::Index;
use oslo_db::{Db, Tx};
use oslo_http::{Api, Authenticate, Endpoint, Schemas, Wording};
use oslo_policy::Enforcer;
use std::sync::{Arc, PoisonError, RwLock};

/// What the binary gives.
pub struct Deps {
    pub db: Db,
    pub auth: Arc<dyn Authenticate>,
    pub conf: Conf,
    pub clock: Clock,
}

/// What the binary gets.
pub struct Built {
    pub endpoint: Arc<dyn Endpoint>,
    pub state: Arc<Placement>,
}

pub struct Placement {
    db: Db,
    index: RwLock<Index>,
    conf: Conf,
    clock: Clock,
}

/// Migrates, adds the standard names, fills the index.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("placement", db::MIGRATIONS).await?;
    let now = deps.clock.now();
    let standard = move |tx: &mut Tx| serial(tx, now, |tx, _| names::ensure_standard(tx, now));
    deps.db.write(standard).await?;
    let policy = Enforcer::new(
        include_str!("../policy.yaml"),
        deps.conf.policy_file.clone(),
    )?;
    let config = routes::config(&deps.conf);
    let state = Arc::new(Placement {
        db: deps.db,
        index: RwLock::new(Index::default()),
        conf: deps.conf,
        clock: deps.clock,
    });
    state.refresh().await?;
    let schemas = Schemas::load(include_str!("../schemas.json"), Wording::Placement)?;
    let api = Api::new(
        Arc::clone(&state),
        config,
        routes::routes(),
        deps.auth,
        Arc::new(policy),
        Some(schemas),
    )?;
    Ok(Built {
        endpoint: Arc::new(api),
        state,
    })
}

impl Placement {
    /// Brings the index up to the last commit, of whichever process.
    pub async fn refresh(&self) -> Result<()> {
        self.refresh_and(|_| Ok(())).await
    }

    /// The same, and looks at something else in the same transaction.
    async fn refresh_and<F>(&self, also: F) -> Result<()>
    where
        F: Fn(&mut Tx) -> Result<()> + Send + Sync + 'static,
    {
        let since = self
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .revision;
        let read = move |tx: &mut Tx| {
            also(tx)?;
            index::load_since(tx, since)
        };
        if let Some(delta) = self.db.read(read).await? {
            self.index
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .apply(delta);
        }
        Ok(())
    }

    /// Looks at the index as it was last refreshed.
    pub fn look<T>(&self, look: impl FnOnce(&Index) -> Result<T>) -> Result<T> {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` in a serial transaction.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx, &mut Change) -> Result<T> + Send + Sync + 'static,
    {
        let now = self.clock.now();
        self.db.write(move |tx| serial(tx, now, &work)).await
    }
}
