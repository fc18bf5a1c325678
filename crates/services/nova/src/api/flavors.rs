//! Flavors: sizes of servers, public or for named projects.

use super::values::{boolean, float, integer, integer_or, text, wrapped};
use super::views::{flavor, links};
use crate::Nova;
use crate::db::flavors::{FlavorAccessRow, FlavorRow};
use base::{Cell, Dir, Error, Json, Page, Result, new_id};
use oslo_context::{RequestContext, RowScope};
use oslo_db::{Cond, Tx, all, any, contains, eq, everything, ge, is_duplicate, is_in};
use oslo_http::{PagingRules, Reply, Req, is_true, parse_paging};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const EXTRA_SPECS: &str = "os_compute_api:os-flavor-extra-specs:index";

const SORT_KEYS: &[(&str, &str)] = &[
    ("flavorid", "flavor_id"),
    ("id", "id"),
    ("name", "name"),
    ("memory_mb", "memory_mb"),
    ("vcpus", "vcpus"),
    ("root_gb", "root_gb"),
    ("ephemeral_gb", "ephemeral_gb"),
    ("swap", "swap"),
    ("rxtx_factor", "rxtx_factor"),
    ("is_public", "is_public"),
    ("disabled", "disabled"),
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
];

/// 404 in upstream's words.
pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Flavor {id} could not be found.")).class("FlavorNotFound")
}

fn visible(tx: &mut Tx, ctx: &RequestContext) -> Result<Cond> {
    let RowScope::Project(project) = ctx.row_scope() else {
        return Ok(everything());
    };
    let own: Vec<String> = tx
        .select::<FlavorAccessRow>(eq("project_id", project))?
        .into_iter()
        .map(|a| a.flavor_id)
        .collect();
    Ok(any([eq("is_public", true), is_in("flavor_id", own)]))
}

/// The flavor, if the caller may use it; 404 otherwise.
pub fn get(tx: &mut Tx, ctx: &RequestContext, flavor_id: &str) -> Result<FlavorRow> {
    let visible = visible(tx, ctx)?;
    tx.find(all([eq("flavor_id", flavor_id), visible]))?
        .ok_or_else(|| not_found(flavor_id))
}

/// The same, and nobody else changes it until the transaction ends.
pub fn get_held(tx: &mut Tx, ctx: &RequestContext, flavor_id: &str) -> Result<FlavorRow> {
    let visible = visible(tx, ctx)?;
    tx.find_for_update(all([eq("flavor_id", flavor_id), visible]))?
        .ok_or_else(|| not_found(flavor_id))
}

fn minimum(req: &Req, name: &str, column: &'static str) -> Result<Cond> {
    let Some(value) = req.query.get(name) else {
        return Ok(everything());
    };
    let number: i64 = value
        .parse()
        .map_err(|_| Error::bad_request(format!("Invalid {name} filter [{value}]")))?;
    Ok(ge(column, number))
}

/// Upstream's filter: absent and true are "public", `none` is everything.
fn parse_is_public(word: Option<&str>) -> Result<Option<bool>> {
    match word.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(Some(true)),
        Some("none") => Ok(None),
        Some(w) if is_true(w) => Ok(Some(true)),
        Some("0" | "f" | "false" | "off" | "n" | "no") => Ok(Some(false)),
        Some(w) => Err(Error::bad_request(format!(
            "Invalid is_public filter [{w}]"
        ))),
    }
}

async fn page(nova: &Nova, req: &Req) -> Result<Page<FlavorRow>> {
    let rules = PagingRules {
        default_sort: &[("flavor_id", Dir::Asc)],
        tie: "flavor_id",
        max_limit: nova.conf.max_limit,
        default_limit: Some(nova.conf.max_limit),
        ..PagingRules::new(SORT_KEYS)
    };
    let paging = parse_paging(&req.query, &rules)?;
    let mut conditions = vec![
        minimum(req, "minRam", "memory_mb")?,
        minimum(req, "minDisk", "root_gb")?,
    ];
    if let Some(name) = req.query.get("name").filter(|_| req.at_least(2, 102)) {
        conditions.push(contains("name", name));
    }
    let public = if req.ctx.is_admin {
        parse_is_public(req.query.get("is_public"))?
    } else {
        Some(true)
    };
    // "Public" means what the caller's own project may use, also for administrators.
    let mut own = (*req.ctx).clone();
    own.is_admin = false;
    nova.db
        .read(move |tx| {
            let mut conditions = conditions.clone();
            match public {
                Some(true) => conditions.push(visible(tx, &own)?),
                Some(false) => conditions.push(eq("is_public", false)),
                None => {}
            }
            tx.page_by_key("flavor_id", all(conditions), &paging)
                .map_err(|e| match e.error_class() {
                    Some(oslo_db::MARKER_NOT_FOUND) => {
                        let marker = paging.marker.clone().unwrap_or_default();
                        Error::bad_request(format!("marker [{marker}] not found"))
                    }
                    _ => e,
                })
        })
        .await
}

/// `GET /flavors`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = page(&nova, &req).await?;
    let rows: Vec<Value> = page
        .items
        .iter()
        .map(|f| flavor::summary(&req, f))
        .collect();
    let mut body = json!({"flavors": rows});
    links::next(&mut body, "flavors_links", &req, &page, |f| {
        f.flavor_id.clone()
    });
    Reply::ok(&body)
}

/// `GET /flavors/detail`.
pub async fn detail(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = page(&nova, &req).await?;
    let extra = sees_extra_specs(&req);
    let rows: Vec<Value> = page
        .items
        .iter()
        .map(|f| flavor::detail(&req, f, extra))
        .collect();
    let mut body = json!({"flavors": rows});
    links::next(&mut body, "flavors_links", &req, &page, |f| {
        f.flavor_id.clone()
    });
    Reply::ok(&body)
}

fn sees_extra_specs(req: &Req) -> bool {
    req.at_least(2, 61) && req.permits(EXTRA_SPECS, &json!({"project_id": req.ctx.project_id}))
}

/// `GET /flavors/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, ctx) = (req.param("id").to_string(), Arc::clone(&req.ctx));
    let row = nova.db.read(move |tx| get(tx, &ctx, &id)).await?;
    Reply::ok(&json!({"flavor": flavor::detail(&req, &row, sees_extra_specs(&req))}))
}

fn new_flavor(req: &Req, now: base::Timestamp) -> Result<FlavorRow> {
    let body = wrapped(req.json.as_ref(), "flavor")?;
    let id = match body.get("id") {
        None | Some(Value::Null) => new_id(),
        Some(Value::String(text)) if text == "auto" => new_id(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let number = |key: &str| body.get(key).map_or(Ok(0), integer);
    let rxtx = body.get("rxtx_factor").map_or(Ok(1.0), float)?;
    if !(rxtx > 0.0 && rxtx <= 3.402_82e38) {
        return Err(Error::bad_request(
            "'rxtx_factor' argument must be a positive float",
        ));
    }
    Ok(FlavorRow {
        id: new_id(),
        flavor_id: id,
        name: text(body, "name").unwrap_or("").trim().to_string(),
        memory_mb: number("ram")?,
        vcpus: number("vcpus")?,
        root_gb: number("disk")?,
        ephemeral_gb: integer_or(body, "OS-FLV-EXT-DATA:ephemeral", 0)?,
        swap: integer_or(body, "swap", 0)?,
        rxtx_factor: rxtx,
        is_public: body.get("os-flavor-access:is_public").is_none_or(boolean),
        disabled: false,
        description: text(body, "description")
            .filter(|_| req.at_least(2, 55))
            .map(str::to_string),
        extra_specs: Json(BTreeMap::new()),
        created_at: now,
        updated_at: None,
    })
}

/// `POST /flavors`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = new_flavor(&req, nova.clock.now())?;
    let inserted = row.clone();
    nova.db
        .write(move |tx| {
            if tx.exists::<FlavorRow>(eq("name", &inserted.name))? {
                let words = format!("Flavor with name {} already exists.", inserted.name);
                return Err(Error::conflict(words).class("FlavorExists"));
            }
            let words = format!("Flavor with ID {} already exists.", inserted.flavor_id);
            tx.insert(&inserted).map_err(|e| match is_duplicate(&e) {
                true => Error::conflict(words).class("FlavorIdExists"),
                false => e,
            })
        })
        .await?;
    Reply::ok(&json!({"flavor": flavor::detail(&req, &row, sees_extra_specs(&req))}))
}

/// `PUT /flavors/{id}` (2.55): the description.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "flavor")?;
    let description = text(body, "description").map(str::to_string);
    let (id, ctx, now) = (
        req.param("id").to_string(),
        Arc::clone(&req.ctx),
        nova.clock.now(),
    );
    let row = nova
        .db
        .write(move |tx| {
            let mut row = get(tx, &ctx, &id)?;
            let values = [
                ("description", description.to_cell()),
                ("updated_at", now.to_cell()),
            ];
            tx.update::<FlavorRow>(eq("id", &row.id), &values)?;
            row.description = description.clone();
            Ok(row)
        })
        .await?;
    Reply::ok(&json!({"flavor": flavor::detail(&req, &row, sees_extra_specs(&req))}))
}

/// `DELETE /flavors/{id}`; servers keep their own copy.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    nova.db
        .write(move |tx| {
            if tx.delete::<FlavorRow>(eq("flavor_id", &id))? == 0 {
                return Err(not_found(&id));
            }
            tx.delete::<FlavorAccessRow>(eq("flavor_id", &id))?;
            Ok(())
        })
        .await?;
    Ok(Reply::empty(202))
}
