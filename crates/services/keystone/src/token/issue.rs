//! Making tokens: who proves what, and for which scope.

use crate::Keystone;
use crate::api::unauthorized;
use crate::assignment::effective;
use crate::db::projects::{self, ROOT};
use crate::db::users::{self, UserRow};
use crate::token::cache::{TokenCache, Validated};
use crate::token::payload::{self, Scope};
use crate::token::{Claims, new_audit_id};
use base::{Error, Result, Secret, Timestamp};
use oslo_db::Tx;
use std::sync::Arc;
use std::time::Duration;

/// A thing by id, or by name in a domain.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    Id(String),
    Name(String, DomainName),
}

/// A domain by id or name.
#[derive(Clone, Debug)]
pub(crate) enum DomainName {
    Id(String),
    Name(String),
}

/// What a caller asks for.
pub(crate) struct Ask {
    pub password: Option<(Named, Secret)>,
    pub token: Option<Secret>,
    pub scope: Wanted,
}

/// The scope asked for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// None named: the user's default project, if they may.
    Default,
    Unscoped,
    Project(Named),
    Domain(DomainName),
    System,
}

/// A proof that was accepted.
struct Proven {
    user_id: String,
    /// Where they go if no scope is asked for.
    default_project_id: Option<String>,
    methods: Vec<&'static str>,
    expires_at: Timestamp,
    /// The first token of the chain, if it began with one.
    chain: Option<String>,
}

impl Proven {
    /// Both proofs together: the methods of both, and the sooner end.
    fn also(mut self, other: Proven) -> Proven {
        for method in other.methods {
            if !self.methods.contains(&method) {
                self.methods.push(method);
            }
        }
        self.expires_at = self.expires_at.min(other.expires_at);
        self
    }
}

impl Keystone {
    /// Checks every proof, finds the scope and makes the token.
    pub(crate) async fn issue(self: &Arc<Self>, ask: Ask) -> Result<(String, Arc<Validated>)> {
        // What is remembered may be a second old. A token made on that would come after a revocation, and outlive it.
        self.catch_up().await?;
        let mut proven: Option<Proven> = None;
        if let Some((named, password)) = &ask.password {
            proven = Some(self.prove_password(named, password).await?);
        }
        if let Some(token) = &ask.token {
            let by_token = self.prove_token(token).await?;
            proven = Some(match proven {
                None => by_token,
                Some(by_password) if by_password.user_id == by_token.user_id => {
                    by_token.also(by_password)
                }
                Some(_) => return Err(unauthorized()),
            });
        }
        let proven = proven.ok_or_else(unauthorized)?;
        let scope = self.find_scope(&proven, ask.scope).await?;
        let now = self.clock.now();
        let claims = Claims {
            user_id: proven.user_id,
            methods: proven.methods,
            scope,
            issued_at: now,
            expires_at: proven.expires_at,
            audit_ids: std::iter::once(new_audit_id())
                .chain(proven.chain)
                .collect(),
        };
        self.seal(claims).await
    }

    async fn seal(&self, claims: Claims) -> Result<(String, Arc<Validated>)> {
        let seconds = u64::try_from(claims.issued_at.seconds()).map_err(Error::internal)?;
        let keys = self.keys.all();
        let primary = keys
            .first()
            .ok_or_else(|| Error::internal("no token keys"))?;
        let token = primary.seal(&payload::write(&claims), seconds);
        let generation = self.generation_now();
        let validated = self
            .describe(claims)
            .await
            .map_err(|e| if e.is_not_found() { unauthorized() } else { e })?;
        let validated = Arc::new(validated);
        self.cache
            .insert(TokenCache::key(&token, generation), Arc::clone(&validated));
        Ok((token, validated))
    }

    async fn prove_password(&self, named: &Named, password: &Secret) -> Result<Proven> {
        let who = named.clone();
        let user = self.db.read(move |tx| find_user(tx, &who)).await?;
        let hash = user.as_ref().and_then(|u| u.password_hash.as_deref());
        if !self.passwords.matches(password, hash).await? {
            let id = user.as_ref().map_or("-", |u| u.id.as_str());
            tracing::info!(user.id = id, "a login failed");
            return Err(unauthorized());
        }
        let user = user.filter(|u| u.enabled).ok_or_else(unauthorized)?;
        let ends = self
            .clock
            .now()
            .plus(Duration::from_secs(self.conf.token.expiration));
        Ok(Proven {
            user_id: user.id,
            default_project_id: user.default_project_id,
            methods: vec!["password"],
            expires_at: Timestamp::from_seconds(ends.seconds()),
            chain: None,
        })
    }

    /// The scope meant; whether the user may be there, and whether it is there at all if it is named by id, is seen
    /// when the token is described.
    async fn find_scope(&self, proven: &Proven, wanted: Wanted) -> Result<Scope> {
        match wanted {
            Wanted::Unscoped => Ok(Scope::Unscoped),
            Wanted::System => Ok(Scope::System),
            Wanted::Project(Named::Id(id)) => Ok(Scope::Project(id)),
            Wanted::Domain(DomainName::Id(id)) => Ok(Scope::Domain(id)),
            Wanted::Domain(named) => {
                let found = self.db.read(move |tx| find_domain_id(tx, &named)).await?;
                found.map(Scope::Domain).ok_or_else(unauthorized)
            }
            Wanted::Project(Named::Name(name, domain)) => {
                let find = move |tx: &mut Tx| match find_domain_id(tx, &domain)? {
                    Some(domain_id) => projects::find_named(tx, &domain_id, &name),
                    None => Ok(None),
                };
                let found = self.db.read(find).await?;
                found.map(|p| Scope::Project(p.id)).ok_or_else(unauthorized)
            }
            Wanted::Default => match proven.default_project_id.clone() {
                None => Ok(Scope::Unscoped),
                Some(id) => {
                    let user_id = proven.user_id.clone();
                    let find = move |tx: &mut Tx| default_scope(tx, &user_id, &id);
                    self.db.read(find).await
                }
            },
        }
    }

    async fn prove_token(self: &Arc<Self>, token: &Secret) -> Result<Proven> {
        let found = self.validated(token.expose()).await;
        let found = found.map_err(|e| if e.is_not_found() { unauthorized() } else { e })?;
        if found.claims.scope != Scope::Unscoped && !self.conf.token.allow_rescope_scoped_token {
            return Err(Error::forbidden(
                "You are not authorized to perform the requested action: rescope a scoped token.",
            ));
        }
        let mut methods = found.claims.methods.clone();
        if !methods.contains(&"token") {
            methods.push("token");
        }
        Ok(Proven {
            user_id: found.claims.user_id.clone(),
            default_project_id: found.standing.default_project_id.clone(),
            methods,
            expires_at: found.claims.expires_at,
            chain: found.claims.audit_ids.last().cloned(),
        })
    }
}

fn find_domain_id(tx: &mut Tx, domain: &DomainName) -> Result<Option<String>> {
    Ok(match domain {
        DomainName::Id(id) => projects::find_domain(tx, id)?.map(|d| d.id),
        DomainName::Name(name) => projects::find_named(tx, ROOT, name)?.map(|d| d.id),
    })
}

pub(crate) fn find_user(tx: &mut Tx, named: &Named) -> Result<Option<UserRow>> {
    match named {
        Named::Id(id) => users::find(tx, id),
        Named::Name(name, domain) => match find_domain_id(tx, domain)? {
            Some(domain_id) => users::find_named(tx, &domain_id, name),
            None => Ok(None),
        },
    }
}

/// The user's default project if it is there and they hold a role on it, else nothing.
fn default_scope(tx: &mut Tx, user_id: &str, id: &str) -> Result<Scope> {
    let Some(project) = projects::find(tx, id)?.filter(|p| p.enabled && !p.is_domain) else {
        return Ok(Scope::Unscoped);
    };
    let domain_on = projects::find_domain(tx, &project.domain_id)?.is_some_and(|d| d.enabled);
    if !domain_on || effective::on_project(tx, user_id, &project)?.is_empty() {
        return Ok(Scope::Unscoped);
    }
    Ok(Scope::Project(project.id))
}
