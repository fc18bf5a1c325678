//! What trusts and application credentials are worth now: never more than their maker still holds.

use crate::assignment::effective;
use crate::db::app_creds::{self, AppCred};
use crate::db::implied_roles;
use crate::db::oauth1::{self, AccessTokenRow};
use crate::db::projects::ProjectRow;
use crate::db::roles::RoleRow;
use crate::db::trusts::{self, TrustRow};
use crate::db::users::UserRow;
use crate::token::validate::enabled_user;
use base::{Result, Timestamp};
use keystone_types::{AccessRule, AppCredRef, IdRef, TrustRef};
use oslo_db::Tx;

/// By what a token's user acts.
pub(crate) enum Delegation {
    Trust(Box<Trusted>),
    AppCred(Box<AppCred>),
    Oauth(Box<AccessTokenRow>),
}

/// A trust with who made it.
pub(crate) struct Trusted {
    pub row: TrustRow,
    pub trustor: UserRow,
    pub trustor_domain: ProjectRow,
}

/// A trust that holds, and the roles it lends.
pub(crate) struct ByTrust {
    pub trust: Box<Trusted>,
    pub roles: Vec<RoleRow>,
}

/// A credential that holds, and its roles.
pub(crate) struct ByAppCred {
    pub credential: Box<AppCred>,
    pub roles: Vec<RoleRow>,
}

/// What a user let a consumer do, as far as it holds.
pub(crate) struct ByOauth {
    pub access_token: Box<AccessTokenRow>,
    pub roles: Vec<RoleRow>,
}

/// Nothing if the user took it back, it has ended, or the consumer is gone. Roles that the user lost are lost to it too.
pub(crate) fn by_oauth(
    tx: &mut Tx,
    user_id: &str,
    id: &str,
    project: Option<&ProjectRow>,
    now: Timestamp,
) -> Result<Option<ByOauth>> {
    let found = oauth1::find_access_token(tx, id)?;
    let lives = |t: &AccessTokenRow| t.expires_at.is_none_or(|end| end > now);
    let Some(row) = found.filter(|t| t.user_id == user_id && lives(t)) else {
        return Ok(None);
    };
    let Some(project) = project.filter(|p| p.id == row.project_id) else {
        return Ok(None);
    };
    if oauth1::find_consumer(tx, &row.consumer_id)?.is_none() {
        return Ok(None);
    }
    let lent = row.role_ids.0.iter().cloned();
    let lent = effective::with_implied(lent, &implied_roles::map(tx)?);
    let mut roles = effective::on_project(tx, user_id, project)?;
    roles.retain(|r| lent.contains(&r.id));
    let access_token = Box::new(row);
    Ok(Some(ByOauth {
        access_token,
        roles,
    }))
}

/// Nothing if the trust has ended, is not for this user, or if its maker, or one of those by whom it came to them, is
/// gone or has lost any of its roles.
pub(crate) fn by_trust(
    tx: &mut Tx,
    trustee_id: &str,
    id: &str,
    project: Option<&ProjectRow>,
    now: Timestamp,
) -> Result<Option<ByTrust>> {
    let Some(row) = trusts::find_live(tx, id, now)? else {
        return Ok(None);
    };
    let project_id = project.map(|p| p.id.as_str());
    if row.trustee_user_id != trustee_id || row.project_id.as_deref() != project_id {
        return Ok(None);
    }
    let Some((trustor, trustor_domain)) = enabled_user(tx, &row.trustor_user_id)? else {
        return Ok(None);
    };
    let Some(above) = trusts::ancestors(tx, &row)? else {
        return Ok(None);
    };
    for parent in &above {
        if enabled_user(tx, &parent.trustee_user_id)?.is_none() {
            return Ok(None);
        }
    }
    let first = above.last().unwrap_or(&row);
    if first.id != row.id && enabled_user(tx, &first.trustor_user_id)?.is_none() {
        return Ok(None);
    }
    let lent = trusts::role_ids(tx, &row.id)?;
    let lent = effective::with_implied(lent.into_iter(), &implied_roles::map(tx)?);
    let roles = match project {
        None => vec![],
        Some(project) => {
            let held = effective::ids_on_project(tx, &first.trustor_user_id, project)?;
            if !lent.iter().all(|id| held.contains(id)) {
                return Ok(None);
            }
            effective::named(tx, lent.iter())?
        }
    };
    let trust = Box::new(Trusted {
        row,
        trustor,
        trustor_domain,
    });
    Ok(Some(ByTrust { trust, roles }))
}

/// Nothing if the credential is gone, has ended or is somebody else's. Roles that its user lost are lost to it too.
pub(crate) fn by_app_cred(
    tx: &mut Tx,
    user_id: &str,
    id: &str,
    project: Option<&ProjectRow>,
    now: Timestamp,
) -> Result<Option<ByAppCred>> {
    let found = app_creds::find(tx, id)?;
    let lives = |c: &AppCred| c.row.expires_at.is_none_or(|end| end > now);
    let Some(credential) = found.filter(|c| c.row.user_id == user_id && lives(c)) else {
        return Ok(None);
    };
    let Some(project) = project.filter(|p| p.id == credential.row.project_id) else {
        return Ok(None);
    };
    let mut roles = effective::on_project(tx, user_id, project)?;
    roles.retain(|r| credential.role_ids.contains(&r.id));
    let credential = Box::new(credential);
    Ok(Some(ByAppCred { credential, roles }))
}

impl From<&TrustRow> for TrustRef {
    fn from(trust: &TrustRow) -> TrustRef {
        let user = |id: &String| IdRef { id: id.clone() };
        TrustRef {
            id: trust.id.clone(),
            trustor_user: user(&trust.trustor_user_id),
            trustee_user: user(&trust.trustee_user_id),
            impersonation: trust.impersonation,
        }
    }
}

impl From<AppCred> for AppCredRef {
    fn from(credential: AppCred) -> AppCredRef {
        let rules: Vec<AccessRule> = credential
            .access_rules
            .into_iter()
            .map(|r| AccessRule {
                id: r.id,
                service: r.service,
                path: r.path,
                method: r.method,
            })
            .collect();
        AppCredRef {
            id: credential.row.id,
            name: credential.row.name,
            restricted: !credential.row.unrestricted,
            access_rules: (!rules.is_empty()).then_some(rules),
        }
    }
}
