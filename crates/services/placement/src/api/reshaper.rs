//! `POST /reshaper`: inventories and allocations move between providers in one step.

use super::allocations;
use crate::Placement;
use crate::provider::inventory::{self, InventoryBody};
use crate::provider::{self, allocate};
use base::{Error, Result, id};
use oslo_http::{Reply, Req};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
struct Reshape {
    inventories: BTreeMap<String, Inventories>,
    allocations: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Inventories {
    resource_provider_generation: i64,
    inventories: BTreeMap<String, InventoryBody>,
}

pub async fn reshape(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let body: Reshape = req.parse()?;
    let mut claims = Vec::new();
    for (consumer, part) in &body.allocations {
        let consumer = id::parse_uuid(consumer)?;
        claims.push(allocations::claim(
            &placement,
            req.version,
            &consumer,
            part,
        )?);
    }
    let inventories = body.inventories;
    placement
        .write(move |tx, change| {
            let mut dropped = Vec::new();
            for (id, wanted) in &inventories {
                let row = provider::get(tx, id).map_err(|e| {
                    Error::bad_request(format!("{} in inventories", e.message()))
                        .class("placement.resource_provider.not_found")
                })?;
                provider::check_generation(&row, wanted.resource_provider_generation)?;
                for (class, body) in &wanted.inventories {
                    body.check("update", id, class, true)?;
                }
                let names = wanted.inventories.keys();
                inventory::check_classes(tx, names, "Unknown resource class in inventory")?;
                dropped.push((id, inventory::dropped(tx, id, &wanted.inventories)?));
                inventory::write_all(tx, change, id, &wanted.inventories)?;
                // COMPAT: upstream writes inventories before the allocations, where any are left, and after; a
                // generation each time.
                if !wanted.inventories.is_empty() {
                    provider::bump(tx, change, &row)?;
                }
            }
            allocate::replace(tx, change, &claims)?;
            for (id, classes) in dropped {
                inventory::check_unused(tx, id, &classes)?;
                let row = provider::get(tx, id)?;
                provider::bump(tx, change, &row)?;
            }
            Ok(())
        })
        .await?;
    Ok(Reply::empty(204))
}
