//! `/v3/projects`: a tree below each domain.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters, flag, marker_error, next, paging};
use crate::api::{
    base_url, check_deletable, check_mutable, domains, merged_options, one, self_link, tags,
    with_extra,
};
use crate::db::assignments::AssignmentRow;
use crate::db::credentials::CredentialRow;
use crate::db::projects::{self, ProjectRow};
use crate::db::revocations::{self, Revoke};
use crate::db::users::UserRow;
use crate::db::{Extra, app_creds, duplicate_name, endpoint_filters, limits, oauth1, trusts};
use crate::policy::{Target, enforce};
use base::{Error, Json, Result, new_hex_id};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[
    ("domain_id", By::Text("domain_id")),
    ("enabled", By::Flag("enabled")),
    ("name", By::Text("name")),
    ("parent_id", By::Text("parent_id")),
];

pub(crate) fn view(base: &str, p: &ProjectRow) -> Value {
    let view = json!({
        "id": p.id,
        "name": p.name,
        "domain_id": p.domain(),
        "description": p.description.as_deref().unwrap_or(""),
        "enabled": p.enabled,
        "parent_id": p.parent_id,
        "is_domain": p.is_domain,
        "tags": p.tags.0,
        "options": p.options.0,
        "links": self_link(base, &format!("projects/{}", p.id)),
    });
    with_extra(view, &p.extra.0)
}

/// `GET /v3/projects`: a domain's reader sees that domain's projects.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.domain_id.clone();
    let target = own
        .as_deref()
        .map_or_else(Target::new, |id| Target::new().set("domain_id", id));
    enforce(&req, "identity:list_projects", target)?;
    let is_domain = req.query.get("is_domain").is_some_and(flag);
    let mut conditions = vec![filters(&req.query, FILTERS), eq("is_domain", is_domain)];
    conditions.extend(own.map(|id| eq("domain_id", id)));
    let cond = all(conditions);
    let paging = paging(&req.query, keystone.conf.keystone.max_db_limit, &[])?;
    let by_tags = tags::filter(&req.query);
    let page = keystone
        .db
        .read(move |tx| match &by_tags {
            None => tx.page::<ProjectRow>(cond.clone(), &paging),
            Some(by_tags) => by_tags.page(tx, &cond, &paging),
        })
        .await
        .map_err(|e| marker_error(&req.query, e))?;
    let base = base_url(&keystone, &req);
    let views = page.items.iter().map(|p| view(&base, p)).collect();
    collection(&base, &req, "projects", views, next(&req, &page, |p| &p.id))
}

/// The project in the path.
pub(crate) async fn in_path(keystone: &Keystone, id: String) -> Result<Option<ProjectRow>> {
    keystone.db.read(move |tx| projects::find(tx, &id)).await
}

/// The project found, if the caller may do `rule` to it; that none was found is only told to those who may.
pub(crate) fn permit(req: &Req, rule: &str, found: Option<ProjectRow>) -> Result<ProjectRow> {
    enforce(req, rule, Target::new().project(found.as_ref()))?;
    found.ok_or_else(|| crate::db::missing("project", req.param("project_id")))
}

/// `GET /v3/projects/{project_id}` with `parents_as_list`, `parents_as_ids`, `subtree_as_list`, `subtree_as_ids`.
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:get_project", found)?;
    let asked = |name: &str| req.query.get(name).is_some_and(flag);
    for (a, b) in [
        ("parents_as_list", "parents_as_ids"),
        ("subtree_as_list", "subtree_as_ids"),
    ] {
        if asked(a) && asked(b) {
            return Err(Error::bad_request(format!(
                "Cannot use {a} and {b} query params at the same time."
            )));
        }
    }
    let base = base_url(&keystone, &req);
    let mut shown = view(&base, &row);
    let wrapped = |rows: Vec<ProjectRow>| {
        rows.iter()
            .map(|p| json!({"project": view(&base, p)}))
            .collect::<Vec<_>>()
    };
    if asked("parents_as_list") || asked("parents_as_ids") {
        let start = row.clone();
        let above = keystone
            .db
            .read(move |tx| projects::ancestors(tx, &start))
            .await?;
        shown["parents"] = if asked("parents_as_ids") {
            let top = Value::Null;
            above
                .iter()
                .rev()
                .fold(top, |inner, p| json!({p.id.clone(): inner}))
        } else {
            json!(wrapped(above))
        };
    }
    if asked("subtree_as_list") || asked("subtree_as_ids") {
        let id = row.id.clone();
        let below = keystone
            .db
            .read(move |tx| projects::subtree(tx, &id))
            .await?;
        shown["subtree"] = if asked("subtree_as_ids") {
            nested_ids(&row.id, &below)
        } else {
            json!(wrapped(below))
        };
    }
    one(200, "project", shown)
}

fn nested_ids(id: &str, rows: &[ProjectRow]) -> Value {
    let children = rows.iter().filter(|p| p.parent_id.as_deref() == Some(id));
    let map: Map<String, Value> = children
        .map(|p| (p.id.clone(), nested_ids(&p.id, rows)))
        .collect();
    if map.is_empty() {
        Value::Null
    } else {
        Value::Object(map)
    }
}

/// The domain of things whose body names none: that of the token, else the default.
pub(crate) fn domain_or_default(keystone: &Keystone, req: &Req, given: Option<String>) -> String {
    given
        .or_else(|| req.ctx.domain_id.clone())
        .unwrap_or_else(|| keystone.conf.identity.default_domain_id.clone())
}

/// `POST /v3/projects`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "project")?;
    let given = fields.text("domain_id")?;
    let parent_id = fields.text("parent_id")?;
    let is_domain = fields.flag("is_domain")?.unwrap_or(false);
    let domain_id = match (&given, &parent_id, is_domain) {
        (_, _, true) => None,
        (None, Some(parent_id), _) => {
            // A child goes where its parent is.
            let id = parent_id.clone();
            let parent = keystone.db.read(move |tx| projects::find(tx, &id)).await?;
            parent.map(|p| p.domain().map_or(p.id.clone(), str::to_string))
        }
        _ => Some(domain_or_default(&keystone, &req, given.clone())),
    };
    // COMPAT: the rule sees the domain that the body names, not the one that stands in for it.
    let target = given.as_ref().map_or_else(Target::new, |id| {
        Target::new().set("project", json!({"domain_id": id}))
    });
    enforce(&req, "identity:create_project", target)?;
    if is_domain {
        if parent_id.is_some() || given.is_some() {
            return Err(Error::bad_request(
                "A project acting as a domain cannot have a parent or a domain.",
            ));
        }
        let row = domains::parse_create(fields)?;
        let new = row.clone();
        keystone.write(move |tx| domains::insert(tx, &new)).await?;
        return one(201, "project", view(&base_url(&keystone, &req), &row));
    }
    let domain_id = domain_id
        .ok_or_else(|| crate::db::missing("project", parent_id.as_deref().unwrap_or("")))?;
    let row = ProjectRow {
        id: new_hex_id(),
        name: fields.required("name", "project")?.trim().to_string(),
        parent_id: Some(parent_id.unwrap_or_else(|| domain_id.clone())),
        domain_id,
        is_domain: false,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        description: Some(fields.text("description")?.unwrap_or_default()),
        tags: Json(fields.texts("tags")?.unwrap_or_default()),
        options: Json(merged_options(&Extra::new(), fields.object("options")?)),
        extra: Json(fields.rest()),
    };
    let (new, depth) = (row.clone(), keystone.project_depth());
    keystone.write(move |tx| insert(tx, &new, depth)).await?;
    tracing::info!(project.id = row.id, "project created");
    one(201, "project", view(&base_url(&keystone, &req), &row))
}

fn insert(tx: &mut Tx, row: &ProjectRow, max_depth: u64) -> Result<()> {
    let domain = projects::get_domain(tx, &row.domain_id)?;
    let parent_id = row.parent_id.as_deref().unwrap_or(&row.domain_id);
    let parent = projects::get(tx, parent_id)?;
    let parent_domain = if parent.is_domain {
        &parent.id
    } else {
        &parent.domain_id
    };
    if *parent_domain != row.domain_id {
        return Err(Error::bad_request(format!(
            "Invalid parent: project {parent_id} is not in domain {}.",
            row.domain_id
        )));
    }
    let above = projects::ancestors(tx, row)?;
    if !domain.enabled || above.iter().any(|p| !p.enabled) {
        return Err(Error::forbidden(format!(
            "You are not authorized to perform the requested action: cannot create a project in a branch containing a disabled project: {parent_id}."
        )));
    }
    // The domain and the new project count too.
    if above.len() as u64 + 2 > max_depth {
        return Err(Error::forbidden(format!(
            "You are not authorized to perform the requested action: Max hierarchy depth reached for {parent_id} branch.."
        )));
    }
    tx.insert(row)
        .map_err(|e| duplicate_name("project", &row.name, Some(&row.domain_id), e))
}

/// `PATCH /v3/projects/{project_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let found = permit(&req, "identity:update_project", found)?;
    let fields = Fields::of(&req, "project")?;
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    let row = keystone
        .write(move |tx| {
            let mut row = projects::get(tx, &found.id)?;
            let mut fields = fields.clone();
            check_mutable("project", &row.id, &row.options.0, fields.all())?;
            if fields.nullable("parent_id")?.is_some_and(|p| p != row.parent_id) {
                return Err(Error::forbidden(
                    "You are not authorized to perform the requested action: Update of `parent_id` is not allowed..",
                ));
            }
            if fields.flag("is_domain")?.is_some_and(|d| d != row.is_domain) {
                return Err(Error::bad_request("Update of `is_domain` is not allowed."));
            }
            if fields.nullable("domain_id")?.is_some_and(|d| d.as_deref() != row.domain()) {
                return Err(Error::bad_request("Update of `domain_id` is not allowed."));
            }
            let was_enabled = row.enabled;
            row.name = fields.text("name")?.map_or(row.name, |n| n.trim().to_string());
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            row.tags.0 = fields.texts("tags")?.unwrap_or(row.tags.0);
            row.options.0 = merged_options(&row.options.0, fields.object("options")?);
            row.extra.0.extend(fields.rest());
            if was_enabled && !row.enabled {
                if projects::subtree(tx, &row.id)?.iter().any(|p| p.enabled) {
                    return Err(Error::forbidden(format!(
                        "You are not authorized to perform the requested action: cannot disable project {} since its subtree contains enabled projects.",
                        row.id
                    )));
                }
                let what = if row.is_domain { Revoke::Domain(&row.id) } else { Revoke::Project(&row.id) };
                revocations::add(tx, what, now, keep)?;
            }
            if !was_enabled && row.enabled && projects::ancestors(tx, &row)?.iter().any(|p| !p.enabled) {
                return Err(Error::forbidden(format!(
                    "You are not authorized to perform the requested action: cannot enable project {} since it has disabled parents.",
                    row.id
                )));
            }
            domains::save(tx, &row).map_err(|e| duplicate_name("project", &row.name, row.domain(), e))?;
            Ok(row)
        })
        .await?;
    one(200, "project", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/projects/{project_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let found = permit(&req, "identity:delete_project", found)?;
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| {
            let row = projects::get(tx, &found.id)?;
            check_deletable("project", &row.id, &row.options.0)?;
            if row.is_domain && row.enabled {
                return Err(Error::forbidden(format!(
                    "You are not authorized to perform the requested action: cannot delete an enabled project acting as a domain. Please disable the project {} first..",
                    row.id
                )));
            }
            if tx.exists::<ProjectRow>(eq("parent_id", &row.id))? {
                return Err(Error::forbidden(format!(
                    "You are not authorized to perform the requested action: Cannot delete the project {} since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree..",
                    row.id
                )));
            }
            revocations::add(tx, Revoke::Project(&row.id), now, keep)?;
            tx.delete::<AssignmentRow>(eq("target_id", &row.id))?;
            let nothing: Option<String> = None;
            tx.update::<UserRow>(eq("default_project_id", &row.id), &[set("default_project_id", nothing)])?;
            tx.delete::<CredentialRow>(eq("project_id", &row.id))?;
            app_creds::delete(tx, eq("project_id", &row.id))?;
            trusts::delete(tx, eq("project_id", &row.id))?;
            limits::delete_of(tx, std::slice::from_ref(&row.id))?;
            oauth1::delete_of_projects(tx, std::slice::from_ref(&row.id))?;
            endpoint_filters::delete_of_projects(tx, std::slice::from_ref(&row.id))?;
            tx.delete::<ProjectRow>(eq("id", &row.id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
