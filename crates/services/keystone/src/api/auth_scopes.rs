//! `/v3/auth/{projects,domains,system,catalog}`: where the holder of a token can go.

use crate::Keystone;
use crate::api::delegation::own_token;
use crate::api::list::collection;
use crate::api::{base_url, domains, projects};
use crate::assignment::effective::{self, Who};
use crate::policy::{Target, enforce};
use base::{Error, Result};
use keystone_types::SystemScope;
use oslo_http::{Reply, Req};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Serialize)]
struct SelfLink {
    #[serde(rename = "self")]
    this: String,
}

impl SelfLink {
    fn of(base: &str, path: &str) -> SelfLink {
        SelfLink {
            this: format!("{base}/{path}"),
        }
    }
}

#[derive(Serialize)]
struct SystemBody {
    system: Vec<SystemScope>,
    links: SelfLink,
}

#[derive(Serialize)]
struct CatalogBody<'a> {
    catalog: &'a RawValue,
    links: SelfLink,
}

/// The holder of the token, with the groups that only it knows of.
async fn holder(keystone: &Arc<Keystone>, req: &Req) -> Result<(String, Vec<String>)> {
    let token = own_token(keystone, req).await?;
    Ok((req.ctx.user().to_string(), token.more_groups()))
}

/// `GET /v3/auth/projects`, and `/v3/OS-FEDERATION/projects`
pub(crate) async fn list_projects(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_projects", Target::new())?;
    let (user_id, groups) = holder(&keystone, &req).await?;
    let rows = keystone
        .db
        .read(move |tx| {
            let rows = effective::projects_of(tx, Who::within(&user_id, &groups))?;
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

/// `GET /v3/auth/domains`, and `/v3/OS-FEDERATION/domains`
pub(crate) async fn list_domains(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_domains", Target::new())?;
    let (user_id, groups) = holder(&keystone, &req).await?;
    let rows = keystone
        .db
        .read(move |tx| effective::domains_of(tx, Who::within(&user_id, &groups)))
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
    let (user_id, groups) = holder(&keystone, &req).await?;
    let held = keystone
        .db
        .read(move |tx| effective::is_on_system(tx, Who::within(&user_id, &groups)))
        .await?;
    Reply::ok(&SystemBody {
        system: held
            .then_some(SystemScope { all: true })
            .into_iter()
            .collect(),
        links: SelfLink::of(&base_url(&keystone, &req), "auth/system"),
    })
}

/// `GET /v3/auth/catalog`
pub(crate) async fn show_catalog(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_auth_catalog", Target::new())?;
    let token = req.ctx.token.as_ref().map_or("", |t| t.expose());
    let valid = keystone.validated(token).await?;
    let Some(catalog) = &valid.standing.token.catalog else {
        return Err(Error::forbidden(
            "You are not authorized to perform the requested action.",
        ));
    };
    Reply::ok(&CatalogBody {
        catalog,
        links: SelfLink::of(&base_url(&keystone, &req), "auth/catalog"),
    })
}
