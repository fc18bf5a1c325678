//! Aggregates of a provider: ids that nobody else defines.

use super::{dated, json_accepted};
use crate::Placement;
use crate::db::{ProviderAggregateRow, ProviderRow};
use crate::provider;
use base::{Result, id};
use oslo_db::{Tx, eq};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn reply(req: &Req, provider: &ProviderRow, aggregates: &[String]) -> Result<Reply> {
    let mut body = json!({"aggregates": aggregates});
    if req.at_least(1, 19) {
        body["resource_provider_generation"] = json!(provider.generation);
    }
    Ok(dated(Reply::ok(&body)?, req, provider.updated_at))
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let read = move |tx: &mut Tx| {
        let rows = tx.select::<ProviderAggregateRow>(eq("provider", &id))?;
        Ok((
            provider::get(tx, &id)?,
            rows.into_iter().map(|r| r.aggregate).collect::<Vec<_>>(),
        ))
    };
    let (provider, aggregates) = placement.db.read(read).await?;
    reply(&req, &provider, &aggregates)
}

pub async fn replace(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let id = req.param("uuid").to_string();
    let body = req.json.clone().unwrap_or_default();
    // From 1.19 on the list is wrapped and the generation checked; before, neither.
    let generation = body
        .get("resource_provider_generation")
        .and_then(Value::as_i64);
    let list = body.as_array().or_else(|| body["aggregates"].as_array());
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    let wanted = texts.map(id::parse_uuid).collect::<Result<Vec<String>>>()?;
    let kept = wanted.clone();
    let provider = placement
        .write(move |tx, change| {
            let mut provider = provider::get(tx, &id)?;
            if let Some(generation) = generation {
                provider::check_generation(&provider, generation)?;
                provider.generation = provider::bump(tx, change, &provider)?;
            }
            tx.delete::<ProviderAggregateRow>(eq("provider", &id))?;
            let row = |a: &String| ProviderAggregateRow {
                provider: id.clone(),
                aggregate: a.clone(),
            };
            tx.insert_all(&wanted.iter().map(row).collect::<Vec<_>>())?;
            change.touch(&id);
            Ok(provider)
        })
        .await?;
    reply(&req, &provider, &kept)
}
