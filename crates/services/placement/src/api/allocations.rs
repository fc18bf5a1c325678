//! Allocations: by consumer, by provider, several consumers at once.

use super::{dated, json_accepted};
use crate::Placement;
use crate::db::{AllocationRow, ConsumerRow, ProviderRow};
use crate::provider;
use crate::provider::allocate::{self, Claim};
use base::{Error, Microversion, Result, id};
use oslo_db::{Tx, eq, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One consumer's part of a body, in the shape of any microversion.
pub fn claim(
    placement: &Placement,
    version: Microversion,
    consumer: &str,
    body: &Value,
) -> Result<Claim> {
    let text = |key: &str, default: &str| body[key].as_str().unwrap_or(default).to_string();
    let conf = &placement.conf;
    let mut amounts: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    let mut add = |provider: &str, resources: &Value| -> Result<()> {
        let amounts = amounts.entry(id::parse_uuid(provider)?).or_default();
        for (class, amount) in resources.as_object().into_iter().flatten() {
            amounts.insert(class.clone(), amount.as_i64().unwrap_or(0));
        }
        Ok(())
    };
    match &body["allocations"] {
        Value::Array(list) => {
            for entry in list {
                let provider = entry["resource_provider"]["uuid"]
                    .as_str()
                    .unwrap_or_default();
                add(provider, &entry["resources"])?;
            }
        }
        Value::Object(map) => {
            for (provider, entry) in map {
                add(provider, &entry["resources"])?;
            }
        }
        _ => {}
    }
    Ok(Claim {
        consumer: consumer.to_string(),
        amounts,
        project_id: text("project_id", &conf.incomplete_consumer_project_id),
        user_id: text("user_id", &conf.incomplete_consumer_user_id),
        consumer_type: body["consumer_type"].as_str().map(str::to_string),
        generation: (version >= Microversion(1, 28)).then(|| body["consumer_generation"].as_i64()),
    })
}

fn consumer_id(text: &str) -> Result<String> {
    id::parse_uuid(text).map_err(|_| Error::bad_request(format!("Malformed consumer_uuid: {text}")))
}

pub async fn update(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let consumer = consumer_id(req.param("consumer_uuid"))?;
    let body = req.json.clone().unwrap_or_default();
    let claims = [claim(&placement, req.version, &consumer, &body)?];
    placement
        .write(move |tx, change| allocate::replace(tx, change, &claims))
        .await?;
    Ok(Reply::empty(204))
}

pub async fn manage(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let body = req.json.clone().unwrap_or_default();
    let mut claims = Vec::new();
    for (consumer, part) in body.as_object().into_iter().flatten() {
        claims.push(claim(
            &placement,
            req.version,
            &consumer_id(consumer)?,
            part,
        )?);
    }
    placement
        .write(move |tx, change| allocate::replace(tx, change, &claims))
        .await?;
    Ok(Reply::empty(204))
}

pub async fn delete(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let consumer = req.param("consumer_uuid").to_string();
    placement
        .write(move |tx, change| allocate::release(tx, change, &consumer))
        .await?;
    Ok(Reply::empty(204))
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let consumer = req.param("consumer_uuid").to_string();
    let read = move |tx: &mut Tx| {
        let rows = tx.select::<AllocationRow>(eq("consumer", &consumer))?;
        let ids: Vec<&String> = rows.iter().map(|r| &r.provider).collect();
        let providers = tx.select::<ProviderRow>(is_in("id", ids))?;
        Ok((
            tx.find::<ConsumerRow>(eq("id", &consumer))?,
            providers,
            rows,
        ))
    };
    let (consumer, providers, rows) = placement.db.read(read).await?;
    let generations: HashMap<&str, i64> = providers
        .iter()
        .map(|p| (p.id.as_str(), p.generation))
        .collect();
    let mut views = Map::new();
    for row in &rows {
        let generation = generations
            .get(row.provider.as_str())
            .copied()
            .unwrap_or_default();
        let entry = views.entry(row.provider.clone());
        let view = entry.or_insert_with(|| json!({"generation": generation, "resources": {}}));
        view["resources"][&row.class] = json!(row.used);
    }
    let mut body = json!({"allocations": views});
    if let Some(consumer) = consumer.filter(|_| !rows.is_empty()) {
        if req.at_least(1, 12) {
            body["project_id"] = json!(consumer.project_id);
            body["user_id"] = json!(consumer.user_id);
        }
        if req.at_least(1, 28) {
            body["consumer_generation"] = json!(consumer.generation);
        }
        if req.at_least(1, 38) {
            body["consumer_type"] = json!(consumer.consumer_type.as_deref().unwrap_or("unknown"));
        }
    }
    let at = rows
        .iter()
        .map(|r| r.updated_at)
        .max()
        .unwrap_or_else(|| placement.clock.now());
    Ok(dated(Reply::ok(&body)?, &req, at))
}

pub async fn of_provider(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let read = move |tx: &mut Tx| {
        let provider = provider::get(tx, &id)?;
        let rows = tx.select::<AllocationRow>(eq("provider", &id))?;
        let mut consumers = Vec::new();
        for chunk in rows.chunks(5_000) {
            let ids = chunk.iter().map(|r| &r.consumer);
            consumers.extend(tx.select::<ConsumerRow>(is_in("id", ids))?);
        }
        Ok((provider, rows, consumers))
    };
    let (provider, rows, consumers) = placement.db.read(read).await?;
    let generations: HashMap<&str, i64> = consumers
        .iter()
        .map(|c| (c.id.as_str(), c.generation))
        .collect();
    let mut views = Map::new();
    for row in &rows {
        let view = views
            .entry(row.consumer.clone())
            .or_insert_with(|| json!({"resources": {}}));
        view["resources"][&row.class] = json!(row.used);
        if req.at_least(1, 28) {
            let generation = generations.get(row.consumer.as_str());
            view["consumer_generation"] = json!(generation);
        }
    }
    let body = json!({
        "allocations": views,
        "resource_provider_generation": provider.generation,
    });
    let at = rows
        .iter()
        .map(|r| r.updated_at)
        .max()
        .unwrap_or_else(|| placement.clock.now());
    Ok(dated(Reply::ok(&body)?, &req, at))
}
