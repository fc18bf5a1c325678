//! `/messages`.

use crate::Cinder;
use crate::api::filters::PAGING_NAMES;
use crate::api::{links, time};
use crate::db::messages::{self, MessageRow};
use crate::db::volumes::scope;
use crate::message;
use base::Result;
use oslo_db::{Cond, all, contains, eq, nothing};
use oslo_http::{PagingRules, Query, Reply, Req, next_link, parse_paging};
use serde_json::{Value, json};
use std::sync::Arc;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("event_id", "event_id"),
    ("resource_type", "resource_type"),
    ("resource_uuid", "resource_uuid"),
    ("request_id", "request_id"),
    ("message_level", "message_level"),
    ("created_at", "created_at"),
    ("guaranteed_until", "expires_at"),
    ("expires_at", "expires_at"),
]);

/// What lists may be filtered by.
const FILTERS: &[&str] = &[
    "id",
    "event_id",
    "resource_type",
    "resource_uuid",
    "request_id",
    "message_level",
    "action_id",
    "detail_id",
    "project_id",
];

fn view(req: &Req, row: &MessageRow) -> Value {
    let mut out = json!({
        "id": row.id,
        "event_id": row.event_id,
        "user_message": message::text(row),
        "message_level": row.message_level,
        "created_at": time(Some(row.created_at)),
        "guaranteed_until": time(Some(row.expires_at)),
        "request_id": row.request_id,
        "links": links(req, "messages", &row.id),
        "resource_type": row.resource_type,
    });
    if let Some(id) = &row.resource_uuid {
        out["resource_uuid"] = json!(id);
    }
    out
}

fn filter(req: &Req, name: &str, value: &str) -> Cond {
    let (bare, like) = match name.strip_suffix('~') {
        Some(bare) if req.at_least(3, 34) => (bare, true),
        _ => (name, false),
    };
    match FILTERS.iter().find(|f| **f == bare) {
        Some(column) if like => contains(*column, value),
        Some(column) => eq(*column, value),
        // COMPAT: what is asked for by a word that is no attribute is not found.
        None => nothing(),
    }
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let mut conditions = vec![scope(&req.ctx)];
    // Filters and pages came later than messages.
    let asked = if req.at_least(3, 5) {
        cinder.filters.check(&req, "message")?;
        for (name, value) in &req.query.0 {
            if !PAGING_NAMES.contains(&name.as_str()) {
                conditions.push(filter(&req, name, value));
            }
        }
        req.query.clone()
    } else {
        Query::default()
    };
    let paging = parse_paging(&asked, &PAGING)?;
    let page = cinder
        .db
        .read(move |tx| tx.page::<MessageRow>(all(conditions.clone()), &paging))
        .await?;
    let views: Vec<Value> = page.items.iter().map(|m| view(&req, m)).collect();
    let mut body = json!({"messages": views});
    if let Some(next) = next_link(&req, &page, |m| m.id.clone()) {
        body["messages_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .read(move |tx| messages::get(tx, &ctx, &id))
        .await?;
    Reply::ok(&json!({"message": view(&req, &row)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .write(move |tx| {
            messages::get(tx, &ctx, &id)?;
            tx.delete::<MessageRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
