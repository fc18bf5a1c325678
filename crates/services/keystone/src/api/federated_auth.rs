//! Logging in by an identity provider's word: for programs, and for browsers that a dashboard sent.

use crate::Keystone;
use crate::api::tokens::answer;
use crate::api::unauthorized;
use crate::db::federation::{ProtocolRow, RemoteIdRow};
use crate::db::missing;
use crate::federation::front_end::Attributes;
use base::{Error, Result};
use oslo_db::eq;
use oslo_http::{Reply, Req};
use std::sync::Arc;

/// The page that carries a token to a dashboard.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Logging in</title></head>
<body>
<form id="sso" action="$host" method="post">
<input type="hidden" name="token" value="$token">
<noscript><p>Your browser runs no scripts.</p><input type="submit" value="Continue"></noscript>
</form>
<script>document.getElementById("sso").submit();</script>
</body>
</html>
"#;

fn attributes(keystone: &Keystone, req: &Req) -> Result<Attributes> {
    Attributes::of(&keystone.conf.federation, &req.headers)
}

/// `GET` and `POST /v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth`
pub(crate) async fn authenticate(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let attributes = attributes(&keystone, &req)?;
    let (idp_id, protocol_id) = (req.param("idp_id"), req.param("protocol_id"));
    let (token, valid) = keystone
        .log_in_from(idp_id, protocol_id, &attributes)
        .await?;
    answer(201, &token, &valid, true)
}

/// The address of the dashboard that sent the browser, if it is one of ours.
fn origin(keystone: &Keystone, req: &Req) -> Result<String> {
    let origin = req.query.get("origin").filter(|o| !o.is_empty());
    let origin =
        origin.ok_or_else(|| Error::bad_request("Request must have an origin query parameter"))?;
    let trusted = &keystone.conf.federation.trusted_dashboard;
    match trusted.iter().any(|t| lower_host(t) == origin) {
        true => Ok(origin.to_string()),
        false => {
            tracing::warn!(origin, "not a trusted dashboard");
            Err(Error::unauthorized(format!(
                "{origin} is not a trusted dashboard host"
            )))
        }
    }
}

/// Browsers write names of hosts in lower case.
fn lower_host(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.to_ascii_lowercase())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

async fn page(keystone: &Keystone, host: &str, token: &str) -> Result<Reply> {
    let template = match &keystone.conf.federation.sso_callback_template {
        None => PAGE.to_string(),
        Some(path) => tokio::fs::read_to_string(path)
            .await
            .map_err(|e| Error::internal(format!("sso_callback_template: {e}")))?,
    };
    let page = template
        .replace("$host", &escaped(host))
        .replace("$token", &escaped(token));
    Ok(Reply::text(200, "text/html; charset=utf-8", page).header("cache-control", "no-store"))
}

/// `GET` and `POST /v3/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso`
pub(crate) async fn websso_by_provider(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let attributes = attributes(&keystone, &req)?;
    let host = origin(&keystone, &req)?;
    let (idp_id, protocol_id) = (req.param("idp_id"), req.param("protocol_id"));
    let (token, _) = keystone
        .log_in_from(idp_id, protocol_id, &attributes)
        .await?;
    page(&keystone, &host, &token).await
}

/// `GET` and `POST /v3/auth/OS-FEDERATION/websso/{protocol_id}`: the provider is the one that the front end names.
pub(crate) async fn websso(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let attributes = attributes(&keystone, &req)?;
    let host = origin(&keystone, &req)?;
    let protocol_id = req.param("protocol_id").to_string();
    let spoken = protocol_id.clone();
    let protocols = keystone
        .db
        .read(move |tx| tx.select::<ProtocolRow>(eq("id", &spoken)))
        .await?;
    let default = keystone.conf.federation.remote_id_attribute.as_deref();
    let named = protocols.iter().find_map(|p| {
        let attribute = p.remote_id_attribute.as_deref().or(default)?;
        attributes.get(attribute)
    });
    let remote_id = named
        .ok_or_else(|| Error::unauthorized("Missing entity ID from environment"))?
        .to_string();
    let wanted = remote_id.clone();
    let found = keystone
        .db
        .read(move |tx| tx.find::<RemoteIdRow>(eq("remote_id", &wanted)))
        .await?;
    let idp_id = found
        .ok_or_else(|| missing("Identity Provider", &remote_id))?
        .idp_id;
    if !protocols.iter().any(|p| p.idp_id == idp_id) {
        return Err(unauthorized());
    }
    let (token, _) = keystone
        .log_in_from(&idp_id, &protocol_id, &attributes)
        .await?;
    page(&keystone, &host, &token).await
}
