//! `/v3/ec2tokens` and `/v3/s3tokens`: a service received a request that was signed with a key kept here, and asks who
//! that is. Only services may: a signature opens doors for a quarter of an hour, and they are who receives it.

use crate::Keystone;
use crate::api::{credentials, ec2, tokens, unauthorized};
use crate::db::credentials::{self as rows, CredentialRow};
use crate::db::{Extra, trusts, users};
use crate::identity::signature::{Signed, verify_s3};
use crate::policy::{Target, enforce};
use crate::token::cache::Validated;
use crate::token::issue::Proven;
use crate::token::payload::Scope;
use base::{Error, Result, Timestamp};
use oslo_http::{Reply, Req};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What the body describes. Three names for it are in use.
fn described(req: &Req) -> Result<&Value> {
    let body = req.json.as_ref();
    let body = body.filter(|b| b.as_object().is_some_and(|b| !b.is_empty()));
    let body = body.ok_or_else(|| Error::bad_request("request must include a request body"))?;
    let names = ["credentials", "credential", "ec2Credentials"];
    let found = names.iter().find_map(|name| body.get(*name));
    let found = found.filter(|value| value["access"].is_string());
    found.ok_or_else(|| Error::unauthorized("EC2 Signature not supplied"))
}

/// The credential with that access key, opened.
async fn find(keystone: &Keystone, access: &str) -> Result<(CredentialRow, Extra)> {
    let id = credentials::ec2_id(access);
    let found = keystone.db.read(move |tx| rows::find(tx, &id)).await?;
    let row = found.filter(|row| row.r#type.eq_ignore_ascii_case(credentials::EC2));
    let row = row.ok_or_else(|| Error::not_found("EC2 access key not found."))?;
    let blob = ec2::blob(keystone, &row)?;
    Ok((row, blob))
}

fn secret(blob: &Extra) -> Result<&str> {
    let secret = blob.get("secret").and_then(Value::as_str);
    secret.filter(|s| !s.is_empty()).ok_or_else(unauthorized)
}

fn check_time(keystone: &Keystone, signed_at: Option<Timestamp>) -> Result<()> {
    // COMPAT: whoever signs no time means the signature to last; orchestration does so.
    let Some(signed_at) = signed_at else {
        return Ok(());
    };
    let (now, window) = (
        keystone.clock.now(),
        Duration::from_secs(keystone.conf.credential.auth_ttl * 60),
    );
    if now > signed_at.plus(window) || signed_at > now.plus(window) {
        return Err(Error::unauthorized("Credential is expired"));
    }
    Ok(())
}

/// The scope of whoever holds the credential, and who they are: no more than what it was made with.
async fn standing(
    keystone: &Keystone,
    row: &CredentialRow,
    blob: &Extra,
) -> Result<(String, Scope)> {
    let project_id = row.project_id.clone().ok_or_else(unauthorized)?;
    let origin = |name: &str| blob.get(name).and_then(Value::as_str).map(str::to_string);
    if let Some(id) = origin("trust_id") {
        let now = keystone.clock.now();
        let found = keystone
            .db
            .read(move |tx| trusts::find(tx, &id, now))
            .await?;
        let trust = found.ok_or_else(unauthorized)?;
        // The token that made the credential was this user's.
        let user_id = match trust.impersonation {
            true => &trust.trustor_user_id,
            false => &trust.trustee_user_id,
        };
        if *user_id != row.user_id || trust.project_id.as_ref() != Some(&project_id) {
            return Err(unauthorized());
        }
        let scope = Scope::Trust {
            id: trust.id,
            project_id: trust.project_id,
        };
        return Ok((trust.trustee_user_id, scope));
    }
    let scope = match (origin("app_cred_id"), origin("access_token_id")) {
        (Some(id), _) => Scope::AppCred { id, project_id },
        (None, Some(access_token_id)) => Scope::Oauth {
            access_token_id,
            project_id,
        },
        (None, None) => Scope::Project(project_id),
    };
    Ok((row.user_id.clone(), scope))
}

async fn token_of(
    keystone: &Arc<Keystone>,
    row: &CredentialRow,
    blob: &Extra,
) -> Result<(String, Arc<Validated>)> {
    keystone.catch_up().await?;
    let (user_id, scope) = standing(keystone, row, blob).await?;
    let id = user_id.clone();
    let user = keystone.db.read(move |tx| users::find(tx, &id)).await?;
    let seen = user.map(|user| keystone.as_seen(user));
    if !seen.is_some_and(|user| user.enabled) {
        return Err(unauthorized());
    }
    let proven = Proven {
        user_id,
        default_project_id: None,
        methods: vec!["ec2credential"],
        expires_at: keystone.token_end(),
        chain: None,
        bound: None,
        mfa_rules: vec![],
        via: None,
    };
    keystone.grant(proven, scope).await
}

/// `POST /v3/ec2tokens`
pub(crate) async fn ec2(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:ec2tokens_validate", Target::new())?;
    let signed = Signed::parse(described(&req)?)?;
    let (row, blob) = find(&keystone, &signed.access).await?;
    signed.verify(secret(&blob)?)?;
    check_time(&keystone, signed.time()?)?;
    let (token, valid) = token_of(&keystone, &row, &blob).await?;
    tokens::answer(200, &token, &valid, true)
}

/// `POST /v3/s3tokens`: tells who it is, but gives no token to act with.
pub(crate) async fn s3(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:s3tokens_validate", Target::new())?;
    let given = described(&req)?;
    let text = |name: &str| given[name].as_str().unwrap_or_default();
    let (row, blob) = find(&keystone, text("access")).await?;
    verify_s3(secret(&blob)?, text("token"), text("signature"))?;
    let (_, valid) = token_of(&keystone, &row, &blob).await?;
    let reply = Reply::empty(200).header("content-type", "application/json");
    Ok(reply.with_body(valid.body(true)?))
}
