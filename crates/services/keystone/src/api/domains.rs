//! `/v3/domains`: projects at the root, under a name of their own.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters, marker_error, next, paging};
use crate::api::{
    base_url, check_deletable, check_mutable, merged_options, one, self_link, with_extra,
};
use crate::db::assignments::AssignmentRow;
use crate::db::credentials::CredentialRow;
use crate::db::domain_configs::DomainConfigRow;
use crate::db::groups::GroupRow;
use crate::db::implied_roles::ImpliedRoleRow;
use crate::db::memberships::MembershipRow;
use crate::db::projects::{self, ProjectRow, ROOT};
use crate::db::revocations::{self, Revoke};
use crate::db::roles::RoleRow;
use crate::db::users::{FormerPasswordRow, UserRow};
use crate::db::{
    Extra, app_creds, duplicate_id, duplicate_name, endpoint_filters, federation, limits, oauth1,
    trusts,
};
use crate::policy::{Target, enforce, wording};
use base::{Error, Json, Result, new_hex_id};
use oslo_db::{Tx, all, any, eq, is_in, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const FILTERS: &[Filter] = &[("name", By::Text("name")), ("enabled", By::Flag("enabled"))];

pub(crate) fn view(base: &str, d: &ProjectRow) -> Value {
    let view = json!({
        "id": d.id,
        "name": d.name,
        "description": d.description.as_deref().unwrap_or(""),
        "enabled": d.enabled,
        "tags": d.tags.0,
        "options": d.options.0,
        "links": self_link(base, &format!("domains/{}", d.id)),
    });
    with_extra(view, &d.extra.0)
}

/// The ids of all enabled domains.
pub(crate) fn enabled_ids(tx: &mut Tx) -> Result<BTreeSet<String>> {
    let rows: Vec<ProjectRow> = tx.select(all([eq("is_domain", true), eq("enabled", true)]))?;
    Ok(rows.into_iter().map(|d| d.id).collect())
}

/// `GET /v3/domains`: a domain's reader sees that domain only.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.domain_id.clone();
    enforce(
        &req,
        "identity:list_domains",
        Target::new().domain(own.as_deref()),
    )?;
    let mut conditions = vec![eq("is_domain", true), filters(&req.query, FILTERS)];
    conditions.extend(own.map(|id| eq("id", id)));
    let cond = all(conditions);
    let paging = paging(&req.query, keystone.conf.keystone.max_db_limit, &[])?;
    let page = keystone
        .db
        .read(move |tx| tx.page::<ProjectRow>(cond.clone(), &paging))
        .await;
    let page = page.map_err(|e| marker_error(&req.query, e))?;
    let base = base_url(&keystone, &req);
    let views = page.items.iter().map(|d| view(&base, d)).collect();
    collection(&base, &req, "domains", views, next(&req, &page, |d| &d.id))
}

/// `GET /v3/domains/{domain_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let id = req.param("domain_id").to_string();
    enforce(&req, "identity:get_domain", Target::new().domain(Some(&id)))?;
    let row = keystone
        .db
        .read(move |tx| projects::get_domain(tx, &id))
        .await?;
    one(200, "domain", view(&base_url(&keystone, &req), &row))
}

/// The row that a request for a new domain asks for.
pub(crate) fn parse_create(mut fields: Fields) -> Result<ProjectRow> {
    let id = fields.text("explicit_domain_id")?;
    if id
        .as_deref()
        .is_some_and(|id| id.len() != 32 || !base::id::is_uuid_like(id))
    {
        return Err(Error::bad_request(
            "Domain ID does not conform to required UUID format.",
        ));
    }
    fields.text("domain_id")?;
    fields.text("parent_id")?;
    fields.flag("is_domain")?;
    Ok(ProjectRow {
        id: id.unwrap_or_else(new_hex_id),
        name: fields.required("name", "domain")?.trim().to_string(),
        domain_id: ROOT.into(),
        parent_id: None,
        is_domain: true,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        description: Some(fields.text("description")?.unwrap_or_default()),
        tags: Json(fields.texts("tags")?.unwrap_or_default()),
        options: Json(merged_options(&Extra::new(), fields.object("options")?)),
        extra: Json(fields.rest()),
    })
}

pub(crate) fn insert(tx: &mut Tx, row: &ProjectRow) -> Result<()> {
    if projects::find(tx, &row.id)?.is_some() {
        return Err(duplicate_id(
            "domain",
            &row.id,
            Error::conflict("").class(oslo_db::DUPLICATE),
        ));
    }
    // Domains hang under a root of their own, which the message does not name.
    tx.insert(row)
        .map_err(|e| duplicate_name("domain", &row.name, None, e))
}

/// `POST /v3/domains`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_domain", Target::new())?;
    let row = parse_create(Fields::of(&req, "domain")?)?;
    let new = row.clone();
    keystone.write(move |tx| insert(tx, &new)).await?;
    tracing::info!(domain.id = row.id, "domain created");
    one(201, "domain", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/domains/{domain_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let id = req.param("domain_id").to_string();
    // COMPAT: that a domain is not there is told to everybody, before the rule; those who only read are told less.
    let asked = id.clone();
    let there = keystone.db.read(move |tx| projects::get_domain(tx, &asked));
    there.await?;
    enforce(
        &req,
        "identity:update_domain",
        Target::new().domain(Some(&id)),
    )?;
    let fields = Fields::of(&req, "domain")?;
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    let default = keystone.conf.identity.default_domain_id.clone();
    let row = keystone
        .write(move |tx| {
            let mut row = projects::get_domain(tx, &id)?;
            let mut fields = fields.clone();
            check_mutable("domain", &id, &row.options.0, fields.all())?;
            let was_enabled = row.enabled;
            row.name = fields
                .text("name")?
                .map_or(row.name, |n| n.trim().to_string());
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            row.tags.0 = fields.texts("tags")?.unwrap_or(row.tags.0);
            row.options.0 = merged_options(&row.options.0, fields.object("options")?);
            row.extra.0.extend(fields.rest());
            if was_enabled && !row.enabled {
                if id == default {
                    return Err(Error::forbidden(wording("disable the default domain")));
                }
                revocations::add(tx, Revoke::Domain(&id), now, keep)?;
            }
            save(tx, &row).map_err(|e| duplicate_name("domain", &row.name, None, e))?;
            Ok(row)
        })
        .await?;
    one(200, "domain", view(&base_url(&keystone, &req), &row))
}

pub(crate) fn save(tx: &mut Tx, row: &ProjectRow) -> Result<()> {
    let values = [
        set("name", &row.name),
        set("enabled", row.enabled),
        set("description", &row.description),
        set("tags", &row.tags),
        set("options", &row.options),
        set("extra", &row.extra),
    ];
    tx.update::<ProjectRow>(eq("id", &row.id), &values)
        .map(drop)
}

/// `DELETE /v3/domains/{domain_id}`: with everything in it.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let id = req.param("domain_id").to_string();
    enforce(
        &req,
        "identity:delete_domain",
        Target::new().domain(Some(&id)),
    )?;
    if id == keystone.conf.identity.default_domain_id {
        return Err(Error::forbidden(wording("delete the default domain")));
    }
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| {
            let row = projects::get_domain(tx, &id)?;
            check_deletable("domain", &id, &row.options.0)?;
            if row.enabled {
                return Err(Error::forbidden(
                    "Cannot delete a domain that is enabled, please disable it first.",
                ));
            }
            revocations::add(tx, Revoke::Domain(&id), now, keep)?;
            delete_content(tx, &id)
        })
        .await?;
    Ok(Reply::empty(204))
}

fn delete_content(tx: &mut Tx, id: &str) -> Result<()> {
    let users: Vec<String> = tx
        .select::<UserRow>(eq("domain_id", id))?
        .into_iter()
        .map(|u| u.id)
        .collect();
    let groups: Vec<String> = tx
        .select::<GroupRow>(eq("domain_id", id))?
        .into_iter()
        .map(|g| g.id)
        .collect();
    let roles: Vec<String> = tx
        .select::<RoleRow>(eq("domain_id", id))?
        .into_iter()
        .map(|r| r.id)
        .collect();
    let mut targets: Vec<String> = tx
        .select::<ProjectRow>(eq("domain_id", id))?
        .into_iter()
        .map(|p| p.id)
        .collect();
    targets.push(id.to_string());
    for actors in users.chunks(5_000).chain(groups.chunks(5_000)) {
        tx.delete::<AssignmentRow>(is_in("actor_id", actors.iter()))?;
        app_creds::delete_of_users(tx, actors)?;
        trusts::delete_of_users(tx, actors)?;
        federation::delete_of_users(tx, actors)?;
        oauth1::delete_of_users(tx, actors)?;
        tx.delete::<FormerPasswordRow>(is_in("user_id", actors.iter()))?;
        tx.delete::<CredentialRow>(is_in("user_id", actors.iter()))?;
        tx.delete::<MembershipRow>(any([
            is_in("user_id", actors.iter()),
            is_in("group_id", actors.iter()),
        ]))?;
    }
    for roles in roles.chunks(5_000) {
        tx.delete::<AssignmentRow>(is_in("role_id", roles.iter()))?;
        app_creds::delete_with_roles(tx, roles)?;
        let both = [
            is_in("prior_role_id", roles.iter()),
            is_in("implied_role_id", roles.iter()),
        ];
        tx.delete::<ImpliedRoleRow>(any(both))?;
    }
    for targets in targets.chunks(5_000) {
        tx.delete::<AssignmentRow>(is_in("target_id", targets.iter()))?;
        tx.delete::<CredentialRow>(is_in("project_id", targets.iter()))?;
        app_creds::delete(tx, is_in("project_id", targets.iter()))?;
        trusts::delete(tx, is_in("project_id", targets.iter()))?;
        limits::delete_of(tx, targets)?;
        oauth1::delete_of_projects(tx, targets)?;
        endpoint_filters::delete_of_projects(tx, targets)?;
        let nothing: Option<String> = None;
        tx.update::<UserRow>(
            is_in("default_project_id", targets.iter()),
            &[set("default_project_id", nothing)],
        )?;
    }
    federation::delete_of_domain(tx, id)?;
    tx.delete::<DomainConfigRow>(eq("domain_id", id))?;
    tx.delete::<UserRow>(eq("domain_id", id))?;
    tx.delete::<GroupRow>(eq("domain_id", id))?;
    tx.delete::<RoleRow>(eq("domain_id", id))?;
    tx.delete::<ProjectRow>(any([eq("domain_id", id), eq("id", id)]))?;
    Ok(())
}
