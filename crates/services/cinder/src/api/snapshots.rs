//! `/snapshots`.

use crate::Cinder;
use crate::api::views::Time;
use crate::api::volumes::{NextView, PAGING_NAMES, label, metadata_filter, text};
use crate::db::{self, SnapshotRow};
use crate::snapshot::create::{Allowed, NewSnapshot};
use crate::snapshot::status::SnapshotStatus;
use crate::volume::invalid_input;
use base::{Error, Page, Result};
use oslo_db::{Cond, Tx, all, contains, eq, nothing, set};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use oslo_policy::Target;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("display_name", "name"),
    ("status", "status"),
    ("volume_id", "volume_id"),
    ("volume_size", "size"),
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
    ("user_id", "user_id"),
    ("project_id", "project_id"),
]);

/// A snapshot. What is left out belongs to newer microversions or to those who may see it.
#[derive(Serialize)]
struct SnapshotView<'a> {
    id: &'a str,
    created_at: Time,
    updated_at: Option<Time>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    volume_id: &'a str,
    status: SnapshotStatus,
    size: i64,
    metadata: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_snapshot_id: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumes_quota: Option<bool>,
    #[serde(
        rename = "os-extended-snapshot-attributes:progress",
        skip_serializing_if = "Option::is_none"
    )]
    progress: Option<&'a str>,
    #[serde(
        rename = "os-extended-snapshot-attributes:project_id",
        skip_serializing_if = "Option::is_none"
    )]
    project_id: Option<&'a str>,
}

fn summary(row: &SnapshotRow) -> SnapshotView<'_> {
    SnapshotView {
        id: &row.id,
        created_at: Time(row.created_at),
        updated_at: row.updated_at.map(Time),
        name: row.name.as_deref(),
        description: row.description.as_deref(),
        volume_id: &row.volume_id,
        status: row.status,
        size: row.size,
        metadata: &row.metadata.0,
        group_snapshot_id: None,
        user_id: None,
        consumes_quota: None,
        progress: None,
        project_id: None,
    }
}

/// The answer of create and update.
fn whole<'a>(req: &Req, row: &'a SnapshotRow) -> SnapshotView<'a> {
    let since = |minor| req.at_least(3, minor);
    SnapshotView {
        group_snapshot_id: since(14).then_some(row.group_snapshot_id.as_deref()),
        user_id: since(41).then_some(row.user_id.as_str()),
        consumes_quota: since(65).then_some(true),
        ..summary(row)
    }
}

/// Adds what extensions show.
fn extended<'a>(view: SnapshotView<'a>, row: &'a SnapshotRow) -> SnapshotView<'a> {
    SnapshotView {
        progress: Some(&row.progress),
        project_id: Some(&row.project_id),
        ..view
    }
}

fn may_see_more(req: &Req, row: &SnapshotRow) -> bool {
    let owner = Target::owned(&row.project_id, &row.user_id);
    req.permits("volume_extension:extended_snapshot_attributes", &owner)
}

#[derive(Serialize)]
struct Wrapped<T> {
    snapshot: T,
}

#[derive(Serialize)]
struct ListView<V> {
    snapshots: Vec<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshots_links: Option<[NextView; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

fn filter(req: &Req, name: &str, value: &str) -> Result<Option<Cond>> {
    let admin = req.ctx.is_admin;
    Ok(Some(match name {
        "name" | "display_name" => eq("name", value),
        "name~" if req.at_least(3, 34) => contains("name", value),
        "id" => eq("id", value),
        "status" => match SnapshotStatus::parse(value) {
            Ok(status) => eq("status", status),
            Err(_) => nothing(),
        },
        "volume_id" => eq("volume_id", value),
        "user_id" => eq("user_id", value),
        "project_id" | "tenant_id" if admin => eq("project_id", value),
        "metadata" if req.at_least(3, 22) => metadata_filter("metadata", value)?,
        "consumes_quota" if req.at_least(3, 65) => {
            if is_true(value) {
                return Ok(None);
            }
            nothing()
        }
        _ if req.at_least(3, 31) => {
            return Err(Error::bad_request(format!(
                "Invalid filters {name} are found in query options."
            )));
        }
        _ => return Ok(None),
    }))
}

struct Found {
    page: Page<SnapshotRow>,
    total: Option<u64>,
}

async fn find(cinder: &Cinder, req: &Req) -> Result<Found> {
    cinder.filters.check(req, "snapshot")?;
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
        let mut page = tx.page::<SnapshotRow>(cond.clone(), &paging)?;
        // COMPAT: as with volumes, every full page has a next one.
        page.more |= paging.limit == Some(page.items.len() as u64);
        let total = if count {
            Some(tx.count::<SnapshotRow>(cond.clone())?)
        } else {
            None
        };
        Ok(Found { page, total })
    };
    cinder.db.read(read).await
}

fn listed(req: &Req, found: &Found, snapshots: Vec<SnapshotView<'_>>) -> Result<Reply> {
    let next = next_link(req, &found.page, |row| row.id.clone());
    Reply::ok(&ListView {
        snapshots,
        snapshots_links: next.map(|href| [NextView { rel: "next", href }]),
        count: found.total,
    })
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    let views = found.page.items.iter().map(summary).collect();
    listed(&req, &found, views)
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = find(&cinder, &req).await?;
    // What the rule says of one owner's snapshot it says of the next one of the same owner.
    let mut last: Option<(&SnapshotRow, bool)> = None;
    let mut views = Vec::with_capacity(found.page.items.len());
    for row in &found.page.items {
        let same = |l: &SnapshotRow| (&l.project_id, &l.user_id) == (&row.project_id, &row.user_id);
        let more = match last {
            Some((row, more)) if same(row) => more,
            _ => may_see_more(&req, row),
        };
        last = Some((row, more));
        let view = whole(&req, row);
        views.push(if more { extended(view, row) } else { view });
    }
    listed(&req, &found, views)
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("snapshot")?;
    let force = body.get("force").map(|value| match value {
        Value::String(text) => is_true(text),
        other => *other == true,
    });
    let in_use = req.at_least(3, 66);
    if in_use && force == Some(false) {
        return Err(invalid_input(
            "Since microversion 3.66 the 'force' flag is invalid for this request. For backward compatability, \
             however, when the 'force' flag is passed with a value evaluating to True, it is silently ignored.",
        ));
    }
    let allowed = match force {
        _ if in_use => Allowed::InUse,
        Some(true) => Allowed::Forced,
        _ => Allowed::Idle,
    };
    let new = NewSnapshot {
        volume_id: text(&body, "volume_id").unwrap_or_default(),
        name: label(&body, "name", "display_name"),
        description: text(&body, "description").map(|d| d.trim().to_string()),
        metadata: body
            .get("metadata")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    };
    let row = crate::snapshot::create::create(&cinder, &req.ctx, new, allowed).await?;
    accepted(&req, &row)
}

/// The answer to whoever wants a snapshot.
pub(super) fn accepted(req: &Req, row: &SnapshotRow) -> Result<Reply> {
    let snapshot = whole(req, row);
    Reply::json(202, &Wrapped { snapshot })
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .read(move |tx| db::snapshots::get(tx, &ctx, &id))
        .await?;
    let view = whole(&req, &row);
    let snapshot = match may_see_more(&req, &row) {
        true => extended(view, &row),
        false => view,
    };
    Reply::ok(&Wrapped { snapshot })
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("snapshot")?;
    let mut values = vec![set("updated_at", cinder.clock.now())];
    for (key, older) in [
        ("name", "display_name"),
        ("description", "display_description"),
    ] {
        if body.contains_key(key) || body.contains_key(older) {
            values.push(set(key, label(&body, key, older)));
        }
    }
    let row = change(&cinder, &req, move |_| Ok(values.clone())).await?;
    let snapshot = whole(&req, &row);
    Reply::ok(&Wrapped { snapshot })
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    crate::snapshot::delete::delete(&cinder, &req.ctx, req.param("id"), false).await?;
    Ok(Reply::empty(202))
}

pub async fn force_delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    crate::snapshot::delete::delete(&cinder, &req.ctx, req.param("id"), true).await?;
    Ok(Reply::empty(202))
}

type Values = Vec<(&'static str, base::CellValue)>;

/// Changes a snapshot's columns, as its row says under a lock.
async fn change(
    cinder: &Cinder,
    req: &Req,
    values: impl Fn(&SnapshotRow) -> Result<Values> + Send + Sync + 'static,
) -> Result<SnapshotRow> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .write(move |tx| {
            let row = db::snapshots::lock(tx, &ctx, &id)?;
            tx.update::<SnapshotRow>(eq("id", &id), &values(&row)?)?;
            db::snapshots::get(tx, &ctx, &id)
        })
        .await
}

fn wanted_status(body: &Map<String, Value>) -> Result<SnapshotStatus> {
    let word = text(body, "status").unwrap_or_default();
    SnapshotStatus::parse(&word).map_err(|_| {
        Error::bad_request(format!(
            "Invalid input for field/attribute status. Value: {word}. '{word}' is not a 'snapshot_status'"
        ))
    })
}

/// An administrator's word goes past the transition table.
pub async fn reset_status(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let status = wanted_status(&req.parse_key("os-reset_status")?)?;
    let now = cinder.clock.now();
    change(&cinder, &req, move |_| {
        Ok(vec![set("status", status), set("updated_at", now)])
    })
    .await?;
    Ok(Reply::empty(202))
}

/// Whoever makes a snapshot in a volume's place tells how far it is.
pub async fn update_status(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("os-update_snapshot_status")?;
    let word = text(&body, "status").unwrap_or_default();
    let progress = match body.get("progress") {
        None | Some(Value::Null) => None,
        Some(value) => Some(percent(value)?),
    };
    let now = cinder.clock.now();
    change(&cinder, &req, move |row| {
        let possible = row.status.reported();
        if possible.is_empty() {
            return Err(Error::bad_request(format!(
                "Snapshot status {} not allowed for update_snapshot_status",
                row.status
            )));
        }
        let Some(status) = possible.iter().find(|s| s.as_str() == word) else {
            return Err(Error::bad_request(format!(
                "Provided snapshot status {word} not allowed for snapshot with status {}.",
                row.status
            )));
        };
        let mut values = vec![set("status", *status), set("updated_at", now)];
        values.extend(progress.as_ref().map(|p| set("progress", p)));
        Ok(values)
    })
    .await?;
    Ok(Reply::empty(202))
}

/// `80%`, from 0 to 100.
fn percent(value: &Value) -> Result<String> {
    let number = value
        .as_str()
        .and_then(|t| t.strip_suffix('%'))
        .and_then(|n| n.parse::<u8>().ok());
    match number {
        Some(n) if n <= 100 => Ok(format!("{n}%")),
        _ => Err(Error::bad_request(format!(
            "Invalid input for field/attribute progress. Value: {value}. {value} is not a 'progress'"
        ))),
    }
}
