//! `POST /v3/OS-OAUTH2/token`: a token as OAuth 2.0 has it (`client_credentials`), for an application credential, or for a
//! user's certificate (RFC 8705). The first is a token like any other, the second is good beside the certificate only.

use crate::Keystone;
use crate::api::base_url;
use crate::federation::front_end;
use crate::identity::certificate::Certificate;
use crate::token::cache::Validated;
use crate::token::issue::{Ask, Issued, NamedAppCred, Wanted};
use base::{Error, Kind, Result, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oslo_http::{Query, Reply, Req};
use serde_json::json;
use std::sync::Arc;

const FAILED: &str = "Client authentication failed.";

/// OAuth's own kind of error.
struct Refusal {
    status: u16,
    error: &'static str,
    description: String,
}

impl Refusal {
    fn new(status: u16, error: &'static str, description: impl Into<String>) -> Refusal {
        Refusal {
            status,
            error,
            description: description.into(),
        }
    }

    fn reply(self, keystone: &Keystone, req: &Req) -> Result<Reply> {
        let body = json!({"error": self.error, "error_description": self.description});
        let reply = Reply::json(self.status, &body)?;
        Ok(match self.status {
            401 => {
                let uri = base_url(keystone, req);
                reply.header("www-authenticate", format!("Keystone uri=\"{uri}\""))
            }
            _ => reply,
        })
    }
}

/// Whether the operator lets clients prove who they are this way; else they are nobody.
fn unless_off(keystone: &Keystone, method: &str) -> std::result::Result<(), Refusal> {
    let methods = &keystone.conf.oauth2.oauth2_authn_methods;
    match methods.iter().any(|m| m == method) {
        true => Ok(()),
        false => Err(Refusal::new(401, "invalid_client", FAILED)),
    }
}

/// Whatever is wrong with the certificate, the client is told one thing.
async fn by_certificate(
    keystone: &Arc<Keystone>,
    user_id: &str,
    certificate: Certificate,
) -> Result<(String, Arc<Validated>)> {
    keystone.catch_up().await?;
    let (proven, scope) = keystone.prove_certificate(user_id, certificate).await?;
    keystone.note_login_of(&proven.user_id).await?;
    keystone.grant(proven, scope).await
}

/// The client's id and secret, from the header or, without one, from the form.
fn client(req: &Req, form: &Query) -> Option<(String, Secret)> {
    let header = req.header("authorization").unwrap_or_default();
    if let Some((scheme, encoded)) = header.split_once(' ')
        && scheme.eq_ignore_ascii_case("basic")
    {
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        return Some((id.to_string(), Secret::new(secret)));
    }
    let given = |name: &str| form.get(name).filter(|v| !v.is_empty());
    Some((
        given("client_id")?.to_string(),
        Secret::new(given("client_secret")?),
    ))
}

async fn issue(keystone: &Arc<Keystone>, req: &Req) -> std::result::Result<Reply, Refusal> {
    let text = String::from_utf8_lossy(&req.body);
    let form = Query::decode(&text)
        .map_err(|_| Refusal::new(400, "invalid_request", "The form is malformed."))?;
    match form.get("grant_type") {
        Some("client_credentials") => {}
        None => {
            let why = "The parameter grant_type is required.";
            return Err(Refusal::new(400, "invalid_request", why));
        }
        Some(other) => {
            let why = format!("The parameter grant_type {other} is not supported.");
            return Err(Refusal::new(400, "unsupported_grant_type", why));
        }
    }
    let refused = |error: Error| match error.kind() {
        Kind::Unauthorized => Refusal::new(401, "invalid_client", error.to_string()),
        Kind::BadRequest => Refusal::new(400, "invalid_request", error.to_string()),
        _ => {
            tracing::error!(%error, "no access token");
            let why = "An unknown error occurred and failed to get an OAuth2.0 access token.";
            Refusal::new(500, "other_error", why)
        }
    };
    let nobody = || Refusal::new(401, "invalid_client", FAILED);
    let shown = front_end::certificate(&keystone.conf.federation, &req.headers);
    if let Some(certificate) = shown.map_err(|_| nobody())? {
        unless_off(keystone, "tls_client_auth")?;
        let id = form.get("client_id").filter(|id| !id.is_empty());
        let granted = by_certificate(keystone, id.ok_or_else(nobody)?, certificate).await;
        let (token, valid) = granted.map_err(|error| match error.kind() {
            Kind::Unauthorized => nobody(),
            _ => refused(error),
        })?;
        return given(keystone, &token, &valid).map_err(refused);
    }
    let client = client(req, &form).filter(|(id, secret)| !id.is_empty() && !secret.is_empty());
    let (id, secret) = client.ok_or_else(nobody)?;
    unless_off(keystone, "client_secret_basic")?;
    let ask = Ask {
        password: None,
        token: None,
        app_cred: Some((NamedAppCred::Id(id), secret)),
        totp: None,
        oauth1: None,
        receipt: None,
        scope: Wanted::Default,
    };
    let Issued::Token(token, valid) = keystone.issue(ask).await.map_err(refused)? else {
        return Err(nobody());
    };
    given(keystone, &token, &valid).map_err(refused)
}

fn given(keystone: &Keystone, token: &str, valid: &Validated) -> Result<Reply> {
    let lasts = valid.expires_at().since(keystone.clock.now()).as_secs();
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lasts});
    Ok(Reply::ok(&body)?
        .header("cache-control", "no-store")
        .header("pragma", "no-cache"))
}

/// `POST /v3/OS-OAUTH2/token`
pub(crate) async fn create_token(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    match issue(&keystone, &req).await {
        Ok(reply) => Ok(reply),
        Err(refusal) => refusal.reply(&keystone, &req),
    }
}
