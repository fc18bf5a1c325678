//! From a token to its meaning: remembered, or opened, checked against revocations and looked up.

use crate::Keystone;
use crate::assignment::effective::{self, Who};
use crate::db::federation::{self, IdpRow, ServiceProviderRow};
use crate::db::projects::{self, ProjectRow, ROOT};
use crate::db::roles::RoleRow;
use crate::db::users::{self, UserRow};
use crate::federation::shadow::still_vouched;
use crate::identity::mfa;
use crate::token::cache::{Standing, TokenCache, Validated};
use crate::token::catalog::{self, Substitutions};
use crate::token::delegation::{self, Delegation};
use crate::token::payload::{self, Place, Scope, Via};
use crate::token::revocations::Subject;
use crate::token::{Claims, fernet, jws};
use base::{Dir, Error, Result, Timestamp};
use keystone_types::{
    AppCredRef, CatalogService, CertificateRef, DomainRef, FederationRef, IdRef, OauthRef,
    ProjectRef, RoleRef, ServiceProviderRef, SystemScope, Token, TrustRef, UserRef,
};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq};
use serde_json::value::to_raw_value;
use std::sync::Arc;
use std::time::Duration;

/// Longer texts are no tokens.
pub(crate) const MAX_TOKEN: usize = 8192;

fn not_found() -> Error {
    // COMPAT: upstream repeats the token here; we rather do not.
    Error::not_found("Could not find token.")
}

/// Who and where, as the database says now.
pub(crate) struct Facts {
    pub user: UserRow,
    pub user_domain: ProjectRow,
    pub project: Option<ProjectRow>,
    pub project_domain: Option<ProjectRow>,
    pub domain: Option<ProjectRow>,
    pub roles: Vec<RoleRow>,
    pub catalog: Option<Vec<CatalogService>>,
    pub delegation: Option<Delegation>,
    pub vouched: Option<FederationRef>,
    pub service_providers: Vec<ServiceProviderRef>,
}

impl Keystone {
    /// The meaning of a token that is good now.
    pub(crate) async fn validated(self: &Arc<Self>, token: &str) -> Result<Arc<Validated>> {
        self.validated_within(token, Duration::ZERO).await
    }

    /// The meaning of a token that ended no longer than `grace` ago.
    pub(crate) async fn validated_within(
        self: &Arc<Self>,
        token: &str,
        grace: Duration,
    ) -> Result<Arc<Validated>> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(not_found());
        }
        self.look_around().await?;
        self.end_memberships().await?;
        let now = self.clock.now().minus(grace);
        let key = TokenCache::key(token, self.generation_now());
        if let Some(found) = self.cache.get(&key) {
            return if found.expires_at() > now {
                Ok(found)
            } else {
                Err(not_found())
            };
        }
        let claims = self.read_token(token).ok_or_else(not_found)?;
        if claims.expires_at <= now {
            return Err(not_found());
        }
        let validated = Arc::new(self.describe(claims).await?);
        self.cache.insert(key, Arc::clone(&validated));
        Ok(validated)
    }

    /// What a token says, of whichever kind it is.
    fn read_token(&self, token: &str) -> Option<Claims> {
        if jws::looks_like(token) {
            return self.jws.as_ref()?.read(token);
        }
        let (bytes, seconds) = fernet::open(&self.keys.all(), token)?;
        payload::read(&bytes, seconds)
    }

    /// Finds everything that the claims name. 404 if any of it is gone, disabled or revoked.
    pub(crate) async fn describe(&self, mut claims: Claims) -> Result<Validated> {
        let standing = self.standing(&claims.user_id, &claims.scope).await?;
        // Whoever made the token: it does not outlive what it was delegated by.
        if let Some(end) = standing.ends_at {
            claims.expires_at = claims.expires_at.min(end);
        }
        let subject = Subject {
            audit_id: claims.audit_ids.first().map_or("", String::as_str),
            user_ids: [Some(&claims.user_id), standing.trustor_id.as_deref()],
            project_id: standing.token.project.as_ref().map(|p| p.id.as_str()),
            domain_ids: standing.domain_ids.each_ref().map(Option::as_deref),
            issued_at: claims.issued_at,
        };
        if self.is_revoked(&subject) {
            return Err(not_found());
        }
        Ok(Validated { claims, standing })
    }

    pub(crate) fn is_revoked(&self, subject: &Subject<'_>) -> bool {
        let known = self.revocations.read().unwrap_or_else(|e| e.into_inner());
        known.hit(subject)
    }

    /// What the user is in the scope: remembered, or looked up. 404 if they may not be there.
    pub(crate) async fn standing(&self, user_id: &str, scope: &Scope) -> Result<Arc<Standing>> {
        // Read before the database is: what is found may be newer than this says, never older.
        let key = (user_id.to_string(), scope.clone(), self.generation_now());
        if let Some(found) = self.cache.standing(&key) {
            return Ok(found);
        }
        let (user_id, scope) = (key.0.clone(), key.1.clone());
        let now = self.clock.now();
        let all_endpoints = self.conf.endpoint_filter.return_all_endpoints_if_no_filter;
        let facts = self
            .db
            .read(move |tx| facts(tx, &user_id, &scope, now, all_endpoints))
            .await?
            .ok_or_else(not_found)?;
        let standing = Arc::new(assemble(&key.1, facts)?);
        self.cache.remember(key, Arc::clone(&standing));
        Ok(standing)
    }
}

/// `None` if the user may not be in that scope now: gone, disabled, or without any role there.
pub(crate) fn facts(
    tx: &mut Tx,
    user_id: &str,
    scope: &Scope,
    now: Timestamp,
    all_endpoints: bool,
) -> Result<Option<Facts>> {
    let Some((user, user_domain)) = enabled_user(tx, user_id)? else {
        return Ok(None);
    };
    let mut facts = Facts {
        user,
        user_domain,
        project: None,
        project_domain: None,
        domain: None,
        roles: vec![],
        catalog: None,
        delegation: None,
        vouched: None,
        service_providers: service_providers(tx)?,
    };
    let mut more_groups = vec![];
    if let Some(via) = scope.via() {
        let Some(groups) = groups_by(tx, user_id, via)? else {
            return Ok(None);
        };
        let named = groups.iter().map(|id| IdRef { id: id.clone() });
        facts.vouched = Some(FederationRef {
            groups: named.collect(),
            identity_provider: IdRef {
                id: via.idp_id.clone(),
            },
            protocol: IdRef {
                id: via.protocol_id.clone(),
            },
        });
        more_groups = groups;
    }
    let who = Who::within(user_id, &more_groups);
    if let Some(id) = scope.project_id() {
        let Some(project) = projects::find(tx, id)?.filter(|p| p.enabled) else {
            return Ok(None);
        };
        if project.domain_id != ROOT {
            let Some(domain) = enabled_domain(tx, &project.domain_id)? else {
                return Ok(None);
            };
            facts.project_domain = Some(domain);
        }
        facts.project = Some(project);
    }
    match scope {
        Scope::Unscoped
        | Scope::Federated {
            place: Place::Nowhere,
            ..
        } => return Ok(Some(facts)),
        Scope::Project(_)
        | Scope::Certified { .. }
        | Scope::Federated {
            place: Place::Project(_),
            ..
        } => {
            if let Some(project) = &facts.project {
                facts.roles = effective::on_project(tx, who, project)?;
            }
        }
        Scope::Domain(id)
        | Scope::Federated {
            place: Place::Domain(id),
            ..
        } => {
            let Some(domain) = enabled_domain(tx, id)? else {
                return Ok(None);
            };
            facts.roles = effective::on_domain(tx, who, id)?;
            facts.domain = Some(domain);
        }
        Scope::System => facts.roles = effective::on_system(tx, user_id)?,
        Scope::Trust { id, .. } => {
            let project = facts.project.as_ref();
            let Some(found) = delegation::by_trust(tx, user_id, id, project, now)? else {
                return Ok(None);
            };
            facts.roles = found.roles;
            facts.delegation = Some(Delegation::Trust(found.trust));
        }
        Scope::AppCred { id, .. } => {
            let project = facts.project.as_ref();
            let Some(found) = delegation::by_app_cred(tx, user_id, id, project, now)? else {
                return Ok(None);
            };
            facts.roles = found.roles;
            facts.delegation = Some(Delegation::AppCred(found.credential));
        }
        Scope::Oauth {
            access_token_id, ..
        } => {
            let project = facts.project.as_ref();
            let found = delegation::by_oauth(tx, user_id, access_token_id, project, now)?;
            let Some(found) = found else {
                return Ok(None);
            };
            facts.roles = found.roles;
            facts.delegation = Some(Delegation::Oauth(found.access_token));
        }
    }
    // A trust need not be about a project; it then delegates no role.
    let nowhere = matches!(
        scope,
        Scope::Trust {
            project_id: None,
            ..
        }
    );
    if facts.roles.is_empty() && !nowhere {
        return Ok(None);
    }
    let project_id = facts.project.as_ref().map(|p| p.id.as_str());
    let user_id = match &facts.delegation {
        Some(Delegation::Trust(trust)) => &trust.trustor.id,
        _ => user_id,
    };
    facts.catalog = Some(catalog::build(
        tx,
        &Substitutions {
            project_id,
            user_id,
        },
        all_endpoints,
    )?);
    Ok(Some(facts))
}

/// Clouds that take this one's word.
fn service_providers(tx: &mut Tx) -> Result<Vec<ServiceProviderRef>> {
    let on: Vec<ServiceProviderRow> =
        tx.select_sorted(eq("enabled", true), &[("id", Dir::Asc)], None)?;
    let refs = on.into_iter().map(|sp| ServiceProviderRef {
        auth_url: sp.auth_url,
        id: sp.id,
        sp_url: sp.sp_url,
    });
    Ok(refs.collect())
}

/// The groups that an identity provider's word still gives; `None` if that word counts for nothing any more.
fn groups_by(tx: &mut Tx, user_id: &str, via: &Via) -> Result<Option<Vec<String>>> {
    let idp = tx.find::<IdpRow>(eq("id", &via.idp_id))?;
    let spoken = federation::find_protocol(tx, &via.idp_id, &via.protocol_id)?;
    if !idp.is_some_and(|idp| idp.enabled) || spoken.is_none() {
        return Ok(None);
    }
    still_vouched(tx, user_id, &via.idp_id, &via.protocol_id, &via.group_ids)
}

fn enabled_domain(tx: &mut Tx, id: &str) -> Result<Option<ProjectRow>> {
    Ok(projects::find_domain(tx, id)?.filter(|d| d.enabled))
}

/// A user who is there and enabled, as is their domain.
pub(crate) fn enabled_user(tx: &mut Tx, id: &str) -> Result<Option<(UserRow, ProjectRow)>> {
    let Some(user) = users::find(tx, id)?.filter(|u| u.enabled) else {
        return Ok(None);
    };
    let domain = enabled_domain(tx, &user.domain_id)?;
    Ok(domain.map(|domain| (user, domain)))
}

fn domain_ref(domain: &ProjectRow) -> DomainRef {
    DomainRef {
        id: domain.id.clone(),
        name: domain.name.clone(),
    }
}

fn assemble(scope: &Scope, facts: Facts) -> Result<Standing> {
    let system = *scope == Scope::System;
    let roles: Vec<RoleRef> = facts
        .roles
        .iter()
        .map(|r| RoleRef {
            id: r.id.clone(),
            name: r.name.clone(),
        })
        .collect();
    let project = facts.project.as_ref().map(|p| ProjectRef {
        domain: facts.project_domain.as_ref().map(domain_ref),
        id: p.id.clone(),
        name: p.name.clone(),
    });
    let catalog = facts.catalog.map(|c| to_raw_value(&c)).transpose();
    let mfa_rules = mfa::rules(&facts.user.options.0);
    let default_project_id = facts.user.default_project_id.clone();
    let own_domain_id = facts.user.domain_id.clone();
    let (mut trust, mut trustor, mut credential, mut access) = (None, None, None, None);
    match facts.delegation {
        Some(Delegation::Trust(found)) => {
            trust = Some(TrustRef::from(&found.row));
            trustor = Some(found);
        }
        Some(Delegation::AppCred(found)) => credential = Some(found),
        Some(Delegation::Oauth(found)) => access = Some(found),
        None => {}
    }
    let ends_at = match (&trustor, &credential, &access) {
        (Some(trust), ..) => trust.row.expires_at,
        (_, Some(credential), _) => credential.row.expires_at,
        (_, _, Some(access)) => access.expires_at,
        _ => None,
    };
    // Who acts in whose name.
    let (user, user_domain) = match &trustor {
        Some(trust) if trust.row.impersonation => (&trust.trustor, &trust.trustor_domain),
        _ => (&facts.user, &facts.user_domain),
    };
    let token = Token {
        user: UserRef {
            domain: domain_ref(user_domain),
            id: user.id.clone(),
            name: user.shown_name().to_string(),
            password_expires_at: match &facts.vouched {
                Some(_) => None,
                None => Some(user.password_expires_at.map(Timestamp::iso_micros)),
            },
            federation: facts.vouched,
        },
        is_domain: match &trustor {
            Some(_) => None,
            None => facts.project.as_ref().map(|p| p.is_domain),
        },
        project,
        domain: facts.domain.as_ref().map(domain_ref),
        system: system.then_some(SystemScope { all: true }),
        roles: (!scope.is_unscoped()).then_some(roles),
        catalog: catalog.map_err(|e| Error::internal(format!("catalog: {e}")))?,
        trust,
        application_credential: credential.map(|c| AppCredRef::from(*c)),
        oauth1: access.map(|a| OauthRef {
            access_token_id: a.id,
            consumer_id: a.consumer_id,
        }),
        oauth2_credential: match scope {
            Scope::Certified { thumbprint, .. } => Some(CertificateRef {
                thumbprint: thumbprint.clone(),
            }),
            _ => None,
        },
        service_providers: (!facts.service_providers.is_empty()).then_some(facts.service_providers),
        ..Token::default()
    };
    let context = RequestContext {
        user_id: Some(user.id.clone()),
        user_name: Some(user.shown_name().to_string()),
        user_domain_id: Some(user_domain.id.clone()),
        user_domain_name: Some(user_domain.name.clone()),
        project_id: facts.project.as_ref().map(|p| p.id.clone()),
        project_name: facts.project.as_ref().map(|p| p.name.clone()),
        project_domain_id: facts.project_domain.as_ref().map(|d| d.id.clone()),
        domain_id: facts.domain.as_ref().map(|d| d.id.clone()),
        system_scope: system.then(|| "all".to_string()),
        roles: facts.roles.into_iter().map(|r| r.name).collect(),
        ..RequestContext::default()
    };
    let project_domain = facts.project.as_ref().and_then(ProjectRow::domain);
    Ok(Standing {
        domain_ids: [
            Some(own_domain_id),
            project_domain.map(str::to_string),
            facts.domain.map(|d| d.id),
            trustor.as_ref().map(|t| t.trustor.domain_id.clone()),
        ],
        trustor_id: trustor.map(|t| t.trustor.id),
        ends_at,
        mfa_rules,
        default_project_id,
        token,
        context,
    })
}
