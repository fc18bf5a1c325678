//! `/v3/registered_limits`: what holds for all who have no limit of their own.

use crate::Keystone;
use crate::api::fields::{Fields, MALFORMED, expecting};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, one, self_link};
use crate::db::limits::{self, LimitRow, RegisteredLimitRow};
use crate::db::regions::RegionRow;
use crate::db::services::ServiceRow;
use crate::policy::{Target, enforce};
use base::{Dir, Error, Result, new_hex_id};
use oslo_db::{Tx, all, eq, ne, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const FILTERS: &[Filter] = &[
    ("service_id", By::Text("service_id")),
    ("region_id", By::Text("region_id")),
    ("resource_name", By::Text("resource_name")),
];

fn view(base: &str, r: &RegisteredLimitRow) -> Value {
    json!({
        "id": r.id,
        "service_id": r.service_id,
        "region_id": r.region_id,
        "resource_name": r.resource_name,
        "default_limit": r.default_limit,
        "description": r.description,
        "links": self_link(base, &format!("registered_limits/{}", r.id)),
    })
}

/// The objects of a list in the body; all of them are made, or none.
pub(crate) fn items(req: &Req, key: &str) -> Result<Vec<Fields>> {
    let body = req.json.as_ref().and_then(Value::as_object).cloned();
    let mut body = Fields::new(body.unwrap_or_default());
    let items = body.objects(key)?.filter(|items| !items.is_empty());
    items.ok_or_else(|| expecting(key, "request body"))
}

/// 400 for services and regions that are not there.
pub(crate) fn check_place(
    tx: &mut Tx,
    service_id: &str,
    region_id: Option<&str>,
    target: &str,
) -> Result<()> {
    if !tx.exists::<ServiceRow>(eq("id", service_id))? {
        return Err(expecting("service_id", target));
    }
    match region_id {
        Some(id) if !tx.exists::<RegionRow>(eq("id", id))? => Err(expecting("region_id", target)),
        _ => Ok(()),
    }
}

pub(crate) fn duplicate(kind: &str) -> Error {
    Error::conflict(format!(
        "Conflict occurred attempting to store {kind} - Duplicate entry."
    ))
}

/// `GET /v3/registered_limits`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_registered_limits", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let rows = keystone
        .db
        .read(move |tx| {
            tx.select_sorted::<RegisteredLimitRow>(cond.clone(), &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|r| view(&base, r)).collect();
    collection(&base, &req, "registered_limits", views, None)
}

/// `GET /v3/registered_limits/{registered_limit_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_registered_limit", Target::new())?;
    let id = req.param("registered_limit_id").to_string();
    let row = keystone
        .db
        .read(move |tx| limits::get_registered(tx, &id))
        .await?;
    one(
        200,
        "registered_limit",
        view(&base_url(&keystone, &req), &row),
    )
}

/// `POST /v3/registered_limits`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_registered_limits", Target::new())?;
    const WHAT: &str = "registered_limit";
    let mut rows = Vec::new();
    for mut fields in items(&req, "registered_limits")? {
        rows.push(RegisteredLimitRow {
            id: new_hex_id(),
            service_id: fields.required("service_id", WHAT)?,
            region_id: fields.text("region_id")?,
            resource_name: fields.required("resource_name", WHAT)?,
            default_limit: fields
                .integer("default_limit")?
                .ok_or_else(|| expecting("default_limit", WHAT))?,
            description: fields.text("description")?,
        });
    }
    let new = rows.clone();
    keystone
        .write(move |tx| {
            for row in &new {
                check_place(tx, &row.service_id, row.region_id.as_deref(), WHAT)?;
                if tx.exists::<RegisteredLimitRow>(row.same())? {
                    return Err(duplicate(WHAT));
                }
                tx.insert(row)?;
            }
            Ok(())
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|r| view(&base, r)).collect();
    one(201, "registered_limits", views)
}

fn check_unused(tx: &mut Tx, id: &str) -> Result<()> {
    match tx.exists::<LimitRow>(eq("registered_limit_id", id))? {
        true => Err(Error::forbidden(format!(
            "Unable to update or delete registered limit {id} because there are project limits associated with it."
        ))),
        false => Ok(()),
    }
}

/// `PATCH /v3/registered_limits/{registered_limit_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_registered_limit", Target::new())?;
    let id = req.param("registered_limit_id").to_string();
    let fields = Fields::of(&req, "registered_limit")?;
    if fields.all().is_empty() {
        return Err(Error::bad_request(format!(
            "Nothing to update. {MALFORMED}"
        )));
    }
    let row = keystone
        .write(move |tx| {
            let mut row = limits::get_registered(tx, &id)?;
            check_unused(tx, &id)?;
            let mut fields = fields.clone();
            row.service_id = fields.text("service_id")?.unwrap_or(row.service_id);
            row.region_id = fields.nullable("region_id")?.unwrap_or(row.region_id);
            row.resource_name = fields.text("resource_name")?.unwrap_or(row.resource_name);
            row.default_limit = fields
                .integer("default_limit")?
                .unwrap_or(row.default_limit);
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            let region_id = row.region_id.as_deref();
            check_place(tx, &row.service_id, region_id, "registered_limit")?;
            if tx.exists::<RegisteredLimitRow>(all([row.same(), ne("id", &id)]))? {
                return Err(duplicate("registered_limit"));
            }
            let values = [
                set("service_id", &row.service_id),
                set("region_id", &row.region_id),
                set("resource_name", &row.resource_name),
                set("default_limit", row.default_limit),
                set("description", &row.description),
            ];
            tx.update::<RegisteredLimitRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(
        200,
        "registered_limit",
        view(&base_url(&keystone, &req), &row),
    )
}

/// `DELETE /v3/registered_limits/{registered_limit_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_registered_limit", Target::new())?;
    let id = req.param("registered_limit_id").to_string();
    keystone
        .write(move |tx| {
            limits::get_registered(tx, &id)?;
            check_unused(tx, &id)?;
            tx.delete::<RegisteredLimitRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
