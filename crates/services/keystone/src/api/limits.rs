//! `/v3/limits`: what holds for one project or domain.

use crate::Keystone;
use crate::api::fields::{Fields, expecting};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::registered_limits::{self, check_place, duplicate, items};
use crate::api::{base_url, one, self_link};
use crate::config::EnforcementModel;
use crate::db::limits::{self, Limit, LimitRow, RegisteredLimitRow, no_limit};
use crate::db::projects::{self, ProjectRow};
use crate::policy::{Target, enforce};
use base::{Error, Result, new_hex_id};
use oslo_db::{Tx, all, any, eq, everything, in_rows, nothing, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[
    ("project_id", By::Text("project_id")),
    ("domain_id", By::Text("domain_id")),
];

fn view(base: &str, (l, of_all): &Limit) -> Value {
    json!({
        "id": l.id,
        "service_id": of_all.service_id,
        "region_id": of_all.region_id,
        "resource_name": of_all.resource_name,
        "resource_limit": l.resource_limit,
        "project_id": l.project_id,
        "domain_id": l.domain_id,
        "description": l.description,
        "links": self_link(base, &format!("limits/{}", l.id)),
    })
}

/// `GET /v3/limits/model`
pub(crate) async fn show_model(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_limit_model", Target::new())?;
    let model = keystone.conf.unified_limit.enforcement_model;
    let description = match model {
        EnforcementModel::Flat => {
            "Limit enforcement and validation does not take project hierarchy into consideration."
        }
        EnforcementModel::StrictTwoLevel => {
            "This model requires project hierarchy never exceeds a depth of two"
        }
    };
    one(
        200,
        "model",
        json!({"name": model.as_str(), "description": description}),
    )
}

/// `GET /v3/limits`: all for administrators and services, those of a domain for its people, a project's own for others.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_limits", Target::new())?;
    let ctx = &req.ctx;
    let sees_all = ctx.system_scope.is_some() || ctx.has_role("admin") || ctx.has_role("service");
    let visible = match (sees_all, &ctx.domain_id, &ctx.project_id) {
        (true, ..) => everything(),
        (_, Some(domain), _) => any([
            eq("domain_id", domain),
            in_rows::<ProjectRow>("project_id", "id", eq("domain_id", domain)),
        ]),
        (_, _, Some(project)) => eq("project_id", project),
        _ => nothing(),
    };
    let of_all = filters(&req.query, registered_limits::FILTERS);
    let of_all = in_rows::<RegisteredLimitRow>("registered_limit_id", "id", of_all);
    let cond = all([visible, of_all, filters(&req.query, FILTERS)]);
    let found = keystone
        .db
        .read(move |tx| limits::list(tx, cond.clone()))
        .await?;
    let base = base_url(&keystone, &req);
    let views = found.iter().map(|l| view(&base, l)).collect();
    collection(&base, &req, "limits", views, None)
}

/// `GET /v3/limits/{limit_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let id = req.param("limit_id").to_string();
    let (found, project) = keystone
        .db
        .read(move |tx| {
            let found = limits::find(tx, &id)?;
            let project_id = found.as_ref().and_then(|(l, _)| l.project_id.clone());
            let project = project_id.map(|id| projects::find(tx, &id)).transpose()?;
            Ok((found, project.flatten()))
        })
        .await?;
    let mut target = Target::new();
    if let Some((limit, _)) = &found {
        let mut about = json!({"project_id": limit.project_id});
        if let Some(project) = &project {
            about["project"] = json!({"id": project.id, "domain_id": project.domain_id});
        }
        if let Some(id) = &limit.domain_id {
            about["domain"] = json!({"id": id});
        }
        target = target.set("limit", about);
    }
    enforce(&req, "identity:get_limit", target)?;
    let limit = found.ok_or_else(|| no_limit("limit", req.param("limit_id")))?;
    one(200, "limit", view(&base_url(&keystone, &req), &limit))
}

/// What an item of the body asks for.
struct New {
    service_id: String,
    region_id: Option<String>,
    resource_name: String,
    row: LimitRow,
}

fn parse(mut fields: Fields) -> Result<New> {
    const WHAT: &str = "limit";
    let new = New {
        service_id: fields.required("service_id", WHAT)?,
        region_id: fields.text("region_id")?,
        resource_name: fields.required("resource_name", WHAT)?,
        row: LimitRow {
            id: new_hex_id(),
            registered_limit_id: String::new(),
            project_id: fields.text("project_id")?,
            domain_id: fields.text("domain_id")?,
            resource_limit: fields
                .integer("resource_limit")?
                .ok_or_else(|| expecting("resource_limit", WHAT))?,
            description: fields.text("description")?,
        },
    };
    match (&new.row.project_id, &new.row.domain_id) {
        (Some(_), None) | (None, Some(_)) => Ok(new),
        _ => Err(expecting("project_id or domain_id", WHAT)),
    }
}

fn insert(tx: &mut Tx, new: &New) -> Result<Limit> {
    let region_id = new.region_id.as_deref();
    check_place(tx, &new.service_id, region_id, "limit")?;
    let mut row = new.row.clone();
    if let Some(id) = row.project_id.take() {
        let found = projects::find(tx, &id)?;
        let project = found.ok_or_else(|| expecting("project_id", "limit"))?;
        // A project that is a domain has the limits of a domain.
        match project.is_domain {
            true => row.domain_id = Some(id),
            false => row.project_id = Some(id),
        }
    }
    if let Some(id) = &row.domain_id
        && projects::find_domain(tx, id)?.is_none()
    {
        return Err(expecting("domain_id", "limit"));
    }
    let same = limits::same(&new.service_id, region_id, &new.resource_name);
    let of_all = tx.find::<RegisteredLimitRow>(same)?.ok_or_else(|| {
        Error::forbidden("Unable to create a limit that has no corresponding registered limit.")
    })?;
    row.registered_limit_id.clone_from(&of_all.id);
    if own(tx, &of_all.id, &row)?.is_some() {
        return Err(duplicate("limit"));
    }
    tx.insert(&row)?;
    Ok((row, of_all))
}

/// The limit of the same resource that the same project or domain has.
fn own(tx: &mut Tx, registered_limit_id: &str, like: &LimitRow) -> Result<Option<LimitRow>> {
    let target = match (&like.project_id, &like.domain_id) {
        (Some(id), _) => eq("project_id", id),
        (_, id) => eq("domain_id", id.as_deref().unwrap_or_default()),
    };
    tx.find(all([
        eq("registered_limit_id", registered_limit_id),
        target,
    ]))
}

/// No limit is more than any number.
fn number(limit: i64) -> i64 {
    if limit < 0 { i64::MAX } else { limit }
}

/// In the strict model a project's limit is at most its domain's, and a domain's at least each of its projects'.
fn check_tree(tx: &mut Tx, (row, of_all): &Limit) -> Result<()> {
    let refused = |level: &str, id: &str| {
        Err(Error::forbidden(format!(
            "Invalid resource limit: The resource limit ({level}: {id}, resource_name: {}, resource_limit: {}, service_id: {}, region_id: {}) doesn't satisfy current hierarchy model..",
            of_all.resource_name,
            row.resource_limit,
            of_all.service_id,
            of_all.region_id.as_deref().unwrap_or("None"),
        )))
    };
    if let Some(id) = &row.project_id {
        let domain_id = projects::get(tx, id)?.domain_id;
        let mut above = row.clone();
        (above.project_id, above.domain_id) = (None, Some(domain_id));
        let above = own(tx, &of_all.id, &above)?;
        let most = above.map_or(of_all.default_limit, |l| l.resource_limit);
        return match number(row.resource_limit) > number(most) {
            true => refused("project_id", id),
            false => Ok(()),
        };
    }
    let domain_id = row.domain_id.as_deref().unwrap_or_default();
    let theirs = all([
        eq("registered_limit_id", &of_all.id),
        in_rows::<ProjectRow>("project_id", "id", eq("domain_id", domain_id)),
    ]);
    let below: Vec<LimitRow> = tx.select(theirs)?;
    let most = below.iter().map(|l| number(l.resource_limit)).max();
    match most.is_some_and(|most| most > number(row.resource_limit)) {
        true => refused("domain_id", domain_id),
        false => Ok(()),
    }
}

/// `POST /v3/limits`: all of the list or none.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_limits", Target::new())?;
    let new: Vec<New> = items(&req, "limits")?
        .into_iter()
        .map(parse)
        .collect::<Result<_>>()?;
    let strict = keystone.is_two_level();
    let made = keystone
        .write(move |tx| {
            let made = new
                .iter()
                .map(|new| insert(tx, new))
                .collect::<Result<Vec<_>>>()?;
            // After all are there: the list may hold a domain and its projects.
            for limit in made.iter().filter(|_| strict) {
                check_tree(tx, limit)?;
            }
            Ok(made)
        })
        .await?;
    let base = base_url(&keystone, &req);
    one(201, "limits", made.iter().map(|l| view(&base, l)).collect())
}

/// `PATCH /v3/limits/{limit_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_limit", Target::new())?;
    let id = req.param("limit_id").to_string();
    let fields = Fields::of(&req, "limit")?;
    let strict = keystone.is_two_level();
    let limit = keystone
        .write(move |tx| {
            let found = limits::find(tx, &id)?;
            let (mut row, of_all) = found.ok_or_else(|| no_limit("limit", &id))?;
            let mut fields = fields.clone();
            row.resource_limit = fields
                .integer("resource_limit")?
                .unwrap_or(row.resource_limit);
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            let values = [
                set("resource_limit", row.resource_limit),
                set("description", &row.description),
            ];
            tx.update::<LimitRow>(eq("id", &id), &values)?;
            let limit = (row, of_all);
            if strict {
                check_tree(tx, &limit)?;
            }
            Ok(limit)
        })
        .await?;
    one(200, "limit", view(&base_url(&keystone, &req), &limit))
}

/// `DELETE /v3/limits/{limit_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_limit", Target::new())?;
    let id = req.param("limit_id").to_string();
    keystone
        .write(move |tx| match tx.delete::<LimitRow>(eq("id", &id))? {
            0 => Err(no_limit("limit", &id)),
            _ => Ok(()),
        })
        .await?;
    Ok(Reply::empty(204))
}
