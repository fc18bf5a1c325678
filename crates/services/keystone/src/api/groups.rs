//! `/v3/groups`

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters, marker_error, next, paging};
use crate::api::projects::domain_or_default;
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::assignments::AssignmentRow;
use crate::db::groups::{self, GroupRow};
use crate::db::memberships::MembershipRow;
use crate::db::{duplicate_name, missing};
use crate::policy::{Target, enforce};
use base::{Error, Json, Result, new_hex_id};
use oslo_db::{all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[
    ("domain_id", By::Text("domain_id")),
    ("name", By::Text("name")),
];
const SORTS: &[&str] = &["id", "name", "domain_id"];

pub(crate) fn view(base: &str, g: &GroupRow) -> Value {
    let view = json!({
        "id": g.id,
        "name": g.name,
        "domain_id": g.domain_id,
        "description": g.description.as_deref().unwrap_or(""),
        "links": self_link(base, &format!("groups/{}", g.id)),
    });
    with_extra(view, &g.extra.0)
}

/// `GET /v3/groups`: a domain's reader sees that domain's groups.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.domain_id.clone();
    let target = own.as_deref().map_or_else(Target::new, |id| {
        Target::new().set("group", json!({"domain_id": id}))
    });
    enforce(&req, "identity:list_groups", target)?;
    let domain_id = own.as_deref().or_else(|| req.query.get("domain_id"));
    keystone.look_for_groups(domain_id).await?;
    let mut conditions = vec![filters(&req.query, FILTERS)];
    conditions.extend(own.map(|id| eq("domain_id", id)));
    let cond = all(conditions);
    let paging = paging(&req.query, keystone.conf.keystone.max_db_limit, SORTS)?;
    let page = keystone
        .db
        .read(move |tx| tx.page::<GroupRow>(cond.clone(), &paging))
        .await;
    let page = page.map_err(|e| marker_error(&req.query, e))?;
    let base = base_url(&keystone, &req);
    let views = page.items.iter().map(|g| view(&base, g)).collect();
    collection(&base, &req, "groups", views, next(&req, &page, |g| &g.id))
}

/// The group in the path.
pub(crate) async fn in_path(keystone: &Keystone, id: String) -> Result<Option<GroupRow>> {
    keystone.look_for_group(&id, false).await?;
    keystone.db.read(move |tx| groups::find(tx, &id)).await
}

fn permit(req: &Req, rule: &str, found: Option<GroupRow>) -> Result<GroupRow> {
    enforce(req, rule, Target::new().group(found.as_ref()))?;
    found.ok_or_else(|| missing("group", req.param("group_id")))
}

/// `GET /v3/groups/{group_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("group_id").to_string()).await?;
    let row = permit(&req, "identity:get_group", found)?;
    one(200, "group", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/groups`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "group")?;
    let given = fields.text("domain_id")?;
    // COMPAT: the rule sees the domain that the body names, not the one that stands in for it.
    let target = given.as_ref().map_or_else(Target::new, |id| {
        Target::new().set("group", json!({"domain_id": id}))
    });
    enforce(&req, "identity:create_group", target)?;
    let domain_id = domain_or_default(&keystone, &req, given);
    keystone.refuse_directory(&domain_id).await?;
    let row = GroupRow {
        id: new_hex_id(),
        name: fields.required("name", "group")?.trim().to_string(),
        domain_id,
        description: Some(fields.text("description")?.unwrap_or_default()),
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            crate::db::projects::get_domain(tx, &new.domain_id)?;
            tx.insert(&new)
                .map_err(|e| duplicate_name("group", &new.name, Some(&new.domain_id), e))
        })
        .await?;
    one(201, "group", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/groups/{group_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("group_id").to_string()).await?;
    let row = permit(&req, "identity:update_group", found)?;
    keystone.refuse_mirrored(&[&row.id]).await?;
    let mut fields = Fields::of(&req, "group")?;
    if fields
        .text("domain_id")?
        .is_some_and(|d| d != row.domain_id)
    {
        return Err(Error::bad_request("Update of `domain_id` is not allowed."));
    }
    let id = row.id;
    let row = keystone
        .write(move |tx| {
            let mut row = groups::get(tx, &id)?;
            let mut fields = fields.clone();
            row.name = fields
                .text("name")?
                .map_or(row.name, |n| n.trim().to_string());
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            row.extra.0.extend(fields.rest());
            let values = [
                set("name", &row.name),
                set("description", &row.description),
                set("extra", &row.extra),
            ];
            tx.update::<GroupRow>(eq("id", &id), &values)
                .map_err(|e| duplicate_name("group", &row.name, Some(&row.domain_id), e))?;
            Ok(row)
        })
        .await?;
    one(200, "group", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/groups/{group_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("group_id").to_string()).await?;
    // COMPAT: that a group is not there is told to everybody who asks to delete it, before the rule.
    let found = Some(found.ok_or_else(|| missing("group", req.param("group_id")))?);
    let id = permit(&req, "identity:delete_group", found)?.id;
    keystone.refuse_mirrored(&[&id]).await?;
    keystone
        .write(move |tx| {
            tx.delete::<AssignmentRow>(eq("actor_id", &id))?;
            tx.delete::<MembershipRow>(eq("group_id", &id))?;
            tx.delete::<GroupRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
