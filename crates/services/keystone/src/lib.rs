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
pub mod federation;
mod identity;
mod policy;
mod routes;
mod sync;
mod token;

pub use auth::LocalAuth;
pub use bootstrap::{BootstrapSpec, Bootstrapped, EndpointSpec, bootstrap};
pub use config::Conf;
pub use db::MIGRATIONS;

use base::{Clock, Error, Result, Secret};
use config::TokenProvider;
use keystone_types::GenerationClient;
use oslo_db::{Db, Tx};
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint, Schemas, Wording};
use oslo_policy::Enforcer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;
use token::cache::TokenCache;
use token::fernet::Key;
use token::jws::Jws;
use token::keys::{self, Keys, Repository, Seal};
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
    /// The secret of the cloud, the same in all its keystones. Keys that no directory is configured for are in the
    /// database, sealed with it; without it they die with the process.
    pub secret: Secret,
    /// Where this cloud kept `fernet-keys` and `credential-keys` before they were in the database: taken from there
    /// when the database has none.
    pub old_keys: Option<PathBuf>,
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
    pub(crate) compliance: identity::compliance::Compliance,
    pub(crate) keys: Keys,
    pub(crate) credential_keys: Keys,
    /// Where tokens are signed, or were until now.
    pub(crate) jws: Option<Jws>,
    pub(crate) cache: TokenCache,
    pub(crate) revocations: RwLock<Revocations>,
    pub(crate) sync: sync::Sync,
    pub(crate) directories: identity::ldap::mirror::Directories,
    pub(crate) domain_files: identity::ldap::files::DomainFiles,
    /// The database's, as far as this process has taken it up.
    generation: Arc<AtomicU64>,
    /// Whom to tell that it moved.
    everybody: OnceLock<GenerationClient>,
}

impl Keystone {
    /// Moves whenever anything was written, so whenever a token may mean something else or nothing any more.
    pub fn generation(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.generation)
    }

    pub(crate) fn generation_now(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Runs a transaction that changes something, and makes everybody forget what they remember. Writers wait for each
    /// other, also those in other processes, so what one finds missing nobody else makes meanwhile.
    pub(crate) async fn write<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        let now = self.clock.now();
        let (value, generation) = self
            .db
            .write(move |tx| {
                let generation = db::generation::advance(tx, now)?;
                Ok((closure(tx)?, generation))
            })
            .await?;
        self.caught_up(generation).await?;
        self.announce(generation);
        Ok(value)
    }

    /// Makes the staged token key primary; tokens made before stay valid until their key is forgotten, and no longer.
    pub async fn rotate_keys(self: &Arc<Self>) -> Result<()> {
        let most = self.keys.max_active();
        if let Some(jws) = &self.jws {
            match jws.seal().cloned() {
                Some(seal) => {
                    self.write(move |tx| {
                        let rows = db::keys::list(tx, keys::SIGNATURES)?;
                        let rotated = Jws::rotated_rows(&seal, &rows, most)?;
                        db::keys::replace(tx, keys::SIGNATURES, &rotated)
                    })
                    .await?;
                }
                None => jws.rotate(most)?,
            }
        }
        if let Repository::Database(seal) = &self.keys.repository {
            let seal = seal.clone();
            return self.write(move |tx| rotate_rows(tx, &seal, most)).await;
        }
        let keystone = Arc::clone(self);
        tokio::task::spawn_blocking(move || keystone.keys.rotate())
            .await
            .map_err(Error::internal)??;
        self.write(|_| Ok(())).await
    }

    pub(crate) fn is_two_level(&self) -> bool {
        self.conf.unified_limit.enforcement_model == config::EnforcementModel::StrictTwoLevel
    }

    /// How deep projects may be nested, domain included.
    pub(crate) fn project_depth(&self) -> u64 {
        let most = self.conf.keystone.max_project_tree_depth;
        if self.is_two_level() {
            most.min(2)
        } else {
            most
        }
    }

    /// How long a revocation must be remembered: until no token can be older.
    pub(crate) fn revocations_last(&self) -> Duration {
        Duration::from_secs(
            self.conf.token.expiration + self.conf.token.allow_expired_window + 3600,
        )
    }
}

fn rotate_rows(tx: &mut Tx, seal: &Seal, most: usize) -> Result<()> {
    let rows = db::keys::list(tx, keys::TOKENS)?;
    let rotated = keys::rotated(seal.open_all(keys::TOKENS, &rows)?, most, Key::random);
    let rows = seal.seal_all(keys::TOKENS, &rotated)?;
    db::keys::replace(tx, keys::TOKENS, &rows)
}

/// Opens, or makes, the keys for a purpose, wherever they are to be.
async fn open_keys(
    deps: &Deps,
    purpose: &'static str,
    directory: Option<PathBuf>,
    max_active: u64,
) -> Result<Keys> {
    if let Some(directory) = directory {
        let open = move || Keys::open(purpose, directory, max_active);
        return tokio::task::spawn_blocking(open)
            .await
            .map_err(Error::internal)?;
    }
    if deps.secret.is_empty() {
        let keys = keys::fresh();
        return Ok(Keys::new(purpose, Repository::Process, keys, max_active));
    }
    let seal = Seal::new(&deps.secret);
    let mut rows = deps.db.read(move |tx| db::keys::list(tx, purpose)).await?;
    if rows.is_empty() {
        let old = deps.old_keys.as_ref().map(|old| match purpose {
            keys::CREDENTIALS => old.join("credential-keys"),
            _ => old.join("fernet-keys"),
        });
        let first =
            move || Ok::<_, Error>(old.as_deref().map(keys::left_in).transpose()?.flatten());
        let first = tokio::task::spawn_blocking(first)
            .await
            .map_err(Error::internal)??;
        let first = seal.seal_all(purpose, &first.unwrap_or_else(keys::fresh))?;
        let now = deps.clock.now();
        let ensure = move |tx: &mut Tx| {
            // Whoever comes second waits here, and finds the keys of the first.
            db::generation::advance(tx, now)?;
            if db::keys::list(tx, purpose)?.is_empty() {
                db::keys::replace(tx, purpose, &first)?;
            }
            db::keys::list(tx, purpose)
        };
        rows = deps.db.write(ensure).await?;
    }
    let keys = seal.open_all(purpose, &rows)?;
    let repository = Repository::Database(seal);
    Ok(Keys::new(purpose, repository, keys, max_active))
}

/// Opens, or makes, the keys that sign tokens. A cloud that signed them once reads those for as long as their keys are there.
async fn open_jws(deps: &Deps) -> Result<Option<Jws>> {
    let signs = deps.conf.token.provider == TokenProvider::Jws;
    let conf = deps.conf.jwt_tokens.clone();
    match (
        conf.jws_public_key_repository,
        conf.jws_private_key_repository,
    ) {
        (Some(public), private) => {
            if signs && private.is_none() {
                return Err(Error::bad_request(
                    "[jwt_tokens] jws_private_key_repository is needed beside jws_public_key_repository",
                ));
            }
            let private = private.unwrap_or_default();
            let open = move || Jws::open_directories(private, public, signs);
            let opened = tokio::task::spawn_blocking(open);
            return opened.await.map_err(Error::internal)?.map(Some);
        }
        (None, Some(_)) => {
            return Err(Error::bad_request(
                "[jwt_tokens] jws_public_key_repository is needed beside jws_private_key_repository",
            ));
        }
        (None, None) => {}
    }
    if deps.secret.is_empty() {
        return signs.then(Jws::of_process).transpose();
    }
    let seal = Seal::new(&deps.secret);
    let read = |tx: &mut Tx| db::keys::list(tx, keys::SIGNATURES);
    let mut rows = deps.db.read(read).await?;
    if rows.is_empty() && signs {
        let (first, now) = (Jws::fresh_rows(&seal)?, deps.clock.now());
        let ensure = move |tx: &mut Tx| {
            // Whoever comes second waits here, and finds the keys of the first.
            db::generation::advance(tx, now)?;
            if db::keys::list(tx, keys::SIGNATURES)?.is_empty() {
                db::keys::replace(tx, keys::SIGNATURES, &first)?;
            }
            db::keys::list(tx, keys::SIGNATURES)
        };
        rows = deps.db.write(ensure).await?;
    }
    match rows.is_empty() {
        true => Ok(None),
        false => Jws::open_rows(seal, &rows).map(Some),
    }
}

/// Migrates the database, reads the keys and puts the surface together.
pub async fn build(deps: Deps) -> Result<Built> {
    deps.db.migrate("keystone", db::MIGRATIONS).await?;
    let fernet = deps.conf.fernet_tokens.clone();
    let token_keys = open_keys(
        &deps,
        keys::TOKENS,
        fernet.key_repository,
        fernet.max_active_keys,
    )
    .await?;
    let repository = deps.conf.credential_repository();
    let credential_keys = open_keys(&deps, keys::CREDENTIALS, repository, u64::MAX).await?;
    let jws = open_jws(&deps).await?;
    let (conf, now) = (deps.conf, deps.clock.now());
    let domain_files = identity::ldap::files::read(&conf.identity, &conf.ldap).await?;
    let state = Arc::new(Keystone {
        db: deps.db,
        clock: deps.clock,
        passwords: identity::password::Passwords::new(&conf.identity)?,
        compliance: identity::compliance::Compliance::new(&conf.security_compliance)?,
        keys: token_keys,
        credential_keys,
        jws,
        cache: TokenCache::new(
            conf.token.cache_size,
            Duration::from_secs(conf.token.cache_time),
        ),
        revocations: RwLock::new(Revocations::default()),
        sync: sync::Sync::default(),
        directories: identity::ldap::mirror::Directories::new(now),
        domain_files,
        generation: Arc::default(),
        everybody: OnceLock::new(),
        conf,
    });
    state.catch_up().await?;
    let policy = Enforcer::new(include_str!("../policy.yaml"), deps.policy_file)?
        .with_wording(policy::wording, None);
    let auth = Arc::new(LocalAuth::new(Arc::clone(&state)));
    let mut config = ApiConfig::new("keystone", oslo_http::faults::wrapped);
    config.strict_content_type = false;
    config.auth_first = false;
    config.trailing_slash = true;
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
