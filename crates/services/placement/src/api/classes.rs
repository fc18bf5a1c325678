//! Resource classes.

use super::{dated, json_accepted};
use crate::db::{AllocationRow, ClassRow, InventoryRow};
use crate::{Placement, names};
use base::{Error, Result};
use oslo_db::{Tx, eq, everything, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(name: &str) -> Value {
    let href = format!("/resource_classes/{name}");
    json!({"name": name, "links": [{"rel": "self", "href": href}]})
}

fn not_found(name: &str) -> Error {
    Error::not_found(format!("No such resource class {name}."))
}

fn get(tx: &mut Tx, name: &str) -> Result<ClassRow> {
    tx.find::<ClassRow>(eq("name", name))?
        .ok_or_else(|| not_found(name))
}

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let mut rows = placement
        .db
        .read(|tx| tx.select::<ClassRow>(everything()))
        .await?;
    let order: Vec<&str> = names::standard_classes().collect();
    let place = |name: &str| order.iter().position(|c| *c == name).unwrap_or(order.len());
    rows.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
    let at = rows
        .iter()
        .map(|r| r.updated_at)
        .max()
        .unwrap_or_else(|| placement.clock.now());
    let views: Vec<Value> = rows.iter().map(|r| view(&r.name)).collect();
    Ok(dated(
        Reply::ok(&json!({"resource_classes": views}))?,
        &req,
        at,
    ))
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let name = req.param("name").to_string();
    let row = placement.db.read(move |tx| get(tx, &name)).await?;
    Ok(dated(Reply::ok(&view(&row.name))?, &req, row.updated_at))
}

fn body_name(req: &Req) -> String {
    let name = req.json.as_ref().and_then(|b| b["name"].as_str());
    name.unwrap_or_default().to_string()
}

fn location(req: &Req, name: &str) -> String {
    format!("{}/resource_classes/{name}", req.base_url)
}

pub async fn create(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = body_name(&req);
    let to = location(&req, &name);
    placement
        .write(move |tx, change| {
            if tx.exists::<ClassRow>(eq("name", &name))? {
                return Err(Error::conflict(format!(
                    "Conflicting resource class already exists: {name}: Resource class already exists."
                )));
            }
            tx.insert(&ClassRow { name: name.clone(), updated_at: change.now })
        })
        .await?;
    Ok(Reply::empty(201).header("location", to))
}

/// From 1.7 on: makes sure that the class is there.
pub async fn ensure(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = req.param("name").to_string();
    let to = location(&req, &name);
    if name.len() > 255 {
        return Err(Error::bad_request(format!(
            "JSON does not validate: '{name}' is too long\n\nFailed validating 'maxLength'"
        )));
    }
    if !names::is_custom(&name) {
        return Err(Error::bad_request(format!(
            "JSON does not validate: '{name}' does not match '^CUSTOM_[A-Z0-9_]+$'\n\nFailed validating 'pattern'"
        )));
    }
    let new = placement
        .write(move |tx, change| {
            if tx.exists::<ClassRow>(eq("name", &name))? {
                return Ok(false);
            }
            tx.insert(&ClassRow {
                name: name.clone(),
                updated_at: change.now,
            })?;
            Ok(true)
        })
        .await?;
    Ok(Reply::empty(if new { 201 } else { 204 }).header("location", to))
}

/// Up to 1.6: gives the class another name.
pub async fn rename(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let (old, name) = (req.param("name").to_string(), body_name(&req));
    let body = view(&name);
    placement
        .write(move |tx, change| {
            get(tx, &old)?;
            if names::is_standard_class(&old) {
                return Err(Error::bad_request(format!(
                    "Cannot update standard resource class {old}"
                )));
            }
            if name != old && tx.exists::<ClassRow>(eq("name", &name))? {
                return Err(Error::conflict(format!(
                    "Resource class already exists: {name}"
                )));
            }
            let values = [set("name", &name), set("updated_at", change.now)];
            tx.update::<ClassRow>(eq("name", &old), &values)?;
            for row in tx.select::<InventoryRow>(eq("class", &old))? {
                change.touch(&row.provider);
            }
            tx.update::<InventoryRow>(eq("class", &old), &[set("class", &name)])?;
            tx.update::<AllocationRow>(eq("class", &old), &[set("class", &name)])
        })
        .await?;
    Reply::ok(&body)
}

pub async fn delete(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = req.param("name").to_string();
    placement
        .write(move |tx, _| {
            get(tx, &name)?;
            if names::is_standard_class(&name) {
                return Err(Error::bad_request(format!(
                    "Error in delete resource class: Cannot delete standard resource class {name}."
                )));
            }
            if tx.exists::<InventoryRow>(eq("class", &name))?
                || tx.exists::<AllocationRow>(eq("class", &name))?
            {
                return Err(Error::conflict(format!(
                    "Error in delete resource class: Class is in use in inventory: {name}"
                )));
            }
            tx.delete::<ClassRow>(eq("name", &name))
        })
        .await?;
    Ok(Reply::empty(204))
}
