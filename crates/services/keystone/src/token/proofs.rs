//! Proofs of who somebody is, a method each. All failures say the same.

use crate::Keystone;
use crate::api::{credentials, oauth1_flow, unauthorized};
use crate::db::app_creds::{self, AppCred, AppCredRow};
use crate::db::credentials::CredentialRow;
use crate::db::federation::MappingRow;
use crate::db::oauth1;
use crate::db::projects::ProjectRow;
use crate::db::users::{self, UserRow};
use crate::federation::login::evaluate;
use crate::federation::mapping::{Mapping, User};
use crate::identity::certificate::Certificate;
use crate::identity::oauth1::SignedRequest;
use crate::identity::{mfa, totp};
use crate::token::issue::{Named, NamedAppCred, Proven, Wanted, find_user};
use crate::token::payload::{BY_CERTIFICATE, Scope};
use crate::token::validate::enabled_user;
use base::{Error, Result, Secret};
use oslo_db::{Tx, all, eq};
use serde_json::Value;
use std::sync::Arc;

fn refused(action: &str) -> Error {
    Error::forbidden(crate::policy::wording(action))
}

impl Keystone {
    pub(crate) async fn prove_password(&self, named: &Named, password: &Secret) -> Result<Proven> {
        if let Some(user) = self.prove_by_directory(named, password).await? {
            return Ok(self.proven_by(user, "password"));
        }
        let who = named.clone();
        let user = self.db.peek(move |tx| find_user(tx, &who)).await?;
        let user = self.verify_password(user, password).await?;
        if self.compliance.is_expired(&user, self.clock.now()) {
            return Err(Error::unauthorized(format!(
                "The password is expired and needs to be changed for user: {}.",
                user.id
            )));
        }
        Ok(self.proven_by(user, "password"))
    }

    /// The passcode of any of the user's secrets will do. Wrong ones count as wrong passwords do.
    pub(crate) async fn prove_totp(&self, named: &Named, passcode: &Secret) -> Result<Proven> {
        let who = named.clone();
        let find = move |tx: &mut Tx| {
            let Some(user) = find_user(tx, &who)? else {
                return Ok(None);
            };
            let theirs = all([eq("user_id", &user.id), eq("type", "totp")]);
            let secrets: Vec<CredentialRow> = tx.select(theirs)?;
            Ok(Some((user, secrets)))
        };
        let (user, secrets) = self.db.read(find).await?.ok_or_else(unauthorized)?;
        let now = self.clock.now();
        let seconds = u64::try_from(now.seconds()).unwrap_or_default();
        let previous = self.conf.totp.included_previous_windows;
        let mut proven = false;
        for row in &secrets {
            let secret = credentials::open(self, row)?;
            proven |= totp::matches(&secret, passcode.expose(), seconds, previous);
        }
        let locked = self.is_locked_by_now(&user.id, now).await?;
        if !proven || locked || !user.enabled || self.compliance.is_inactive(&user, now) {
            tracing::info!(user.id = user.id, locked, "a login failed");
            if !proven && !locked {
                self.note_failure(&user, now).await?;
            }
            return Err(unauthorized());
        }
        Ok(self.proven_by(user, "totp"))
    }

    /// Of a method that begins a chain.
    fn proven_by(&self, user: UserRow, method: &'static str) -> Proven {
        Proven {
            user_id: user.id,
            default_project_id: user.default_project_id,
            methods: vec![method],
            expires_at: self.token_end(),
            chain: None,
            bound: None,
            mfa_rules: mfa::rules(&user.options.0),
            via: None,
        }
    }

    /// A token that lends less than its user's power may not be changed for one that lends more.
    pub(crate) async fn prove_token(
        self: &Arc<Self>,
        token: &Secret,
        wanted: &Wanted,
    ) -> Result<Proven> {
        // COMPAT: a token that means nothing is a 404 here too, where every other failed proof is a 401.
        let found = self.validated(token.expose()).await?;
        let scope = &found.claims.scope;
        match (scope, wanted) {
            (Scope::Trust { .. }, _) => {
                return Err(refused(
                    "Using trust-scoped token to create another token. Create a new trust-scoped token instead",
                ));
            }
            (Scope::Oauth { .. }, _) => {
                return Err(refused(
                    "Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead",
                ));
            }
            // The next one would be good without the certificate.
            (Scope::Certified { .. }, _) => {
                return Err(refused(
                    "Using a certificate-bound token to create another token. Create a new one with the certificate instead",
                ));
            }
            (Scope::System, Wanted::Project(_) | Wanted::Domain(_)) => {
                return Err(refused(
                    "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.",
                ));
            }
            (Scope::AppCred { .. }, Wanted::Default) => {}
            (Scope::AppCred { .. }, _) => {
                return Err(refused(
                    "Using an application credential token to create a scoped token is not allowed.",
                ));
            }
            _ => {}
        }
        if !scope.is_unscoped() && !self.conf.token.allow_rescope_scoped_token {
            return Err(refused("rescope a scoped token"));
        }
        let mut methods = found.claims.methods.clone();
        if !methods.contains(&"token") {
            methods.push("token");
        }
        let bound = matches!(scope, Scope::AppCred { .. }).then(|| scope.clone());
        Ok(Proven {
            user_id: found.claims.user_id.clone(),
            default_project_id: found.standing.default_project_id.clone(),
            methods,
            expires_at: found.claims.expires_at,
            chain: found.claims.audit_ids.last().cloned(),
            bound,
            mfa_rules: found.standing.mfa_rules.clone(),
            via: scope.via().cloned(),
        })
    }

    /// A consumer's signature over the login, with what it was told when a user agreed.
    pub(crate) async fn prove_oauth1(&self, signed: &SignedRequest) -> Result<Proven> {
        let consumer_id = signed.required("oauth_consumer_key")?.to_string();
        let id = signed.required("oauth_token")?.to_string();
        let find = move |tx: &mut Tx| {
            let access = oauth1::get_access_token(tx, &id)?;
            let consumer = oauth1::find_consumer(tx, &access.consumer_id)?;
            let user = users::find(tx, &access.user_id)?;
            Ok((access, consumer, user))
        };
        let (access, consumer, user) = self.db.read(find).await?;
        let now = self.clock.now();
        if access.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::unauthorized("Access token is expired"));
        }
        signed.check(now)?;
        let invalid = || Error::unauthorized("Could not validate the access token");
        let consumer = consumer
            .filter(|c| c.id == consumer_id)
            .ok_or_else(invalid)?;
        let consumer_secret = credentials::unseal(self, &consumer.encrypted_secret)?;
        let token_secret = credentials::unseal(self, &access.encrypted_secret)?;
        if !signed.is_signed_by(&consumer_secret, &token_secret) {
            tracing::info!(access_token.id = access.id, "a login failed");
            return Err(invalid());
        }
        oauth1_flow::use_once(self, signed).await?;
        let user = user.filter(|u| u.enabled && !self.compliance.is_inactive(u, now));
        let mut proven = self.proven_by(user.ok_or_else(unauthorized)?, "oauth1");
        proven.bound = Some(Scope::Oauth {
            access_token_id: access.id,
            project_id: access.project_id,
        });
        Ok(proven)
    }

    /// Whoever has the certificate that the mapping of `[oauth2]` says is this user's. Their token is for their own project,
    /// and good only beside the certificate.
    pub(crate) async fn prove_certificate(
        &self,
        user_id: &str,
        certificate: Certificate,
    ) -> Result<(Proven, Scope)> {
        let now = self.clock.now();
        let (id, mapping_id) = (
            user_id.to_string(),
            self.conf.oauth2.oauth2_cert_dn_mapping_id.clone(),
        );
        let find = move |tx: &mut Tx| {
            let mapping: Option<MappingRow> = tx.find(eq("id", &mapping_id))?;
            Ok(enabled_user(tx, &id)?.zip(mapping))
        };
        let found = self.db.read(find).await?;
        let refuse = |why: &str| {
            tracing::info!(user.id = user_id, why, "a login by certificate failed");
            unauthorized()
        };
        let Some(((user, domain), mapping)) = found else {
            return Err(refuse("no such user, or no mapping"));
        };
        let Some(project_id) = user.default_project_id.clone() else {
            return Err(refuse("no default project"));
        };
        if !certificate.is_of(now) || self.compliance.is_inactive(&user, now) {
            return Err(refuse("out of date"));
        }
        let mut attributes = certificate.attributes;
        let gather = |mapping: &Mapping| {
            let names: Vec<&str> = mapping.attributes().collect();
            attributes.retain(|name, _| names.contains(&name.as_str()));
            attributes
        };
        let mapped = evaluate(&mapping, gather).await;
        let mapped = mapped.map_err(|why| refuse(&why.to_string()))?;
        if !is_of_user(&mapped.user, &user, &domain) {
            return Err(refuse("the certificate is somebody else's"));
        }
        let proven = self.proven_by(user, BY_CERTIFICATE);
        if !mfa::met(&proven.mfa_rules, &proven.methods) {
            return Err(refuse("more proofs are asked for"));
        }
        let scope = Scope::Certified {
            project_id,
            thumbprint: certificate.thumbprint,
        };
        Ok((proven, scope))
    }

    pub(crate) async fn prove_app_cred(
        &self,
        named: &NamedAppCred,
        secret: &Secret,
    ) -> Result<Proven> {
        let wanted = named.clone();
        let found = self.db.read(move |tx| find_app_cred(tx, &wanted)).await?;
        let hash = found.as_ref().map(|(c, _)| c.row.secret_hash.as_str());
        if !self.passwords.matches_random(secret, hash).await? {
            let id = found.as_ref().map_or("-", |(c, _)| c.row.id.as_str());
            tracing::info!(app_cred.id = id, "a login failed");
            return Err(unauthorized());
        }
        let (credential, user) = found.ok_or_else(unauthorized)?;
        let ended = credential
            .row
            .expires_at
            .is_some_and(|end| end <= self.clock.now());
        let gone = !user.enabled || self.compliance.is_inactive(&user, self.clock.now());
        if ended || gone {
            return Err(unauthorized());
        }
        let mut proven = self.proven_by(user, "application_credential");
        proven.bound = Some(Scope::AppCred {
            id: credential.row.id,
            project_id: credential.row.project_id,
        });
        Ok(proven)
    }
}

/// Whether all that a certificate says of somebody is true of this user. One that says nothing is everybody's, so nobody's.
fn is_of_user(said: &User, user: &UserRow, domain: &ProjectRow) -> bool {
    let email = user.extra.0.get("email").and_then(Value::as_str);
    let of = said.domain.clone().unwrap_or_default();
    let pairs = [
        (&said.id, Some(user.id.as_str())),
        (&said.name, Some(user.shown_name())),
        (&said.email, email),
        (&of.id, Some(domain.id.as_str())),
        (&of.name, Some(domain.name.as_str())),
    ];
    let named = pairs[..3].iter().any(|(said, _)| said.is_some());
    let mut said = pairs.iter().filter(|(said, _)| said.is_some());
    named && said.all(|(said, is)| said.as_deref() == *is)
}

/// A credential with its user.
fn find_app_cred(tx: &mut Tx, named: &NamedAppCred) -> Result<Option<(AppCred, UserRow)>> {
    let found = match named {
        NamedAppCred::Id(id) => app_creds::find(tx, id)?,
        NamedAppCred::Name(name, user) => {
            let Some(user) = find_user(tx, user)? else {
                return Ok(None);
            };
            let same = all([eq("user_id", &user.id), eq("name", name)]);
            match tx.find::<AppCredRow>(same)? {
                Some(row) => app_creds::find(tx, &row.id)?,
                None => None,
            }
        }
    };
    let Some(credential) = found else {
        return Ok(None);
    };
    let user = users::find(tx, &credential.row.user_id)?;
    Ok(user.map(|user| (credential, user)))
}
