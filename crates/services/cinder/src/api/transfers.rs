//! `/os-volume-transfer` and, from 3.55, `/volume-transfers`, which knows of snapshots and pages.

use crate::Cinder;
use crate::api::filters::PAGING_NAMES;
use crate::api::{links, time};
use crate::db::transfers::{self, TransferRow};
use crate::volume::transfer;
use base::{Dir, Error, Result, Secret};
use oslo_db::{all, eq, nothing};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("display_name", "name"),
    ("volume_id", "volume_id"),
    ("source_project_id", "source_project_id"),
    ("created_at", "created_at"),
]);

/// COMPAT: before 3.59 oldest first, whatever was asked for.
const OLDEST_FIRST: PagingRules = PagingRules {
    default_sort: &[("created_at", Dir::Asc), ("id", Dir::Asc)],
    ..PAGING
};

fn summary(req: &Req, row: &TransferRow) -> Value {
    json!({"id": row.id, "volume_id": row.volume_id, "name": row.name,
        "links": links(req, "os-volume-transfer", &row.id)})
}

fn detail_view(req: &Req, row: &TransferRow) -> Value {
    let mut out = summary(req, row);
    out["created_at"] = time(Some(row.created_at));
    if req.at_least(3, 55) {
        out["no_snapshots"] = json!(row.no_snapshots);
    }
    if req.at_least(3, 57) {
        // An offer that was taken is gone: those that are there were not.
        out["destination_project_id"] = Value::Null;
        out["source_project_id"] = json!(row.source_project_id);
        out["accepted"] = json!(false);
    }
    out
}

async fn page(
    cinder: &Cinder,
    req: &Req,
    view: impl Fn(&Req, &TransferRow) -> Value,
) -> Result<Reply> {
    let everyone = req.ctx.is_admin && req.query.flag("all_tenants").unwrap_or(false);
    let mut conditions = Vec::new();
    if !everyone {
        conditions.push(eq("source_project_id", req.ctx.project()));
    }
    for (name, value) in &req.query.0 {
        conditions.push(match name.as_str() {
            "name" | "display_name" => eq("name", value),
            "id" => eq("id", value),
            "volume_id" => eq("volume_id", value),
            "no_snapshots" => eq("no_snapshots", is_true(value)),
            "source_project_id" => eq("source_project_id", value),
            other if PAGING_NAMES.contains(&other) => continue,
            // COMPAT: what is asked for by a word that is no attribute is not found.
            _ => nothing(),
        });
    }
    let mut asked = req.query.clone();
    let rules = if req.at_least(3, 59) && !req.path.contains("/os-volume-transfer") {
        PAGING
    } else {
        asked.0.retain(|(name, _)| !name.starts_with("sort"));
        OLDEST_FIRST
    };
    let paging = parse_paging(&asked, &rules)?;
    let page = cinder
        .db
        .read(move |tx| tx.page::<TransferRow>(all(conditions.clone()), &paging))
        .await?;
    let views: Vec<Value> = page.items.iter().map(|t| view(req, t)).collect();
    let mut body = json!({"transfers": views});
    if let Some(next) = next_link(req, &page, |t| t.id.clone()) {
        body["transfers_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, summary).await
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, detail_view).await
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .read(move |tx| transfers::get(tx, &ctx, &id))
        .await?;
    Reply::ok(&json!({"transfer": detail_view(&req, &row)}))
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("transfer")?;
    let volume = body.get("volume_id").and_then(Value::as_str).unwrap_or("");
    let name = body.get("name").and_then(Value::as_str);
    let name = name.map(|n| n.trim().to_string());
    let no_snapshots = match body.get("no_snapshots") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(word)) => is_true(word),
        _ => false,
    };
    let (row, key) = transfer::create(&cinder, &req.ctx, volume, name, no_snapshots).await?;
    let mut view = detail_view(&req, &row);
    view["auth_key"] = json!(key.expose());
    Reply::json(202, &json!({"transfer": view}))
}

pub async fn accept(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("accept")?;
    let key = match body.get("auth_key") {
        Some(Value::String(key)) => key.clone(),
        Some(Value::Number(key)) => key.to_string(),
        _ => return Err(Error::bad_request("Invalid auth key: none was given.")),
    };
    let row = transfer::accept(&cinder, &req.ctx, req.param("id"), &Secret::new(key)).await?;
    Reply::json(202, &json!({"transfer": summary(&req, &row)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    transfer::delete(&cinder, &req.ctx, req.param("id")).await?;
    Ok(Reply::empty(202))
}
