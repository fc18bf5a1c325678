//! `/v3/auth/{projects,domains,system,catalog}`: where the holder of a token can go.

use crate::Keystone;
use crate::api::list::collection;
use crate::api::{base_url, domains, projects};
use crate::assignment::effective;
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// `GET /v3/auth/projects`
pub(crate) async fn list_projects(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_projects", Target::new())?;
    let user_id = req.ctx.user().to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            let rows = effective::projects_of(tx, &user_id)?;
            let on: BTreeSet<String> = domains::enabled_ids(tx)?;
            Ok(rows
                .into_iter()
                .filter(|p| p.enabled && on.contains(&p.domain_id))
                .collect::<Vec<_>>())
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|p| projects::view(&base, p)).collect();
    collection(&base, &req, "projects", views, None)
}

/// `GET /v3/auth/domains`
pub(crate) async fn list_domains(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_domains", Target::new())?;
    let user_id = req.ctx.user().to_string();
    let rows = keystone
        .db
        .read(move |tx| effective::domains_of(tx, &user_id))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows
        .iter()
        .filter(|d| d.enabled)
        .map(|d| domains::view(&base, d))
        .collect();
    collection(&base, &req, "domains", views, None)
}

/// `GET /v3/auth/system`
pub(crate) async fn show_system(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_system", Target::new())?;
    let user_id = req.ctx.user().to_string();
    let held = keystone
        .db
        .read(move |tx| effective::is_on_system(tx, &user_id))
        .await?;
    let system = if held {
        vec![json!({"all": true})]
    } else {
        vec![]
    };
    let base = base_url(&keystone, &req);
    Reply::ok(&json!({"system": system, "links": {"self": format!("{base}/auth/system")}}))
}

/// `GET /v3/auth/catalog`
pub(crate) async fn show_catalog(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_catalog", Target::new())?;
    let token = req.ctx.token.as_ref().map_or("", |t| t.expose());
    let valid = keystone.validated(token).await?;
    let Some(catalog) = &valid.catalog else {
        return Err(Error::forbidden(
            "You are not authorized to perform the requested action.",
        ));
    };
    let base = base_url(&keystone, &req);
    Reply::ok(&json!({"catalog": catalog, "links": {"self": format!("{base}/auth/catalog")}}))
}
