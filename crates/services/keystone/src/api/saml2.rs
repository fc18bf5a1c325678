//! This cloud as an identity provider of others (K2K): assertions of who somebody is, and what others need to believe them.

use crate::Keystone;
use crate::api::fields::expecting;
use crate::db::federation::{self, ServiceProviderRow};
use crate::db::groups::GroupRow;
use crate::db::memberships;
use crate::db::projects::ProjectRow;
use crate::federation::saml::{self, Frame, Signer, Subject};
use crate::policy::wording;
use crate::token::cache::Validated;
use crate::token::payload::Scope;
use base::{Error, Kind, Result};
use oslo_db::{Tx, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const XML: &str = "text/xml";

fn off(option: &str) -> Error {
    let words = "This cloud is not an identity provider of others.";
    Error::new(Kind::NotImplemented, words).log(format!("[saml] {option} is not set"))
}

async fn read(path: Option<&PathBuf>, option: &str) -> Result<String> {
    let path = path.ok_or_else(|| off(option))?;
    tokio::fs::read_to_string(path)
        .await
        .map_err(|e| Error::internal(format!("[saml] {option} {}: {e}", path.display())))
}

/// `GET /v3/OS-FEDERATION/saml2/metadata`
pub(crate) async fn metadata(keystone: Arc<Keystone>, _: Req) -> Result<Reply> {
    let conf = &keystone.conf.saml;
    let text = match &conf.idp_metadata_path {
        Some(path) => read(Some(path), "idp_metadata_path").await?,
        None => {
            let entity_id = conf.idp_entity_id.as_deref();
            let entity_id = entity_id.ok_or_else(|| off("idp_entity_id"))?;
            let endpoint = conf.idp_sso_endpoint.as_deref();
            let endpoint = endpoint.ok_or_else(|| off("idp_sso_endpoint"))?;
            let certificate = saml::certificate(&read(conf.certfile.as_ref(), "certfile").await?)?;
            saml::metadata(entity_id, endpoint, &certificate)
        }
    };
    Ok(Reply::text(200, XML, text))
}

/// The token and the service provider that the body names.
fn parse(req: &Req) -> Result<(String, String)> {
    let auth = req.json.as_ref().and_then(|body| body.get("auth"));
    let auth = auth.ok_or_else(|| expecting("auth", "request body"))?;
    let methods = auth["identity"]["methods"].as_array();
    let by_token = methods.is_some_and(|m| m.len() == 1 && m[0] == "token");
    if !by_token {
        return Err(Error::bad_request(
            "Invalid input for field 'methods': it is not ['token']",
        ));
    }
    let text = |value: &Value| value.as_str().map(str::to_string);
    let token = text(&auth["identity"]["token"]["id"]);
    let sp_id = text(&auth["scope"]["service_provider"]["id"]);
    Ok((
        token.ok_or_else(|| expecting("id", "token"))?,
        sp_id.ok_or_else(|| expecting("id", "service_provider"))?,
    ))
}

/// 403 for what is good for less than its roles say.
fn check_token(valid: &Validated) -> Result<()> {
    if valid.standing.token.project.is_none() {
        return Err(Error::forbidden(wording(
            "Use a project scoped token when attempting to create a SAML assertion",
        )));
    }
    // Whoever gets the assertion needs no certificate.
    if let Scope::Certified { .. } = valid.claims.scope {
        return Err(Error::forbidden(wording(
            "Using a certificate-bound token to create a SAML assertion",
        )));
    }
    match valid.access_rules() {
        None => Ok(()),
        Some(_) => Err(Error::forbidden(wording(
            "Using a token with access rules to create a SAML assertion",
        ))),
    }
}

/// The user's groups, each as others' mappings read them.
fn groups(tx: &mut Tx, user_id: &str, more: &[String]) -> Result<Vec<String>> {
    let mut ids = memberships::groups_of(tx, user_id)?;
    ids.extend_from_slice(more);
    let rows: Vec<GroupRow> = tx.select(is_in("id", ids.iter()))?;
    let of = rows.iter().map(|g| g.domain_id.as_str());
    let domains: Vec<ProjectRow> = tx.select(is_in("id", of.collect::<Vec<_>>()))?;
    let name = |id: &str| domains.iter().find(|d| d.id == id).map(|d| d.name.as_str());
    let shown = rows.iter().filter_map(|g| {
        let domain = name(&g.domain_id)?;
        let group = json!({"name": g.name, "domain": {"name": domain}});
        Some(format!("JSON:{group}"))
    });
    Ok(shown.collect())
}

async fn assertion(keystone: &Arc<Keystone>, req: &Req) -> Result<(String, ServiceProviderRow)> {
    let (token, sp_id) = parse(req)?;
    let id = sp_id.clone();
    let sp = keystone
        .db
        .read(move |tx| federation::get_service_provider(tx, &id))
        .await?;
    if !sp.enabled {
        return Err(Error::forbidden(format!(
            "Service Provider {sp_id} is disabled"
        )));
    }
    let valid = keystone.validated(&token).await?;
    check_token(&valid)?;
    let conf = &keystone.conf.saml;
    let issuer = conf.idp_entity_id.clone();
    let issuer = issuer.ok_or_else(|| off("idp_entity_id"))?;
    let key = read(conf.keyfile.as_ref(), "keyfile").await?;
    let certificate = read(conf.certfile.as_ref(), "certfile").await?;
    let (user_id, more) = (valid.user_id().to_string(), valid.more_groups());
    let groups = keystone
        .db
        .read(move |tx| groups(tx, &user_id, &more))
        .await?;
    let shown = &valid.standing.token;
    let project = shown.project.clone().unwrap_or_default();
    let roles = shown.roles.iter().flatten();
    let subject = Subject {
        user: shown.user.name.clone(),
        user_domain: shown.user.domain.name.clone(),
        project: project.name,
        project_domain: project.domain.map(|d| d.name).unwrap_or_default(),
        roles: roles.map(|r| r.name.clone()).collect(),
        groups,
    };
    let now = keystone.clock.now();
    let lasts = Duration::from_secs(conf.assertion_expiration_time);
    // What is said of a token's holder does not outlive the token.
    let until = now.plus(lasts).min(valid.expires_at());
    let recipient = sp.sp_url.clone();
    let make = move || {
        let frame = Frame {
            issuer: &issuer,
            recipient: &recipient,
            now,
            until,
        };
        saml::response(&Signer::parse(&key, &certificate)?, &subject, &frame)
    };
    let response = tokio::task::spawn_blocking(make)
        .await
        .map_err(Error::internal)??;
    tracing::info!(
        user.id = valid.user_id(),
        service_provider.id = sp_id,
        "an assertion was made"
    );
    Ok((response, sp))
}

fn reply(xml: String, sp: &ServiceProviderRow) -> Reply {
    Reply::text(200, XML, xml)
        .header("x-sp-url", &sp.sp_url)
        .header("x-auth-url", &sp.auth_url)
        .header("cache-control", "no-store")
}

/// `POST /v3/auth/OS-FEDERATION/saml2`: the proof is the token in the body.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (response, sp) = assertion(&keystone, &req).await?;
    Ok(reply(response, &sp))
}

/// `POST /v3/auth/OS-FEDERATION/saml2/ecp`
pub(crate) async fn create_ecp(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (response, sp) = assertion(&keystone, &req).await?;
    let envelope = saml::envelope(&response, &sp.relay_state_prefix);
    Ok(reply(envelope, &sp))
}
