//! What is taken: of a provider, of a project.

use super::{dated, json_accepted};
use crate::Placement;
use crate::db::{AllocationRow, ConsumerRow};
use crate::provider;
use base::Result;
use oslo_db::{Tx, all, eq, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub async fn of_provider(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let read = move |tx: &mut Tx| {
        provider::get(tx, &id)?;
        crate::index::load_one(tx, &id)
    };
    let Some(found) = placement.db.read(read).await? else {
        return Err(provider::not_found(req.param("uuid")));
    };
    let usages: BTreeMap<&String, i64> = found
        .inventories
        .iter()
        .map(|(class, i)| (class, i.used))
        .collect();
    let body = json!({
        "resource_provider_generation": found.generation,
        "usages": usages,
    });
    Ok(dated(Reply::ok(&body)?, &req, placement.clock.now()))
}

/// The name under which consumers without a type are counted.
const UNKNOWN: &str = "unknown";

pub async fn of_project(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let project = req.query.get("project_id").unwrap_or_default().to_string();
    req.enforce("placement:usages", &json!({"project_id": project}))?;
    let user = req.query.get("user_id").map(str::to_string);
    let read = move |tx: &mut Tx| {
        let mut cond = vec![eq("project_id", &project)];
        cond.extend(user.as_ref().map(|u| eq("user_id", u)));
        let consumers = tx.select::<ConsumerRow>(all(cond))?;
        let mut rows = Vec::new();
        for chunk in consumers.chunks(5_000) {
            rows.extend(
                tx.select::<AllocationRow>(is_in("consumer", chunk.iter().map(|c| &c.id)))?,
            );
        }
        Ok((consumers, rows))
    };
    let (consumers, rows) = placement.db.read(read).await?;
    let usages = if req.at_least(1, 38) {
        by_type(&consumers, &rows, req.query.get("consumer_type"))
    } else {
        json!(sums(rows.iter()))
    };
    Ok(dated(
        Reply::ok(&json!({"usages": usages}))?,
        &req,
        placement.clock.now(),
    ))
}

fn sums<'a>(rows: impl Iterator<Item = &'a AllocationRow>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(row.class.as_str()).or_insert(0) += row.used;
    }
    sums
}

fn by_type(consumers: &[ConsumerRow], rows: &[AllocationRow], wanted: Option<&str>) -> Value {
    let types: HashMap<&str, &str> = consumers
        .iter()
        .map(|c| (c.id.as_str(), c.consumer_type.as_deref().unwrap_or(UNKNOWN)))
        .collect();
    let mut groups: BTreeMap<&str, (BTreeSet<&str>, Vec<&AllocationRow>)> = BTreeMap::new();
    for row in rows {
        let kind = types.get(row.consumer.as_str()).copied().unwrap_or(UNKNOWN);
        let name = match wanted {
            Some("all") => "all",
            Some(one) if one != kind => continue,
            _ => kind,
        };
        let group = groups.entry(name).or_default();
        group.0.insert(&row.consumer);
        group.1.push(row);
    }
    let mut out = serde_json::Map::new();
    for (name, (who, rows)) in groups {
        let mut sums = json!(sums(rows.into_iter()));
        sums["consumer_count"] = json!(who.len());
        out.insert(name.to_string(), sums);
    }
    Value::Object(out)
}
