//! HTTP in, HTTP out: a noun per file. Handlers parse, authorise, run one transaction and show.

pub(crate) mod access_rules;
pub(crate) mod app_creds;
pub(crate) mod auth_scopes;
pub(crate) mod credentials;
pub(crate) mod delegation;
pub(crate) mod domain_configs;
pub(crate) mod domains;
pub(crate) mod ec2;
pub(crate) mod ec2_tokens;
pub(crate) mod endpoint_filters;
pub(crate) mod endpoints;
pub(crate) mod federated;
pub(crate) mod federated_auth;
pub(crate) mod federation_protocols;
pub(crate) mod fields;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod identity_providers;
pub(crate) mod implied_roles;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod mappings;
pub(crate) mod members;
pub(crate) mod oauth1;
pub(crate) mod oauth1_access;
pub(crate) mod oauth1_flow;
pub(crate) mod oauth2;
pub(crate) mod policies;
pub(crate) mod policy_associations;
pub(crate) mod projects;
pub(crate) mod regions;
pub(crate) mod registered_limits;
pub(crate) mod revocations;
pub(crate) mod role_assignments;
pub(crate) mod roles;
pub(crate) mod saml2;
pub(crate) mod service_providers;
pub(crate) mod services;
pub(crate) mod tags;
pub(crate) mod tokens;
pub(crate) mod trusts;
pub(crate) mod users;
pub(crate) mod versions;

use crate::Keystone;
use crate::db::Extra;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};

/// All that a failed proof of identity ever says.
pub(crate) fn unauthorized() -> Error {
    Error::unauthorized("The request you have made requires authentication.")
}

/// `http://host/v3`, as callers see us.
pub(crate) fn base_url(keystone: &Keystone, req: &Req) -> String {
    let base = keystone
        .conf
        .keystone
        .public_endpoint
        .as_deref()
        .unwrap_or(&req.base_url);
    format!("{}/v3", base.trim_end_matches('/').trim_end_matches("/v3"))
}

/// `{"links": {"self": …}}` for a resource at `path` (`users/ID`).
pub(crate) fn self_link(base: &str, path: &str) -> Value {
    json!({"self": format!("{base}/{path}")})
}

/// `{key: view}` with a status.
pub(crate) fn one(status: u16, key: &str, view: Value) -> Result<Reply> {
    let mut body = Map::new();
    body.insert(key.to_string(), view);
    Reply::json(status, &body)
}

/// Adds the attributes of `extra` that the view does not have itself.
pub(crate) fn with_extra(mut view: Value, extra: &Extra) -> Value {
    if let Some(map) = view.as_object_mut() {
        for (name, value) in extra {
            map.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    view
}

/// The `options` after a change: null takes an option away.
pub(crate) fn merged_options(old: &Extra, change: Option<Extra>) -> Extra {
    let mut options = old.clone();
    for (name, value) in change.into_iter().flatten() {
        if value.is_null() {
            options.remove(&name);
        } else {
            options.insert(name, value);
        }
    }
    options
}

fn is_immutable(options: &Extra) -> bool {
    options
        .get("immutable")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// 403 for changes of what is marked immutable, unless the change is to take that mark away.
pub(crate) fn check_mutable(kind: &str, id: &str, options: &Extra, change: &Extra) -> Result<()> {
    let unlocks = change.len() == 1
        && change
            .get("options")
            .and_then(|o| o.get("immutable"))
            .is_some_and(|v| v == &Value::Bool(false) || v.is_null());
    if is_immutable(options) && !unlocks {
        return Err(Error::forbidden(format!(
            "Unable to update immutable {kind} resource: `{id}. Set resource option \"immutable\" to false first."
        )));
    }
    Ok(())
}

/// 403 for the deletion of what is marked immutable.
pub(crate) fn check_deletable(kind: &str, id: &str, options: &Extra) -> Result<()> {
    if is_immutable(options) {
        return Err(Error::forbidden(format!(
            "Unable to delete immutable {kind} resource: `{id}. Set resource option \"immutable\" to false first."
        )));
    }
    Ok(())
}
