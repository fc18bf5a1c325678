//! Making tokens: who proves what, and for which scope.

use crate::Keystone;
use crate::api::unauthorized;
use crate::assignment::effective;
use crate::config::TokenProvider;
use crate::db::projects::{self, ROOT};
use crate::db::trusts;
use crate::db::users::{self, UserRow};
use crate::identity::mfa;
use crate::identity::oauth1::SignedRequest;
use crate::token::cache::{TokenCache, Validated};
use crate::token::payload::{self, Scope, Via};
use crate::token::receipts::Receipt;
use crate::token::validate::MAX_TOKEN;
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

/// An application credential by id, or by the name that its user gave it.
#[derive(Clone, Debug)]
pub(crate) enum NamedAppCred {
    Id(String),
    Name(String, Named),
}

/// What a caller asks for.
pub(crate) struct Ask {
    pub password: Option<(Named, Secret)>,
    pub token: Option<Secret>,
    pub app_cred: Option<(NamedAppCred, Secret)>,
    pub totp: Option<(Named, Secret)>,
    pub oauth1: Option<SignedRequest>,
    /// For proofs that were given before.
    pub receipt: Option<Secret>,
    pub scope: Wanted,
}

/// What comes of it.
pub(crate) enum Issued {
    Token(String, Arc<Validated>),
    /// The proofs were good, but not enough: their receipt, its text, and what would be enough.
    Receipt(String, Receipt, Vec<Vec<String>>),
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
    Trust(String),
}

/// A proof that was accepted.
pub(crate) struct Proven {
    pub user_id: String,
    /// Where they go if no scope is asked for.
    pub default_project_id: Option<String>,
    pub methods: Vec<&'static str>,
    pub expires_at: Timestamp,
    /// The first token of the chain, if it began with one.
    pub chain: Option<String>,
    /// The only scope that the proof is good for: an application credential's, or what a consumer was let do.
    pub bound: Option<Scope>,
    /// Which methods together are enough for this user.
    pub mfa_rules: Vec<Vec<String>>,
    /// By whose word they are who they are.
    pub via: Option<Arc<Via>>,
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
        self.chain = self.chain.or(other.chain);
        self.bound = self.bound.or(other.bound);
        self.via = self.via.or(other.via);
        self
    }
}

impl Keystone {
    /// Checks every proof, finds the scope and makes the token.
    pub(crate) async fn issue(self: &Arc<Self>, ask: Ask) -> Result<Issued> {
        // What is remembered may be a second old. A token made on that would come after a revocation, and outlive it.
        self.catch_up().await?;
        self.end_memberships().await?;
        let mut proofs = Vec::new();
        if let Some(token) = &ask.token {
            proofs.push(self.prove_token(token, &ask.scope).await?);
        }
        if let Some((named, secret)) = &ask.app_cred {
            proofs.push(self.prove_app_cred(named, secret).await?);
        }
        if let Some((named, password)) = &ask.password {
            proofs.push(self.prove_password(named, password).await?);
        }
        if let Some((named, passcode)) = &ask.totp {
            proofs.push(self.prove_totp(named, passcode).await?);
        }
        if let Some(signed) = &ask.oauth1 {
            proofs.push(self.prove_oauth1(signed).await?);
        }
        let user_id = proofs.first().map(|p| p.user_id.clone());
        if proofs.iter().any(|p| Some(&p.user_id) != user_id.as_ref()) {
            return Err(unauthorized());
        }
        let proven = proofs.into_iter().reduce(Proven::also);
        let mut proven = proven.ok_or_else(unauthorized)?;
        if let Some(text) = &ask.receipt {
            let receipt = self.read_receipt(text.expose())?;
            if receipt.user_id != proven.user_id {
                return Err(unauthorized());
            }
            let new = |m: &&'static str| !proven.methods.contains(m);
            let before: Vec<&'static str> = receipt.methods.into_iter().filter(new).collect();
            proven.methods.extend(before);
        }
        proven.mfa_rules = mfa::offered(proven.mfa_rules, &self.conf.auth.methods);
        if !mfa::met(&proven.mfa_rules, &proven.methods) {
            let (text, receipt) = self.issue_receipt(proven.user_id, proven.methods)?;
            return Ok(Issued::Receipt(text, receipt, proven.mfa_rules));
        }
        // Only now: who has one of two proofs must not guess the other one for ever.
        if ask.password.is_some() || ask.totp.is_some() {
            self.note_login_of(&proven.user_id).await?;
        }
        let mut scope = self.find_scope(&proven, ask.scope).await?;
        if let Some(via) = &proven.via {
            scope = scope.vouched(via);
        }
        let (token, validated) = self.grant(proven, scope).await?;
        Ok(Issued::Token(token, validated))
    }

    /// Makes the token of somebody who has proven who they are, if they may be in that scope.
    pub(crate) async fn grant(
        self: &Arc<Self>,
        proven: Proven,
        scope: Scope,
    ) -> Result<(String, Arc<Validated>)> {
        let claims = Claims {
            user_id: proven.user_id,
            methods: proven.methods,
            scope,
            issued_at: self.clock.now(),
            expires_at: proven.expires_at,
            audit_ids: std::iter::once(new_audit_id())
                .chain(proven.chain)
                .collect(),
        };
        let trust_id = match &claims.scope {
            Scope::Trust { id, .. } => Some(id.clone()),
            _ => None,
        };
        let sealed = self.seal(claims).await?;
        if let Some(id) = trust_id {
            self.use_trust(id).await?;
        }
        Ok(sealed)
    }

    /// Takes one of a trust's uses, if they are counted.
    async fn use_trust(&self, id: String) -> Result<()> {
        let counted = id.clone();
        let counted = self
            .db
            .read(move |tx| {
                Ok(trusts::find_any(tx, &counted)?.is_some_and(|t| t.remaining_uses.is_some()))
            })
            .await?;
        if !counted {
            return Ok(());
        }
        match self.write(move |tx| trusts::consume(tx, &id)).await? {
            true => Ok(()),
            false => Err(unauthorized()),
        }
    }

    /// When a token that is made now ends.
    pub(crate) fn token_end(&self) -> Timestamp {
        let ends = self
            .clock
            .now()
            .plus(Duration::from_secs(self.conf.token.expiration));
        Timestamp::from_seconds(ends.seconds())
    }

    async fn seal(&self, mut claims: Claims) -> Result<(String, Arc<Validated>)> {
        let seconds = u64::try_from(claims.issued_at.seconds()).map_err(Error::internal)?;
        let generation = self.generation_now();
        let by_trust = matches!(claims.scope, Scope::Trust { .. });
        let standing = self.standing(&claims.user_id, &claims.scope).await;
        let standing = standing.map_err(|e| match e.is_not_found() {
            // COMPAT: the trustor's loss is a 403.
            true if by_trust => Error::forbidden("Trustee has no delegated roles."),
            true => unauthorized(),
            false => e,
        })?;
        if let Some(end) = standing.ends_at {
            claims.expires_at = claims.expires_at.min(end);
        }
        let token = self.write_token(&claims, seconds)?;
        if token.len() > MAX_TOKEN {
            return Err(Error::forbidden(
                "The user is in too many groups for a token to name.",
            ));
        }
        let validated = self
            .describe(claims)
            .await
            .map_err(|e| if e.is_not_found() { unauthorized() } else { e })?;
        let validated = Arc::new(validated);
        self.cache
            .insert(TokenCache::key(&token, generation), Arc::clone(&validated));
        Ok((token, validated))
    }

    fn write_token(&self, claims: &Claims, seconds: u64) -> Result<String> {
        if let (TokenProvider::Jws, Some(jws)) = (self.conf.token.provider, &self.jws) {
            return jws.sign(claims);
        }
        let keys = self.keys.all();
        let primary = keys
            .first()
            .ok_or_else(|| Error::internal("no token keys"))?;
        Ok(primary.seal(&payload::write(claims), seconds))
    }

    /// The scope meant; whether the user may be there, and whether it is there at all if it is named by id, is seen
    /// when the token is described.
    async fn find_scope(&self, proven: &Proven, wanted: Wanted) -> Result<Scope> {
        if let Some(bound) = &proven.bound {
            return match (wanted, bound) {
                // COMPAT: what a consumer asks for beside is not heard.
                (Wanted::Default, _) | (_, Scope::Oauth { .. }) => Ok(bound.clone()),
                _ => Err(Error::unauthorized(
                    "Error authenticating with application credential: Application credentials cannot request a scope.",
                )),
            };
        }
        match wanted {
            Wanted::Unscoped => Ok(Scope::Unscoped),
            Wanted::System => Ok(Scope::System),
            Wanted::Project(Named::Id(id)) => Ok(Scope::Project(id)),
            Wanted::Domain(DomainName::Id(id)) => Ok(Scope::Domain(id)),
            Wanted::Domain(named) => {
                let found = self.db.peek(move |tx| find_domain_id(tx, &named)).await?;
                found.map(Scope::Domain).ok_or_else(unauthorized)
            }
            Wanted::Project(Named::Name(name, domain)) => {
                let find = move |tx: &mut Tx| match find_domain_id(tx, &domain)? {
                    Some(domain_id) => projects::find_named(tx, &domain_id, &name),
                    None => Ok(None),
                };
                let found = self.db.peek(find).await?;
                found.map(|p| Scope::Project(p.id)).ok_or_else(unauthorized)
            }
            Wanted::Trust(id) => {
                let now = self.clock.now();
                let found = self.db.read(move |tx| trusts::find(tx, &id, now)).await?;
                let trust = found.ok_or_else(unauthorized)?;
                if trust.trustee_user_id != proven.user_id {
                    return Err(Error::forbidden("User is not a trustee."));
                }
                Ok(Scope::Trust {
                    id: trust.id,
                    project_id: trust.project_id,
                })
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
}

pub(crate) fn find_domain_id(tx: &mut Tx, domain: &DomainName) -> Result<Option<String>> {
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
