//! `/volumes`.

use crate::Cinder;
use crate::api::views;
use crate::db::{self, VolumeRow};
use crate::volume::create::NewVolume;
use crate::volume::invalid_input;
use crate::volume::status::VolumeStatus;
use base::{Cell, Error, Page, Result};
use oslo_db::{Cond, Tx, all, contains, eq, nothing, set};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("display_name", "name"),
    ("status", "status"),
    ("size", "size"),
    ("availability_zone", "availability_zone"),
    ("bootable", "bootable"),
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
    ("user_id", "user_id"),
    ("project_id", "project_id"),
    ("host", "host"),
    ("volume_type_id", "volume_type_id"),
]);

pub(super) fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_string)
}

/// Name and description as cinder keeps them: without blanks around.
pub(super) fn label(object: &Map<String, Value>, key: &str, older: &str) -> Option<String> {
    let value = text(object, key).or_else(|| text(object, older));
    value.map(|v| v.trim().to_string())
}

/// Of these there are none in this cloud, so that each that is named is one that is not found.
const NONE: &[(&str, &str)] = &[
    ("group_id", "Group"),
    ("consistencygroup_id", "ConsistencyGroup"),
];

/// The body's hints to the scheduler.
fn hints(req: &Req) -> Result<Map<String, Value>> {
    let body = req.json.as_ref();
    let hints = body
        .and_then(|b| b.get("OS-SCH-HNT:scheduler_hints"))
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let server = hints.get("local_to_instance");
    if let Some(server) = server.filter(|s| !s.as_str().is_some_and(base::id::is_uuid_like)) {
        return Err(invalid_input(format!(
            "Expected a UUID but received {server}."
        )));
    }
    Ok(hints)
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("volume")?;
    for (key, what) in NONE {
        if let Some(id) = text(&body, key) {
            return Err(Error::not_found(format!("{what} {id} could not be found.")));
        }
    }
    if body
        .get("multiattach")
        .is_some_and(|v| v == true || v.as_str().is_some_and(is_true))
    {
        return Err(Error::bad_request(
            "multiattach parameter has been removed. The default behavior is to use multiattach enabled volume \
             types. Contact your administrator to create a multiattach enabled volume type and use it to create \
             multiattach volumes.",
        ));
    }
    let size = match body.get("size") {
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(t)) => Some(t.trim().parse::<i64>().map_err(|_| {
            invalid_input(format!(
                "Volume size '{t}' must be an integer and greater than 0"
            ))
        })?),
        _ => None,
    };
    let image = text(&body, "imageRef").or_else(|| text(&body, "image_id"));
    if image.is_some() {
        let own = oslo_policy::Target::project(req.ctx.project());
        req.enforce("volume:create_from_image", &own)?;
    }
    let new = NewVolume {
        name: label(&body, "name", "display_name"),
        description: label(&body, "description", "display_description"),
        size,
        volume_type: text(&body, "volume_type"),
        availability_zone: text(&body, "availability_zone"),
        metadata: body
            .get("metadata")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
        snapshot_id: text(&body, "snapshot_id"),
        source_volid: text(&body, "source_volid"),
        image: image.map(|i| i.rsplit('/').next().unwrap_or("").to_string()),
        hints: hints(&req)?,
        ..NewVolume::default()
    };
    let row = match text(&body, "backup_id") {
        Some(backup) => crate::backup::restore::into_new(&cinder, &req.ctx, &backup, new).await?,
        None => crate::volume::create::create(&cinder, &req.ctx, new).await?,
    };
    let loaded = cinder
        .db
        .read(move |tx| views::load(tx, vec![row.clone()]))
        .await?;
    let volume = loaded.first().map(|l| views::volume(&req, l));
    Reply::json(202, &views::Wrapped { volume })
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let loaded = cinder.db.read(move |tx| views::get(tx, &ctx, &id)).await?;
    let volume = views::Details::new(&req).view(&loaded);
    Reply::ok(&views::Wrapped { volume })
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("volume")?;
    let mut values = vec![set("updated_at", cinder.clock.now())];
    for (key, older, column) in [
        ("name", "display_name", "name"),
        ("description", "display_description", "description"),
    ] {
        if body.contains_key(key) || body.contains_key(older) {
            values.push(set(column, label(&body, key, older)));
        }
    }
    if let Some(Value::Object(metadata)) = body.get("metadata") {
        values.push(set("metadata", base::Json(metadata.clone())));
    }
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let loaded = cinder
        .db
        .write(move |tx| {
            db::volumes::get(tx, &ctx, &id)?;
            tx.update::<VolumeRow>(eq("id", &id), &values)?;
            views::get(tx, &ctx, &id)
        })
        .await?;
    let volume = views::volume(&req, &loaded);
    Reply::ok(&views::Wrapped { volume })
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let force = req.at_least(3, 23) && req.query.flag("force").unwrap_or(false);
    if force {
        let own = oslo_policy::Target::project(req.ctx.project());
        req.enforce("volume:force_delete", &own)?;
    }
    let cascade = req.query.flag("cascade").unwrap_or(false);
    crate::volume::delete::delete(&cinder, &req.ctx, req.param("id"), force, cascade).await?;
    Ok(Reply::empty(202))
}

/// Names that are not filters.
pub(super) const PAGING_NAMES: &[&str] = &[
    "limit",
    "marker",
    "offset",
    "sort",
    "sort_key",
    "sort_dir",
    "all_tenants",
    "with_count",
];

fn filter(req: &Req, name: &str, value: &str) -> Result<Option<Cond>> {
    let admin = req.ctx.is_admin;
    Ok(Some(match name {
        "name" | "display_name" => eq("name", value),
        "name~" if req.at_least(3, 34) => contains("name", value),
        "id" => eq("id", value),
        "status" => match VolumeStatus::parse(value) {
            Ok(status) => eq("status", status),
            Err(_) => nothing(),
        },
        "size" => value.parse::<i64>().map_or(nothing(), |s| eq("size", s)),
        "availability_zone" => eq("availability_zone", value),
        "bootable" => match value.to_ascii_lowercase().as_str() {
            "true" | "1" => eq("bootable", true),
            "false" | "0" => eq("bootable", false),
            _ if req.at_least(3, 2) => {
                return Err(Error::bad_request(format!(
                    "Invalid input received: bootable={value}"
                )));
            }
            _ => eq("bootable", true),
        },
        "user_id" => eq("user_id", value),
        "volume_type_id" => eq("volume_type_id", value),
        "project_id" | "tenant_id" if admin => eq("project_id", value),
        "host" if admin => eq("host", value),
        "snapshot_id" => eq("snapshot_id", value),
        "source_volid" => eq("source_volid", value),
        "group_id" | "migration_status" | "replication_status" => nothing(),
        "consumes_quota" if req.at_least(3, 65) => {
            if is_true(value) {
                return Ok(None);
            }
            nothing()
        }
        "metadata" => metadata_filter("metadata", value)?,
        "glance_metadata" if req.at_least(3, 4) => metadata_filter("image_metadata", value)?,
        "created_at" | "updated_at" if req.at_least(3, 60) => {
            let column = if name == "created_at" {
                "created_at"
            } else {
                "updated_at"
            };
            let mut conditions = Vec::new();
            for part in value.split(',') {
                let (op, at) = part.split_once(':').unwrap_or(("eq", part));
                let (op, at) = match op {
                    "gt" | "gte" | "lt" | "lte" | "eq" | "neq" => (op, at),
                    _ => ("eq", part),
                };
                let at = base::Timestamp::parse(at)?;
                conditions.push(match op {
                    "gt" => oslo_db::gt(column, at),
                    "gte" => oslo_db::ge(column, at),
                    "lt" => oslo_db::lt(column, at),
                    "lte" => oslo_db::le(column, at),
                    "neq" => oslo_db::ne(column, at),
                    _ => eq(column, at),
                });
            }
            all(conditions)
        }
        _ if req.at_least(3, 31) => {
            return Err(Error::bad_request(format!(
                "Invalid filters {name} are found in query options."
            )));
        }
        _ => return Ok(None),
    }))
}

/// `{'key': 'value'}` as Python writes it: pairs that must all occur in the column's JSON text.
pub(super) fn metadata_filter(column: &'static str, value: &str) -> Result<Cond> {
    let parsed: Result<Map<String, Value>, _> =
        serde_json::from_str(value).or_else(|_| serde_json::from_str(&value.replace('\'', "\"")));
    let Ok(pairs) = parsed else {
        return Ok(nothing());
    };
    let mut conditions = Vec::new();
    for (key, value) in pairs {
        let pair = format!(
            "{}:{}",
            serde_json::to_string(&key)?,
            serde_json::to_string(&value)?
        );
        conditions.push(contains(column, &pair));
    }
    Ok(all(conditions))
}

/// The rows a list is about: the token's project's, or everybody's if an administrator asks so.
fn wanted(req: &Req) -> Result<Cond> {
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
    Ok(all(conditions))
}

/// A page, and how many rows there are in all if that was asked.
struct Found {
    page: Page<views::Loaded>,
    total: Option<u64>,
}

async fn find(cinder: &Cinder, req: &Req) -> Result<Found> {
    cinder.filters.check(req, "volume")?;
    let (cond, paging) = (wanted(req)?, parse_paging(&req.query, &PAGING)?);
    let count = req.at_least(3, 45) && req.query.flag("with_count").unwrap_or(false);
    let read = move |tx: &mut Tx| {
        let page = tx.page::<VolumeRow>(cond.clone(), &paging)?;
        let total = if count {
            Some(tx.count::<VolumeRow>(cond.clone())?)
        } else {
            None
        };
        // COMPAT: upstream links to a next page after every full one, also if that is the last.
        let full = paging.limit == Some(page.items.len() as u64);
        let (items, more) = (views::load(tx, page.items)?, page.more || full);
        Ok(Found {
            page: Page { items, more },
            total,
        })
    };
    cinder.db.read(read).await
}

#[derive(Serialize)]
struct ListView<V> {
    volumes: Vec<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes_links: Option<[NextView; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct NextView {
    pub rel: &'static str,
    pub href: String,
}

fn listed<V: Serialize>(req: &Req, found: &Found, volumes: Vec<V>) -> Result<Reply> {
    let next = next_link(req, &found.page, |l| l.volume.id.clone());
    Reply::ok(&ListView {
        volumes,
        volumes_links: next.map(|href| [NextView { rel: "next", href }]),
        count: found.total,
    })
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    let views = found.page.items.iter();
    let views = views.map(|l| views::summary(&req, &l.volume)).collect();
    listed(&req, &found, views)
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    let mut details = views::Details::new(&req);
    let views = found.page.items.iter().map(|l| details.view(l)).collect();
    listed(&req, &found, views)
}

pub async fn summary(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    cinder.filters.check(&req, "volume")?;
    let cond = wanted(&req)?;
    let rows = cinder
        .db
        .read(move |tx| tx.select::<VolumeRow>(cond.clone()))
        .await?;
    let size: i64 = rows.iter().map(|r| r.size).sum();
    let mut out = json!({"total_size": size, "total_count": rows.len()});
    if req.at_least(3, 36) {
        let mut metadata: Map<String, Value> = Map::new();
        for (key, value) in rows.iter().flat_map(|r| &r.metadata.0) {
            let list = metadata.entry(key.clone()).or_insert_with(|| json!([]));
            if let Value::Array(list) = list
                && !list.contains(value)
            {
                list.push(value.clone());
            }
        }
        out["metadata"] = Value::Object(metadata);
    }
    Reply::ok(&json!({"volume-summary": out}))
}

/// A column and its new value, for verbs that set one flag.
pub async fn set_column<T: Cell + Clone + Send + Sync + 'static>(
    cinder: &Cinder,
    req: &Req,
    column: &'static str,
    value: T,
) -> Result<()> {
    let (ctx, id, now) = (
        req.ctx.clone(),
        req.param("id").to_string(),
        cinder.clock.now(),
    );
    cinder
        .db
        .write(move |tx| {
            let row = db::volumes::get(tx, &ctx, &id)?;
            let values = [(column, value.to_cell()), set("updated_at", now)];
            tx.update::<VolumeRow>(eq("id", &row.id), &values).map(drop)
        })
        .await
}
