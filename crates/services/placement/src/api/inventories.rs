//! Inventories of a provider.

use super::{dated, json_accepted};
use crate::Placement;
use crate::db::{InventoryRow, ProviderRow};
use crate::provider::inventory::{self, InventoryBody};
use crate::provider::{self, CONCURRENT};
use base::{Error, Result, Timestamp};
use oslo_db::{Tx, all, eq};
use oslo_http::{Reply, Req};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn view(row: &InventoryRow) -> Value {
    json!({
        "total": row.total,
        "reserved": row.reserved,
        "min_unit": row.min_unit,
        "max_unit": row.max_unit,
        "step_size": row.step_size,
        "allocation_ratio": row.allocation_ratio,
    })
}

fn one_reply(req: &Req, status: u16, row: &InventoryRow, generation: i64) -> Result<Reply> {
    let mut body = view(row);
    body["resource_provider_generation"] = json!(generation);
    Ok(dated(Reply::json(status, &body)?, req, row.updated_at))
}

fn all_reply(req: &Req, provider: &ProviderRow, rows: &[InventoryRow]) -> Result<Reply> {
    let views: Map<String, Value> = rows.iter().map(|r| (r.class.clone(), view(r))).collect();
    let at: Timestamp = rows
        .iter()
        .map(|r| r.updated_at)
        .max()
        .unwrap_or(provider.updated_at);
    let body = json!({
        "resource_provider_generation": provider.generation,
        "inventories": views,
    });
    Ok(dated(Reply::ok(&body)?, req, at))
}

fn missing(class: &str, id: &str) -> Error {
    Error::not_found(format!("No inventory of class {class} for {id}"))
}

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let read = move |tx: &mut Tx| {
        Ok((
            provider::get(tx, &id)?,
            tx.select::<InventoryRow>(eq("provider", &id))?,
        ))
    };
    let (provider, rows) = placement.db.read(read).await?;
    all_reply(&req, &provider, &rows)
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let (id, class) = (
        req.param("uuid").to_string(),
        req.param("resource_class").to_string(),
    );
    let read = move |tx: &mut Tx| {
        let provider = provider::get(tx, &id)?;
        let row = tx.find::<InventoryRow>(all([eq("provider", &id), eq("class", &class)]))?;
        Ok((provider, row.ok_or_else(|| missing(&class, &id))?))
    };
    let (provider, row) = placement.db.read(read).await?;
    one_reply(&req, 200, &row, provider.generation)
}

fn conflict(id: &str) -> Error {
    Error::conflict(format!(
        "resource provider generation conflict: {id} changed meanwhile"
    ))
    .class(CONCURRENT)
}

#[derive(Deserialize)]
struct InventoryCreate {
    resource_class: String,
    resource_provider_generation: Option<i64>,
    #[serde(flatten)]
    body: InventoryBody,
}

pub async fn create(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let wanted: InventoryCreate = req.parse()?;
    let id = req.param("uuid").to_string();
    let may_equal = req.at_least(1, 26);
    let class = wanted.resource_class.clone();
    let (row, generation) = placement
        .write(move |tx, change| {
            let provider = provider::get(tx, &id)?;
            let class = &wanted.resource_class;
            if wanted
                .resource_provider_generation
                .is_some_and(|g| g != provider.generation)
            {
                return Err(conflict(&id));
            }
            wanted.body.check("create", &id, class, may_equal)?;
            inventory::check_classes(
                tx,
                [class].into_iter(),
                "Unknown resource class in inventory",
            )?;
            let same = all([eq("provider", &id), eq("class", class)]);
            if tx.exists::<InventoryRow>(same)? {
                return Err(Error::conflict(format!(
                    "Update conflict: Unable to create inventory for resource provider {id}: \
                     there is one of class {class} already."
                )));
            }
            let row = wanted.body.row(&id, class, change.now);
            tx.insert(&row)?;
            Ok((row, provider::bump(tx, change, &provider)?))
        })
        .await?;
    let location = format!(
        "{}/resource_providers/{}/inventories/{class}",
        req.base_url,
        req.param("uuid")
    );
    Ok(one_reply(&req, 201, &row, generation)?.header("location", location))
}

#[derive(Deserialize)]
struct InventoriesReplace {
    resource_provider_generation: i64,
    inventories: BTreeMap<String, InventoryBody>,
}

pub async fn replace(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let wanted: InventoriesReplace = req.parse()?;
    let id = req.param("uuid").to_string();
    let may_equal = req.at_least(1, 26);
    let (provider, rows) = placement
        .write(move |tx, change| {
            let mut provider = provider::get(tx, &id)?;
            provider::check_generation(&provider, wanted.resource_provider_generation)?;
            for (class, body) in &wanted.inventories {
                body.check("update", &id, class, may_equal)?;
            }
            let names = wanted.inventories.keys();
            let words = format!("Unknown resource class in inventory for resource provider {id}");
            inventory::check_classes(tx, names, &words)?;
            let dropped = inventory::dropped(tx, &id, &wanted.inventories)?;
            inventory::check_unused(tx, &id, &dropped)?;
            inventory::write_all(tx, change, &id, &wanted.inventories)?;
            provider.generation = provider::bump(tx, change, &provider)?;
            let rows = tx.select::<InventoryRow>(eq("provider", &id))?;
            Ok((provider, rows))
        })
        .await?;
    all_reply(&req, &provider, &rows)
}

#[derive(Deserialize)]
struct InventoryUpdate {
    resource_provider_generation: i64,
    #[serde(flatten)]
    body: InventoryBody,
}

pub async fn update(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let wanted: InventoryUpdate = req.parse()?;
    let (id, class) = (
        req.param("uuid").to_string(),
        req.param("resource_class").to_string(),
    );
    let may_equal = req.at_least(1, 26);
    let (row, generation) = placement
        .write(move |tx, change| {
            let provider = provider::get(tx, &id)?;
            provider::check_generation(&provider, wanted.resource_provider_generation)?;
            wanted.body.check("update", &id, &class, may_equal)?;
            let same = all([eq("provider", &id), eq("class", &class)]);
            if tx.delete::<InventoryRow>(same)? == 0 {
                return Err(Error::bad_request(format!(
                    "Unable to update inventory for resource provider {id}: \
                     No inventory record with resource class {class}"
                )));
            }
            let row = wanted.body.row(&id, &class, change.now);
            tx.insert(&row)?;
            Ok((row, provider::bump(tx, change, &provider)?))
        })
        .await?;
    one_reply(&req, 200, &row, generation)
}

pub async fn delete(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let (id, class) = (
        req.param("uuid").to_string(),
        req.param("resource_class").to_string(),
    );
    placement
        .write(move |tx, change| {
            let provider = provider::get(tx, &id)?;
            inventory::check_unused(tx, &id, std::slice::from_ref(&class))?;
            let same = all([eq("provider", &id), eq("class", &class)]);
            if tx.delete::<InventoryRow>(same)? == 0 {
                return Err(Error::not_found(format!(
                    "No inventory of class {class} found for delete: {id}"
                )));
            }
            provider::bump(tx, change, &provider)
        })
        .await?;
    Ok(Reply::empty(204))
}

pub async fn delete_all(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let id = req.param("uuid").to_string();
    placement
        .write(move |tx, change| {
            let provider = provider::get(tx, &id)?;
            let dropped = inventory::dropped(tx, &id, &BTreeMap::new())?;
            inventory::check_unused(tx, &id, &dropped)?;
            tx.delete::<InventoryRow>(eq("provider", &id))?;
            provider::bump(tx, change, &provider)
        })
        .await?;
    Ok(Reply::empty(204))
}

/// Below 1.5 inventories are deleted one by one.
pub async fn no_delete_all(_: Arc<Placement>, _: Req) -> Result<Reply> {
    let words = "The method specified is not allowed for this resource.";
    Err(Error::new(base::Kind::MethodNotAllowed, words))
}
