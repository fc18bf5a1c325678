//! `/v3/auth/tokens`: log in, ask about a token, end it.

use crate::Keystone;
use crate::api::fields::expecting;
use crate::api::{oauth1_flow, unauthorized};
use crate::db::missing;
use crate::db::revocations::{self, Revoke};
use crate::policy::{Target, enforce};
use crate::token::cache::Validated;
use crate::token::issue::{Ask, DomainName, Issued, Named, NamedAppCred, Wanted};
use crate::token::payload;
use crate::token::receipts::Receipt;
use crate::token::validate::enabled_user;
use base::{Error, Result, Secret, Timestamp};
use keystone_types::{ACCESS_RULES_HEADER, GENERATION_HEADER};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SUBJECT: &str = "x-subject-token";
const RECEIPT: &str = "openstack-auth-receipt";

pub(crate) fn answer(
    status: u16,
    token: &str,
    valid: &Validated,
    with_catalog: bool,
) -> Result<Reply> {
    Ok(Reply::empty(status)
        .header("content-type", "application/json")
        .header(SUBJECT, token)
        .header("vary", "X-Auth-Token")
        .with_body(valid.body(with_catalog)?))
}

/// `POST /v3/auth/tokens`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let body = req
        .json
        .as_ref()
        .ok_or_else(|| expecting("auth", "request body"))?;
    let mut ask = parse(body, &keystone.conf.auth.methods)?;
    if asks_by(body, "oauth1") {
        ask.oauth1 = Some(oauth1_flow::signed(&keystone, &req)?);
    }
    let receipt = req.header(RECEIPT).filter(|r| !r.is_empty());
    ask.receipt = receipt.map(Secret::new);
    match keystone.issue(ask).await? {
        Issued::Token(token, valid) => answer(201, &token, &valid, !req.query.has("nocatalog")),
        Issued::Receipt(text, receipt, rules) => {
            let body = receipt_body(&keystone, receipt, rules).await?;
            Ok(Reply::json(401, &body)?.header(RECEIPT, text))
        }
    }
}

/// What was proven, by whom, and what would be enough.
async fn receipt_body(
    keystone: &Keystone,
    receipt: Receipt,
    rules: Vec<Vec<String>>,
) -> Result<Value> {
    let user_id = receipt.user_id.clone();
    let found = keystone
        .db
        .read(move |tx| enabled_user(tx, &user_id))
        .await?;
    let (user, domain) = found.ok_or_else(unauthorized)?;
    Ok(json!({
        "receipt": {
            "methods": receipt.methods,
            "user": {
                "id": user.id,
                "name": user.shown_name(),
                "domain": {"id": domain.id, "name": domain.name},
            },
            "expires_at": receipt.expires_at.iso_micros_z(),
            "issued_at": Timestamp::from_seconds(receipt.issued_at.seconds()).iso_micros_z(),
        },
        "required_auth_methods": rules,
    }))
}

fn subject(req: &Req) -> Result<String> {
    let token = req.header(SUBJECT).filter(|t| !t.is_empty());
    token
        .map(str::to_string)
        .ok_or_else(|| expecting("X-Subject-Token", "headers"))
}

/// The token found, if the caller may know about it. Upstream looks for the token before it asks the rule: one that
/// means nothing is 404 for everybody with a token of their own.
fn permit(req: &Req, rule: &str, found: Result<Arc<Validated>>) -> Result<Arc<Validated>> {
    let found = found?;
    let owner = found.user_id();
    enforce(
        req,
        rule,
        Target::new().set("token", json!({"user_id": owner})),
    )?;
    Ok(found)
}

/// `GET /v3/auth/tokens` and `HEAD`.
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let grace = match req.query.flag("allow_expired") {
        Some(true) => Duration::from_secs(keystone.conf.token.allow_expired_window),
        _ => Duration::ZERO,
    };
    let token = subject(&req)?;
    // Read before the token is looked at: the answer may be newer than this says, never older.
    keystone.look_around().await?;
    let generation = keystone.generation_now();
    let found = keystone.validated_within(&token, grace).await;
    let rule = if req.head {
        "identity:check_token"
    } else {
        "identity:validate_token"
    };
    let valid = permit(&req, rule, found)?;
    if valid.access_rules().is_some() && !heeds_access_rules(&req) {
        return Err(Error::not_found("Could not find token."));
    }
    let reply = answer(200, &token, &valid, !req.query.has("nocatalog"))?;
    Ok(reply.header(GENERATION_HEADER, generation.to_string()))
}

/// Whoever does not know of access rules would take the token for one that may do everything.
fn heeds_access_rules(req: &Req) -> bool {
    let version = req.header(ACCESS_RULES_HEADER);
    version
        .and_then(|v| v.trim().parse::<f64>().ok())
        .is_some_and(|v| v >= 1.0)
}

/// `DELETE /v3/auth/tokens`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = keystone.validated(&subject(&req)?).await;
    let valid = permit(&req, "identity:revoke_token", found)?;
    let audit_id = valid
        .claims
        .audit_ids
        .first()
        .cloned()
        .ok_or_else(|| missing("token", "-"))?;
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| revocations::add(tx, Revoke::Token(&audit_id), now, keep))
        .await?;
    Ok(Reply::empty(204))
}

fn invalid(field: &str, why: &str) -> Error {
    Error::bad_request(format!("Invalid input for field '{field}': {why}"))
}

fn object<'v>(value: &'v Value, field: &str) -> Result<&'v Value> {
    if value.is_object() {
        Ok(value)
    } else {
        Err(invalid(field, "the value is not of type 'object'"))
    }
}

fn text(value: &Value, field: &str) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(t) if t.chars().count() <= 255 => Ok(Some(t.clone())),
        Value::String(_) => Err(invalid(field, "the value is too long")),
        _ => Err(invalid(field, "the value is not of type 'string'")),
    }
}

/// The proofs and the scope in a login's body; `offered` are the methods that this cloud takes.
fn parse(body: &Value, offered: &[String]) -> Result<Ask> {
    let auth = body
        .get("auth")
        .filter(|a| !a.is_null())
        .ok_or_else(|| expecting("auth", "request body"))?;
    object(auth, "auth")?;
    let identity = auth
        .get("identity")
        .ok_or_else(|| Error::bad_request("'identity' is a required property"))?;
    object(identity, "identity")?;
    let methods = identity
        .get("methods")
        .ok_or_else(|| invalid("identity", "'methods' is a required property"))?;
    let methods = methods
        .as_array()
        .ok_or_else(|| invalid("identity/methods", "the value is not of type 'array'"))?;
    let (mut password, mut token, mut app_cred, mut totp) = (None, None, None, None);
    for method in methods {
        let name = method
            .as_str()
            .ok_or_else(|| invalid("identity/methods", "an item is not of type 'string'"))?;
        if payload::method(name).is_none() || !offered.iter().any(|m| m == name) {
            return Err(Error::unauthorized(
                "Attempted to authenticate with an unsupported method.",
            ));
        }
        let proof = identity
            .get(name)
            .ok_or_else(|| expecting(name, "identity"))?;
        object(proof, &format!("identity/{name}"))?;
        match name {
            "password" => password = Some(parse_user_proof(proof, "password", "password")?),
            "totp" => totp = Some(parse_user_proof(proof, "totp", "passcode")?),
            "application_credential" => app_cred = Some(parse_app_cred(proof)?),
            // The proof is the request's signature.
            "oauth1" => {}
            _ => {
                let id = proof
                    .get("id")
                    .and_then(Value::as_str)
                    .ok_or_else(|| expecting("id", "token"))?;
                token = Some(Secret::new(id));
            }
        }
    }
    if methods.is_empty() {
        return Err(unauthorized());
    }
    Ok(Ask {
        password,
        token,
        app_cred,
        totp,
        oauth1: None,
        receipt: None,
        scope: parse_scope(auth.get("scope"))?,
    })
}

/// Whether a login's body names this method.
fn asks_by(body: &Value, method: &str) -> bool {
    let methods = body["auth"]["identity"]["methods"].as_array();
    methods.is_some_and(|m| m.iter().any(|m| m == method))
}

/// `{"user": {"id" | "name" + "domain", "password" or "passcode"}}`.
fn parse_user_proof(proof: &Value, method: &str, field: &str) -> Result<(Named, Secret)> {
    let user = proof.get("user").ok_or_else(|| expecting("user", method))?;
    object(user, &format!("identity/{method}/user"))?;
    let secret = user
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| expecting(field, "user"))?;
    let named = parse_named(user, "user")?;
    Ok((named, Secret::new(secret)))
}

/// `{"id" | "name" + "user", "secret"}`.
fn parse_app_cred(proof: &Value) -> Result<(NamedAppCred, Secret)> {
    const WHAT: &str = "application credential";
    let secret = proof
        .get("secret")
        .and_then(Value::as_str)
        .ok_or_else(|| expecting("secret", WHAT))?;
    let field = |name: &str| format!("identity/application_credential/{name}");
    if let Some(id) = text(&proof["id"], &field("id"))? {
        return Ok((NamedAppCred::Id(id), Secret::new(secret)));
    }
    let name =
        text(&proof["name"], &field("name"))?.ok_or_else(|| expecting("id or name", WHAT))?;
    let user = proof
        .get("user")
        .filter(|u| !u.is_null())
        .ok_or_else(|| expecting("user", WHAT))?;
    object(user, &field("user"))?;
    let named = NamedAppCred::Name(name, parse_named(user, "user")?);
    Ok((named, Secret::new(secret)))
}

fn parse_named(value: &Value, what: &str) -> Result<Named> {
    if let Some(id) = text(&value["id"], &format!("{what}/id"))? {
        return Ok(Named::Id(id));
    }
    let name = text(&value["name"], &format!("{what}/name"))?
        .ok_or_else(|| expecting("id or name", what))?;
    let domain = value
        .get("domain")
        .filter(|d| !d.is_null())
        .ok_or_else(|| expecting("domain", what))?;
    Ok(Named::Name(name, parse_domain(domain)?))
}

fn parse_domain(value: &Value) -> Result<DomainName> {
    object(value, "domain")?;
    if let Some(id) = text(&value["id"], "domain/id")? {
        return Ok(DomainName::Id(id));
    }
    let name =
        text(&value["name"], "domain/name")?.ok_or_else(|| expecting("id or name", "domain"))?;
    Ok(DomainName::Name(name))
}

fn parse_scope(scope: Option<&Value>) -> Result<Wanted> {
    let scope = match scope {
        None | Some(Value::Null) => return Ok(Wanted::Default),
        Some(Value::String(word)) if word == "unscoped" => return Ok(Wanted::Unscoped),
        Some(scope) => object(scope, "scope")?,
    };
    let given = ["project", "domain", "unscoped", "system", "OS-TRUST:trust"]
        .iter()
        .filter(|k| scope.get(**k).is_some())
        .count();
    if given != 1 {
        return Err(expecting(
            "system, project, domain, OS-TRUST:trust or unscoped",
            "scope",
        ));
    }
    if let Some(trust) = scope.get("OS-TRUST:trust") {
        let trust = object(trust, "scope/OS-TRUST:trust")?;
        let id = text(&trust["id"], "scope/OS-TRUST:trust/id")?;
        return Ok(Wanted::Trust(
            id.ok_or_else(|| expecting("trust_id", "trust"))?,
        ));
    }
    if scope.get("unscoped").is_some() {
        return Ok(Wanted::Unscoped);
    }
    if let Some(system) = scope.get("system") {
        let all = system.get("all").and_then(Value::as_bool).unwrap_or(false);
        return if all {
            Ok(Wanted::System)
        } else {
            Err(expecting("all", "system"))
        };
    }
    if let Some(domain) = scope.get("domain") {
        return Ok(Wanted::Domain(parse_domain(domain)?));
    }
    let project = object(&scope["project"], "scope/project")?;
    Ok(Wanted::Project(parse_named(project, "project")?))
}
