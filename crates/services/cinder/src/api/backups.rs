//! `/backups`.

use crate::Cinder;
use crate::api::time;
use crate::backup::create::{NewBackup, create as create_backup};
use crate::backup::status::BackupStatus;
use crate::backup::{delete as deletion, record, restore as restoring};
use crate::db::{self, BackupRow};
use crate::volume::create::NewVolume;
use crate::volume::invalid_input;
use base::{Error, Json, Page, Result};
use oslo_db::{Cond, Tx, all, contains, eq, nothing, set};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use oslo_policy::Target;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

type Object = Map<String, Value>;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("volume_id", "volume_id"),
    ("size", "size"),
    ("container", "container"),
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
    ("data_timestamp", "data_timestamp"),
    ("user_id", "user_id"),
    ("project_id", "project_id"),
]);

/// Names that are not filters.
const PAGING_NAMES: &[&str] = &[
    "limit",
    "marker",
    "offset",
    "sort",
    "sort_key",
    "sort_dir",
    "all_tenants",
    "with_count",
];

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_string)
}

fn flag(object: &Object, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::String(text)) => is_true(text),
        _ => false,
    }
}

/// Name and description without blanks around.
fn label(object: &Object, key: &str) -> Option<String> {
    text(object, key).map(|v| v.trim().to_string())
}

fn pairs(object: &Object, key: &str) -> Object {
    let given = object.get(key).and_then(Value::as_object);
    given.cloned().unwrap_or_default()
}

fn summary(req: &Req, row: &BackupRow) -> Value {
    let (base, project) = (&req.base_url, req.ctx.project());
    json!({"id": row.id, "name": row.name, "links": [
        {"rel": "self", "href": format!("{base}/v3/{project}/backups/{}", row.id)},
        {"rel": "bookmark", "href": format!("{base}/{project}/backups/{}", row.id)},
    ]})
}

fn full(req: &Req, row: &BackupRow, parents: &HashSet<String>) -> Value {
    let mut out = summary(req, row);
    let mut put = |key: &str, value: Value| out[key] = value;
    put("status", json!(row.status));
    put("size", json!(row.size));
    put("object_count", json!(row.object_count));
    put("availability_zone", json!(row.availability_zone));
    put("container", json!(row.container));
    put("created_at", time(Some(row.created_at)));
    put("updated_at", time(row.updated_at));
    put("description", json!(row.description));
    put("fail_reason", json!(row.fail_reason));
    put("volume_id", json!(row.volume_id));
    put("is_incremental", json!(row.parent_id.is_some()));
    put("has_dependent_backups", json!(parents.contains(&row.id)));
    put("snapshot_id", json!(row.snapshot_id));
    put("data_timestamp", time(Some(row.data_timestamp)));
    if req.at_least(3, 18) {
        let target = Target::owned(&row.project_id, &row.user_id);
        if req.permits("backup:backup_project_attribute", &target) {
            put("os-backup-project-attr:project_id", json!(row.project_id));
        }
    }
    if req.at_least(3, 43) {
        put("metadata", json!(row.metadata.0));
    }
    if req.at_least(3, 56) {
        put("user_id", json!(row.user_id));
    }
    out
}

fn filter(req: &Req, name: &str, value: &str) -> Result<Option<Cond>> {
    let admin = req.ctx.is_admin;
    Ok(Some(match name {
        "name" => eq("name", value),
        "name~" if req.at_least(3, 34) => contains("name", value),
        "status" => match BackupStatus::parse(value) {
            Ok(status) => eq("status", status),
            Err(_) => nothing(),
        },
        "volume_id" => eq("volume_id", value),
        "id" => eq("id", value),
        "project_id" if admin => eq("project_id", value),
        _ if req.at_least(3, 31) => {
            return Err(Error::bad_request(format!(
                "Invalid filters {name} are found in query options."
            )));
        }
        _ => return Ok(None),
    }))
}

struct Found {
    page: Page<BackupRow>,
    parents: HashSet<String>,
    total: Option<u64>,
}

async fn find(cinder: &Cinder, req: &Req) -> Result<Found> {
    let everyone = req.ctx.is_admin && req.query.flag("all_tenants").unwrap_or(false);
    let mut conditions = Vec::new();
    if !everyone {
        conditions.push(eq("project_id", req.ctx.project()));
    }
    for (name, value) in &req.query.0 {
        if !PAGING_NAMES.contains(&name.as_str()) {
            conditions.extend(filter(req, name, value)?);
        }
    }
    let (cond, paging) = (all(conditions), parse_paging(&req.query, &PAGING)?);
    let count = req.at_least(3, 45) && req.query.flag("with_count").unwrap_or(false);
    let read = move |tx: &mut Tx| {
        let page = tx.page::<BackupRow>(cond.clone(), &paging)?;
        let total = match count {
            true => Some(tx.count::<BackupRow>(cond.clone())?),
            false => None,
        };
        Ok(Found {
            parents: db::backups::parents(tx, &page.items)?,
            page,
            total,
        })
    };
    cinder.db.read(read).await
}

fn listed(req: &Req, found: &Found, view: impl Fn(&BackupRow) -> Value) -> Result<Reply> {
    let views: Vec<Value> = found.page.items.iter().map(view).collect();
    let mut body = json!({"backups": views});
    if let Some(next) = next_link(req, &found.page, |row| row.id.clone()) {
        body["backups_links"] = json!([{"rel": "next", "href": next}]);
    }
    if let Some(total) = found.total {
        body["count"] = json!(total);
    }
    Reply::ok(&body)
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    listed(&req, &found, |row| summary(&req, row))
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    listed(&req, &found, |row| full(&req, row, &found.parents))
}

async fn get(cinder: &Cinder, req: &Req) -> Result<(BackupRow, HashSet<String>)> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .read(move |tx| {
            let row = db::backups::get(tx, &ctx, &id)?;
            let parents = db::backups::parents(tx, std::slice::from_ref(&row))?;
            Ok((row, parents))
        })
        .await
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (row, parents) = get(&cinder, &req).await?;
    Reply::ok(&json!({"backup": full(&req, &row, &parents)}))
}

/// A container goes into paths and addresses: only names that mean nothing else are let through.
fn container(body: &Object) -> Result<Option<String>> {
    let Some(name) = text(body, "container").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain);
    if !name.split('/').all(part) {
        return Err(invalid_input(format!(
            "'{}' is not a container for backups.",
            name.escape_debug()
        )));
    }
    Ok(Some(name))
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("backup")?;
    let new = NewBackup {
        volume_id: text(&body, "volume_id").unwrap_or_default(),
        snapshot_id: text(&body, "snapshot_id"),
        name: label(&body, "name"),
        description: label(&body, "description"),
        container: container(&body)?,
        incremental: flag(&body, "incremental"),
        force: flag(&body, "force"),
        metadata: pairs(&body, "metadata"),
        availability_zone: text(&body, "availability_zone"),
    };
    let row = create_backup(&cinder, &req.ctx, new).await?;
    Reply::json(202, &json!({"backup": summary(&req, &row)}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Value = req.parse_key("backup")?;
    let body = body.as_object().cloned().unwrap_or_default();
    let mut values = vec![set("updated_at", cinder.clock.now())];
    for key in ["name", "description"] {
        if body.contains_key(key) {
            values.push(set(key, label(&body, key)));
        }
    }
    if req.at_least(3, 43) && body.get("metadata").is_some_and(Value::is_object) {
        values.push(set("metadata", Json(pairs(&body, "metadata"))));
    }
    if values.len() == 1 {
        return Err(Error::bad_request(
            "Must specify at least one of name, description or metadata to update a backup.",
        ));
    }
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .write(move |tx| {
            db::backups::lock(tx, &ctx, &id)?;
            tx.update::<BackupRow>(eq("id", &id), &values)?;
            db::backups::get(tx, &ctx, &id)
        })
        .await?;
    Reply::ok(&json!({"backup": summary(&req, &row)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    deletion::delete(&cinder, &req.ctx, req.param("id"), false).await?;
    Ok(Reply::empty(202))
}

pub async fn force_delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    deletion::delete(&cinder, &req.ctx, req.param("id"), true).await?;
    Ok(Reply::empty(202))
}

/// An administrator's word goes past the transition table.
pub async fn reset_status(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-reset_status")?;
    let status = BackupStatus::parse(&text(&body, "status").unwrap_or_default())?;
    let (ctx, id, now) = (
        req.ctx.clone(),
        req.param("id").to_string(),
        cinder.clock.now(),
    );
    let reset = move |tx: &mut Tx| {
        db::backups::lock(tx, &ctx, &id)?;
        let values = [set("status", status), set("updated_at", now)];
        tx.update::<BackupRow>(eq("id", &id), &values).map(drop)
    };
    cinder.db.write(reset).await?;
    Ok(Reply::empty(202))
}

pub async fn restore(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Value = req.parse_key("restore")?;
    let body = body.as_object().cloned().unwrap_or_default();
    let id = req.param("id");
    let volume = match text(&body, "volume_id") {
        Some(volume) => restoring::into_existing(&cinder, &req.ctx, id, &volume).await?,
        None => {
            let name = label(&body, "name").filter(|name| !name.is_empty());
            let new = NewVolume {
                name: Some(name.unwrap_or_else(|| format!("restore_backup_{id}"))),
                description: Some("auto-created_from_restore_from_backup".to_string()),
                ..NewVolume::default()
            };
            restoring::into_new(&cinder, &req.ctx, id, new).await?
        }
    };
    let name = volume.name.unwrap_or_default();
    Reply::json(
        202,
        &json!({"restore": {"backup_id": id, "volume_id": volume.id, "volume_name": name}}),
    )
}

pub async fn export_record(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (row, _) = get(&cinder, &req).await?;
    Reply::ok(&json!({"backup-record": record::export(&row)?}))
}

pub async fn import_record(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("backup-record")?;
    let (service, url) = (text(&body, "backup_service"), text(&body, "backup_url"));
    let (service, url) = (service.unwrap_or_default(), url.unwrap_or_default());
    let row = record::import(&cinder, &req.ctx, &service, &url).await?;
    Reply::json(201, &json!({"backup": summary(&req, &row)}))
}
