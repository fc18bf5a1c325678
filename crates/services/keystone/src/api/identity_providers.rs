//! `/v3/OS-FEDERATION/identity_providers`: whose word the cloud takes for who somebody is.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, domains, one, self_link, users};
use crate::db::federation::{self, Idp, IdpRow};
use crate::db::projects::{self, ProjectRow, ROOT};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{Tx, is_duplicate};
use oslo_http::{Reply, Req, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("id", By::Text("id")), ("enabled", By::Flag("enabled"))];

pub(crate) fn path(id: &str) -> String {
    format!("OS-FEDERATION/identity_providers/{}", percent_encode(id))
}

/// An id that callers choose, from the path.
pub(crate) fn chosen_id(req: &Req, param: &str) -> Result<String> {
    let id = req.param(param);
    if id.chars().count() > 64 || id.chars().any(char::is_control) {
        return Err(Error::bad_request(format!(
            "Invalid input for field '{param}': an id has at most 64 characters"
        )));
    }
    Ok(id.to_string())
}

fn view(base: &str, idp: &Idp) -> Value {
    let row = &idp.row;
    let mut links = self_link(base, &path(&row.id));
    links["protocols"] = format!("{base}/{}/protocols", path(&row.id)).into();
    json!({
        "id": row.id,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "description": row.description,
        "remote_ids": idp.remote_ids,
        "authorization_ttl": row.authorization_ttl,
        "links": links,
    })
}

/// `GET /v3/OS-FEDERATION/identity_providers`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_identity_providers", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let found = keystone
        .db
        .read(move |tx| {
            let rows = tx.select_sorted::<IdpRow>(cond.clone(), &[("id", Dir::Asc)], None)?;
            federation::with_remote_ids(tx, rows)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = found.iter().map(|idp| view(&base, idp)).collect();
    collection(&base, &req, "identity_providers", views, None)
}

/// `GET /v3/OS-FEDERATION/identity_providers/{idp_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_identity_provider", Target::new())?;
    let id = req.param("idp_id").to_string();
    let idp = keystone
        .db
        .read(move |tx| federation::get_idp(tx, &id))
        .await?;
    one(
        200,
        "identity_provider",
        view(&base_url(&keystone, &req), &idp),
    )
}

/// A domain of its own for a provider's users.
fn domain_for(idp_id: &str) -> ProjectRow {
    let id = new_hex_id();
    ProjectRow {
        name: id.clone(),
        id,
        domain_id: ROOT.into(),
        parent_id: None,
        is_domain: true,
        enabled: true,
        description: Some(format!(
            "Auto generated federated domain for Identity Provider: {idp_id}"
        )),
        tags: Json(vec![]),
        options: Json::default(),
        extra: Json::default(),
    }
}

fn insert(tx: &mut Tx, new: &Idp, own_domain: Option<&ProjectRow>) -> Result<()> {
    match own_domain {
        Some(domain) => domains::insert(tx, domain)?,
        None => drop(projects::get_domain(tx, &new.row.domain_id)?),
    }
    tx.insert(&new.row).map_err(|e| match is_duplicate(&e) {
        true => Error::conflict(format!(
            "Conflict occurred attempting to store identity_provider - Duplicate entry: {}.",
            new.row.id
        )),
        false => e,
    })?;
    federation::set_remote_ids(tx, &new.row.id, &new.remote_ids)
}

/// `PUT /v3/OS-FEDERATION/identity_providers/{idp_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_identity_provider", Target::new())?;
    let id = chosen_id(&req, "idp_id")?;
    let mut fields = Fields::of(&req, "identity_provider")?;
    let domain_id = fields.text("domain_id")?;
    let own_domain = match &domain_id {
        Some(_) => None,
        None => Some(domain_for(&id)),
    };
    let made = own_domain.as_ref().map(|d| d.id.clone());
    let idp = Idp {
        row: IdpRow {
            id,
            domain_id: domain_id.or(made).unwrap_or_default(),
            enabled: fields.flag("enabled")?.unwrap_or(false),
            description: fields.text("description")?,
            authorization_ttl: fields.integer("authorization_ttl")?,
        },
        remote_ids: sorted(fields.texts("remote_ids")?.unwrap_or_default()),
    };
    let idp = Arc::new(idp);
    let new = Arc::clone(&idp);
    keystone
        .write(move |tx| insert(tx, &new, own_domain.as_ref()))
        .await?;
    tracing::info!(idp.id = idp.row.id, "identity provider created");
    one(
        201,
        "identity_provider",
        view(&base_url(&keystone, &req), &idp),
    )
}

fn sorted(mut remote_ids: Vec<String>) -> Vec<String> {
    remote_ids.sort();
    remote_ids.dedup();
    remote_ids
}

/// `PATCH /v3/OS-FEDERATION/identity_providers/{idp_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_identity_provider", Target::new())?;
    let id = req.param("idp_id").to_string();
    let fields = Fields::of(&req, "identity_provider")?;
    let idp = keystone
        .write(move |tx| {
            let mut idp = federation::get_idp(tx, &id)?;
            let mut fields = fields.clone();
            let row = &mut idp.row;
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            if let Some(description) = fields.nullable("description")? {
                row.description = description;
            }
            if let Some(ttl) = fields.nullable_integer("authorization_ttl")? {
                row.authorization_ttl = ttl;
            }
            federation::save_idp(tx, row)?;
            if fields.all().contains_key("remote_ids") {
                idp.remote_ids = sorted(fields.texts("remote_ids")?.unwrap_or_default());
                federation::set_remote_ids(tx, &id, &idp.remote_ids)?;
            }
            Ok(idp)
        })
        .await?;
    one(
        200,
        "identity_provider",
        view(&base_url(&keystone, &req), &idp),
    )
}

/// `DELETE /v3/OS-FEDERATION/identity_providers/{idp_id}`: with its protocols, and users who exist by its word only.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_identity_provider", Target::new())?;
    let id = req.param("idp_id").to_string();
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| {
            federation::get_idp(tx, &id)?;
            let forsaken = federation::delete_idp(tx, &id)?;
            users::forsake(tx, &forsaken, now, keep)
        })
        .await?;
    tracing::info!(idp.id = req.param("idp_id"), "identity provider deleted");
    Ok(Reply::empty(204))
}
