//! `/v3/roles`: the cloud's, and domains' own, which have rules of their own.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{
    base_url, check_deletable, check_mutable, merged_options, one, self_link, with_extra,
};
use crate::db::assignments::AssignmentRow;
use crate::db::implied_roles::ImpliedRoleRow;
use crate::db::roles::{self, GLOBAL, RoleRow};
use crate::db::{Extra, app_creds, duplicate_name, missing};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{all, any, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("name", By::Text("name"))];

pub(crate) fn view(base: &str, r: &RoleRow) -> Value {
    let view = json!({
        "id": r.id,
        "name": r.name,
        "domain_id": r.domain(),
        "description": r.description,
        "options": r.options.0,
        "links": self_link(base, &format!("roles/{}", r.id)),
    });
    with_extra(view, &r.extra.0)
}

/// `GET /v3/roles`: without `domain_id` the cloud's.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let domain_id = req
        .query
        .get("domain_id")
        .filter(|d| !d.is_empty())
        .map(str::to_string);
    match &domain_id {
        Some(_) => enforce(&req, "identity:list_domain_roles", Target::new())?,
        None => enforce(&req, "identity:list_roles", Target::new())?,
    }
    let cond = all([
        filters(&req.query, FILTERS),
        eq("domain_id", domain_id.as_deref().unwrap_or(GLOBAL)),
    ]);
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<RoleRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "roles",
        rows.iter().map(|r| view(&base, r)).collect(),
        None,
    )
}

/// The role in the path.
pub(crate) async fn in_path(keystone: &Keystone, id: String) -> Result<Option<RoleRow>> {
    keystone.db.read(move |tx| roles::find(tx, &id)).await
}

/// A domain's own role falls under another rule than the cloud's.
fn permit(req: &Req, rule: &str, domain_rule: &str, found: Option<RoleRow>) -> Result<RoleRow> {
    // COMPAT: that a role is not there is told to everybody, before any rule.
    let row = found.ok_or_else(|| missing("role", req.param("role_id")))?;
    let own = row.domain().is_some();
    enforce(
        req,
        if own { domain_rule } else { rule },
        Target::new().role(Some(&row)),
    )?;
    Ok(row)
}

/// `GET /v3/roles/{role_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("role_id").to_string()).await?;
    let row = permit(&req, "identity:get_role", "identity:get_domain_role", found)?;
    one(200, "role", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/roles`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "role")?;
    let domain_id = fields.text("domain_id")?;
    let rule = if domain_id.is_some() {
        "identity:create_domain_role"
    } else {
        "identity:create_role"
    };
    enforce(&req, rule, Target::new())?;
    let row = RoleRow {
        id: new_hex_id(),
        name: fields.required("name", "role")?.trim().to_string(),
        domain_id: domain_id.unwrap_or_else(|| GLOBAL.into()),
        description: fields.text("description")?,
        options: Json(merged_options(&Extra::new(), fields.object("options")?)),
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            if let Some(domain_id) = new.domain() {
                crate::db::projects::get_domain(tx, domain_id)?;
            }
            tx.insert(&new)
                .map_err(|e| duplicate_name("role", &new.name, new.domain(), e))
        })
        .await?;
    one(201, "role", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/roles/{role_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("role_id").to_string()).await?;
    let id = permit(
        &req,
        "identity:update_role",
        "identity:update_domain_role",
        found,
    )?
    .id;
    let fields = Fields::of(&req, "role")?;
    let row = keystone
        .write(move |tx| {
            let mut row = roles::get(tx, &id)?;
            let mut fields = fields.clone();
            check_mutable("role", &id, &row.options.0, fields.all())?;
            if fields
                .nullable("domain_id")?
                .is_some_and(|d| d.as_deref() != row.domain())
            {
                return Err(Error::bad_request("Update of `domain_id` is not allowed."));
            }
            row.name = fields
                .text("name")?
                .map_or(row.name, |n| n.trim().to_string());
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            row.options.0 = merged_options(&row.options.0, fields.object("options")?);
            row.extra.0.extend(fields.rest());
            let values = [
                set("name", &row.name),
                set("description", &row.description),
                set("options", &row.options),
                set("extra", &row.extra),
            ];
            tx.update::<RoleRow>(eq("id", &id), &values)
                .map_err(|e| duplicate_name("role", &row.name, row.domain(), e))?;
            Ok(row)
        })
        .await?;
    one(200, "role", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/roles/{role_id}`: nobody holds it any more.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("role_id").to_string()).await?;
    let row = permit(
        &req,
        "identity:delete_role",
        "identity:delete_domain_role",
        found,
    )?;
    check_deletable("role", &row.id, &row.options.0)?;
    let id = row.id;
    keystone
        .write(move |tx| {
            tx.delete::<AssignmentRow>(eq("role_id", &id))?;
            app_creds::delete_with_roles(tx, std::slice::from_ref(&id))?;
            tx.delete::<ImpliedRoleRow>(any([
                eq("prior_role_id", &id),
                eq("implied_role_id", &id),
            ]))?;
            tx.delete::<RoleRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
