//! Keystone: who somebody is, what they may do where, and where the services are.
//!
//! Code map: `routes.rs` is the whole HTTP surface; `api/` a noun per file; `token/` the hot path; `assignment/` who
//! holds what; `db/` a table per file; `bootstrap.rs` what a new cloud starts with.

mod api;
mod assignment;
mod auth;
mod bootstrap;
pub mod config;
mod db;
mod identity;
mod policy;
mod routes;
mod sync;
mod token;

pub use auth::LocalAuth;
pub use bootstrap::{BootstrapSpec, Bootstrapped, EndpointSpec, bootstrap};
pub use config::Conf;

use base::{Clock, Error, Result};
use oslo_db::{Db, Tx};
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint, Schemas, Wording};
use oslo_policy::Enforcer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use token::cache::TokenCache;
use token::keys::Keys;
use token::revocations::Revocations;

/// What keystone is built from.
pub struct Deps {
    /// Its database.
    pub db: Db,
    /// Its options.
    pub conf: Conf,
    /// Where time comes from.
    pub clock: Clock,
    /// The operator's policy file.
    pub policy_file: Option<PathBuf>,
}

/// Keystone, ready to serve.
pub struct Built {
    /// Its HTTP surface.
    pub endpoint: Arc<dyn Endpoint>,
    /// What is behind it.
    pub state: Arc<Keystone>,
    /// The authenticator over it.
    pub auth: Arc<LocalAuth>,
}

/// The identity service.
pub struct Keystone {
    pub(crate) db: Db,
    pub(crate) conf: Conf,
    pub(crate) clock: Clock,
    pub(crate) passwords: identity::password::Passwords,
    pub(crate) keys: Keys,
    pub(crate) credential_keys: Keys,
    pub(crate) cache: TokenCache,
    pub(crate) revocations: RwLock<Revocations>,
    pub(crate) sync: sync::Sync,
    generation: Arc<AtomicU64>,
}

impl Keystone {
    /// Moves whenever anything was written, so whenever a token may mean something else or nothing any more.
    pub fn generation(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.generation)
    }

    pub(crate) fn generation_now(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn generation_moved(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.cache.clear();
    }

    /// Runs a transaction that changes something, and makes everybody forget what they remember.
    pub(crate) async fn write<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        let (value, generation) = self
            .db
            .write(move |tx| {
                let value = closure(tx)?;
                db::generation::advance(tx)?;
                Ok((value, db::generation::current(tx)?))
            })
            .await?;
        self.caught_up(generation).await?;
        Ok(value)
    }

    /// Makes the staged token key primary; tokens made before stay valid until their key is forgotten, and no longer.
    pub async fn rotate_keys(self: &Arc<Self>) -> Result<()> {
        let keystone = Arc::clone(self);
        tokio::task::spawn_blocking(move || keystone.keys.rotate())
            .await
            .map_err(Error::internal)??;
        self.generation_moved();
        Ok(())
    }

    /// How long a revocation must be remembered: until no token can be older.
    pub(crate) fn revocations_last(&self) -> Duration {
        Duration::from_secs(
            self.conf.token.expiration + self.conf.token.allow_expired_window + 3600,
        )
    }
}

/// Migrates the database, reads the keys and puts the surface together.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("keystone", db::MIGRATIONS).await?;
    let conf = deps.conf;
    let fernet = conf.fernet_tokens.clone();
    let credential_repository = conf.credential_repository();
    let open = move || {
        let keys = Keys::open(fernet.key_repository, fernet.max_active_keys)?;
        // Credentials outlive every token, so their keys are others and no rotation forgets them.
        Ok::<_, Error>((keys, Keys::open(credential_repository, u64::MAX)?))
    };
    let (keys, credential_keys) = tokio::task::spawn_blocking(open)
        .await
        .map_err(Error::internal)??;
    let state = Arc::new(Keystone {
        db: deps.db,
        clock: deps.clock,
        passwords: identity::password::Passwords::new(&conf.identity)?,
        keys,
        credential_keys,
        cache: TokenCache::new(
            conf.token.cache_size,
            Duration::from_secs(conf.token.cache_time),
        ),
        revocations: RwLock::new(Revocations::default()),
        sync: sync::Sync::default(),
        generation: Arc::new(AtomicU64::new(1)),
        conf,
    });
    state.catch_up().await?;
    let policy = Enforcer::new(include_str!("../policy.yaml"), deps.policy_file)?
        .with_wording(policy::wording, None);
    let auth = Arc::new(LocalAuth::new(Arc::clone(&state)));
    let mut config = ApiConfig::new("keystone", oslo_http::faults::wrapped);
    config.strict_content_type = false;
    config.auth_first = false;
    config.request_id_headers = &["x-openstack-request-id"];
    if let Some(public) = &state.conf.keystone.public_endpoint {
        config.identity_uri = public.clone();
    }
    let schemas = Schemas::load(include_str!("../schemas.json"), Wording::Field)?;
    let authenticate: Arc<dyn Authenticate> = Arc::clone(&auth) as Arc<dyn Authenticate>;
    let api = Api::new(
        Arc::clone(&state),
        config,
        routes::routes(),
        authenticate,
        Arc::new(policy),
        Some(schemas),
    )?;
    Ok(Built {
        endpoint: Arc::new(api),
        state,
        auth,
    })
}
