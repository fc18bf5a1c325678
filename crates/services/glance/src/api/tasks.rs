//! Tasks: what imports are doing, and the old way in which administrators ask for one.

use super::views;
use crate::Glance;
use crate::db::TaskRow;
use crate::db::images::{get, save_belongings};
use crate::image::attributes;
use crate::import::{Import, submit, task_row};
use crate::limits::Limits;
use crate::signature::Signature;
use base::{Dir, Error, Result};
use glance_types::{TaskStatus, TaskType};
use oslo_context::RequestContext;
use oslo_db::{Cond, Tx, all, any, eq, everything, gt, is_null};
use oslo_http::{PagingRules, Reply, Req, parse_paging};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SORT_KEYS: &[(&str, &str)] = &[
    ("created_at", "created_at"),
    ("expires_at", "expires_at"),
    ("id", "id"),
    ("status", "status"),
    ("type", "type"),
    ("updated_at", "updated_at"),
];

/// As it stands among others.
fn brief(row: &TaskRow) -> Value {
    let mut view = json!({
        "id": row.id, "type": row.r#type, "status": row.status, "owner": row.owner,
        "created_at": row.created_at.iso_z(), "updated_at": row.updated_at.iso_z(),
        "self": format!("/v2/tasks/{}", row.id), "schema": "/v2/schemas/task",
    });
    for (name, value) in [
        ("image_id", &row.image_id),
        ("request_id", &row.request_id),
        ("user_id", &row.user_id),
    ] {
        if let Some(value) = value {
            view[name] = json!(value);
        }
    }
    if let Some(expires) = row.expires_at {
        view["expires_at"] = json!(expires.iso_z());
    }
    view
}

fn parsed(text: Option<&str>) -> Result<Value> {
    Ok(match text {
        Some(text) => serde_json::from_str(text)?,
        None => Value::Null,
    })
}

fn view(row: &TaskRow) -> Result<Value> {
    let mut view = brief(row);
    view["input"] = parsed(Some(&row.input))?;
    view["result"] = parsed(row.result.as_deref())?;
    view["message"] = json!(row.message);
    Ok(view)
}

fn visible(ctx: &RequestContext) -> Cond {
    match ctx.is_admin {
        true => everything(),
        false => eq("owner", ctx.project()),
    }
}

fn unexpired(glance: &Glance) -> Cond {
    any([is_null("expires_at"), gt("expires_at", glance.clock.now())])
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("tasks_api_access", &json!({}))?;
    req.enforce("get_tasks", &json!({}))?;
    let rules = PagingRules {
        default_limit: Some(glance.conf.limit_param_default),
        max_limit: glance.conf.api_limit_max,
        ..PagingRules::new(SORT_KEYS)
    };
    let paging = parse_paging(&req.query, &rules)?;
    let mut conds = vec![visible(&req.ctx), unexpired(&glance)];
    if let Some(word) = req.query.get("status") {
        let status = TaskStatus::parse(word)
            .map_err(|_| Error::bad_request(format!("Invalid status value: {word}")))?;
        conds.push(eq("status", status));
    }
    if let Some(word) = req.query.get("type") {
        let kind = TaskType::parse(word)
            .map_err(|_| Error::bad_request(format!("Invalid type value: {word}")))?;
        conds.push(eq("type", kind));
    }
    let cond = all(conds);
    let read = move |tx: &mut Tx| tx.page::<TaskRow>(cond.clone(), &paging);
    let page = glance.db.read(read).await?;
    let link = |query: String| match query.as_str() {
        "" => "/v2/tasks".to_string(),
        query => format!("/v2/tasks?{query}"),
    };
    let views: Vec<_> = page.items.iter().map(brief).collect();
    let mut body = json!({
        "tasks": views,
        "first": link(req.query.with(&[], &["marker"])),
        "schema": "/v2/schemas/tasks",
    });
    if let Some(last) = page.items.last().filter(|_| page.more) {
        body["next"] = json!(link(req.query.with(&[("marker", &last.id)], &[])));
    }
    Reply::ok(&body)
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("tasks_api_access", &json!({}))?;
    req.enforce("get_task", &json!({}))?;
    let id = req.param("task_id").to_string();
    let cond = all([eq("id", &id), visible(&req.ctx), unexpired(&glance)]);
    let row = glance
        .db
        .read(move |tx| tx.find::<TaskRow>(cond.clone()))
        .await?;
    let row = row.ok_or_else(|| Error::not_found(format!("Failed to find task {id}")))?;
    Reply::ok(&view(&row)?)
}

/// COMPAT: upstream routes it, and always refuses.
pub async fn delete(_: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("tasks_api_access", &json!({}))?;
    let words = "This operation is currently not permitted on Glance Tasks. They are auto deleted after reaching the time based on their expires_at property.";
    Ok(Reply::text(405, "text/plain; charset=UTF-8", words.to_string()).header("allow", "GET"))
}

#[derive(Deserialize)]
struct TaskBody {
    r#type: String,
    input: Map<String, Value>,
}

/// A new image from an address.
pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("tasks_api_access", &json!({}))?;
    req.enforce("add_task", &json!({}))?;
    let body: TaskBody = req.parse()?;
    if body.r#type != TaskType::Import.as_str() {
        return Err(Error::bad_request(format!(
            "Provided task type is not supported: {}",
            body.r#type
        )));
    }
    let field = |name: &str| {
        let value = body.input.get(name);
        value.ok_or_else(|| Error::bad_request(format!("Input does not contain '{name}' field")))
    };
    field("import_from_format")?;
    let uri = field("import_from")?;
    let properties = field("image_properties")?.as_object();
    let properties =
        properties.ok_or_else(|| Error::bad_request("'image_properties' must be a JSON object"))?;
    let mut image = super::images::blank(&glance, &req.ctx);
    for (name, value) in properties {
        attributes::set(&mut image, &glance.conf, name, value)?;
    }
    attributes::check_quotas(&image, &glance.conf)?;
    super::images::check_visibility(&req, &image)?;
    let request = json!({"method": {"name": "web-download", "uri": uri}});
    let mut import = Import::parse(&glance, Some(&request), None)?;
    import.signature = Signature::of(&glance, &req.ctx, &image).await?;
    let (now, id) = (glance.clock.now(), image.row.id.clone());
    let input = Value::Object(body.input.clone());
    let task = task_row(&req.ctx, TaskType::Import, &id, &input, now);
    let (state, made) = (Arc::clone(&glance), task.clone());
    let limits = Limits::of(&glance, req.ctx.project()).await?;
    let ctx = Arc::clone(&req.ctx);
    let write = move |tx: &mut Tx| {
        limits.reserve_image(tx)?;
        tx.insert(&image.row)?;
        save_belongings(tx, &image)?;
        let mut image = image.clone();
        submit(tx, &state, &ctx, &mut image, &import, &task, &limits).map(drop)
    };
    glance.db.write(write).await?;
    glance.engine.wake();
    let location = format!("{}/v2/tasks/{}", req.base_url, made.id);
    Ok(Reply::json(201, &view(&made)?)?.header("location", location))
}

/// What was done with one image.
pub async fn of_image(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, fresh) = (Arc::clone(req.policy()), unexpired(&glance));
    let read = move |tx: &mut Tx| {
        let image = get(tx, &ctx, &id)?;
        policy.enforce("get_image", &ctx, &image.target())?;
        policy.enforce("get_tasks", &ctx, &json!({}))?;
        // Addresses that data came from may hold keys: whoever only reads the image sees no more than their own tasks.
        let theirs = match image.row.owner.is_some() && image.row.owner == ctx.project_id {
            true => everything(),
            false => visible(&ctx),
        };
        let cond = all([eq("image_id", &id), theirs, fresh.clone()]);
        tx.select_sorted::<TaskRow>(cond, &[("created_at", Dir::Asc), ("id", Dir::Asc)], None)
    };
    let rows = glance.db.read(read).await?;
    let views: Result<Vec<_>> = rows.iter().map(views::image_task).collect();
    Reply::ok(&json!({"tasks": views?}))
}
