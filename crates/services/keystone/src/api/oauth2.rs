//! `POST /v3/OS-OAUTH2/token`: an application credential, as OAuth 2.0 has it (`client_credentials`). The access token is a
//! token like any other.

use crate::Keystone;
use crate::api::base_url;
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
    let client = client(req, &form).filter(|(id, secret)| !id.is_empty() && !secret.is_empty());
    let (id, secret) = client.ok_or_else(|| Refusal::new(401, "invalid_client", FAILED))?;
    let ask = Ask {
        password: None,
        token: None,
        app_cred: Some((NamedAppCred::Id(id), secret)),
        totp: None,
        oauth1: None,
        receipt: None,
        scope: Wanted::Default,
    };
    let refused = |error: Error| match error.kind() {
        Kind::Unauthorized => Refusal::new(401, "invalid_client", error.to_string()),
        Kind::BadRequest => Refusal::new(400, "invalid_request", error.to_string()),
        _ => {
            tracing::error!(%error, "no access token");
            let why = "An unknown error occurred and failed to get an OAuth2.0 access token.";
            Refusal::new(500, "other_error", why)
        }
    };
    let Issued::Token(token, valid) = keystone.issue(ask).await.map_err(refused)? else {
        return Err(Refusal::new(401, "invalid_client", FAILED));
    };
    let lasts = valid.expires_at().since(keystone.clock.now()).as_secs();
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lasts});
    let reply = Reply::ok(&body).map_err(refused)?;
    Ok(reply
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
