//! `/attachments`.

use crate::Cinder;
use crate::api::views;
use crate::db::{self, AttachmentRow};
use crate::volume::attach::{self, NewAttachment};
use crate::volume::status::AttachStatus;
use base::{Error, Result};
use oslo_db::{all, eq, nothing};
use oslo_http::{PagingRules, Reply, Req, next_link, parse_paging};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("volume_id", "volume_id"),
    ("instance_id", "instance_id"),
    ("attach_status", "status"),
    ("created_at", "created_at"),
]);

const PAGING_NAMES: &[&str] = &[
    "limit",
    "marker",
    "offset",
    "sort",
    "sort_key",
    "sort_dir",
    "all_tenants",
];

/// The keys with which a host reaches a volume are for those who attach it, not for everybody who may look.
fn shown(req: &Req, row: &AttachmentRow) -> Value {
    let mut view = views::attachment(row);
    if !req.ctx.is_admin
        && !attach::is_service(&req.ctx)
        && let Some(info) = view["connection_info"].as_object_mut()
    {
        info.retain(|key, _| !key.starts_with("tls_") && !key.starts_with("auth_"));
    }
    view
}

async fn page(cinder: &Cinder, req: &Req, view: impl Fn(&AttachmentRow) -> Value) -> Result<Reply> {
    cinder.filters.check(req, "attachment")?;
    let everyone = req.ctx.is_admin && req.query.flag("all_tenants").unwrap_or(false);
    let mut conditions = Vec::new();
    if !everyone {
        conditions.push(eq("project_id", req.ctx.project()));
    }
    for (name, value) in &req.query.0 {
        conditions.push(match name.as_str() {
            "volume_id" => eq("volume_id", value),
            "instance_id" | "instance_uuid" => eq("instance_id", value),
            "attachment_id" | "id" => eq("id", value),
            "status" | "attach_status" => match AttachStatus::parse(value) {
                Ok(status) => eq("status", status),
                Err(_) => nothing(),
            },
            "project_id" if req.ctx.is_admin => eq("project_id", value),
            other if PAGING_NAMES.contains(&other) => continue,
            other if req.at_least(3, 31) => {
                return Err(Error::bad_request(format!(
                    "Invalid filters {other} are found in query options."
                )));
            }
            _ => continue,
        });
    }
    let (cond, paging) = (all(conditions), parse_paging(&req.query, &PAGING)?);
    let page = cinder
        .db
        .read(move |tx| tx.page::<AttachmentRow>(cond.clone(), &paging))
        .await?;
    let mut body = json!({"attachments": page.items.iter().map(view).collect::<Vec<_>>()});
    if let Some(next) = next_link(req, &page, |a| a.id.clone()) {
        body["attachments_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, views::attachment_summary).await
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, |row| shown(&req, row)).await
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .read(move |tx| db::attachments::get(tx, &ctx, &id))
        .await?;
    Reply::ok(&json!({"attachment": shown(&req, &row)}))
}

/// Before 3.44 there is no `os-complete`: connecting counts as attached.
fn mark_attached(req: &Req) -> bool {
    !req.at_least(3, 44)
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("attachment")?;
    let new = NewAttachment::from_body(&body, req.at_least(3, 54));
    let row = attach::create(&cinder, &req.ctx, new, mark_attached(&req)).await?;
    Reply::ok(&json!({"attachment": views::attachment(&row)}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("attachment")?;
    let connector = body.get("connector").cloned().unwrap_or_default();
    if !connector.is_object() || connector == json!({}) {
        return Err(Error::bad_request(
            "Must have connector to update attachment.",
        ));
    }
    let mark = mark_attached(&req);
    let row = attach::connect(&cinder, &req.ctx, req.param("id"), connector, mark).await?;
    Reply::ok(&json!({"attachment": views::attachment(&row)}))
}

pub async fn complete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    attach::complete(&cinder, &req.ctx, req.param("id")).await?;
    Ok(Reply::empty(204))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let left = attach::delete(&cinder, &req.ctx, req.param("id")).await?;
    let views: Vec<Value> = left.iter().map(views::attachment_summary).collect();
    Reply::ok(&json!({"attachments": views}))
}
