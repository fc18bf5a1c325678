//! Host aggregates: administrators' groups of hosts, and the availability zones made of them.

use super::values::{text, wrapped};
use super::views::aggregate;
use crate::Nova;
use crate::db::aggregates::{AggregateHostRow, AggregateRow, with_hosts};
use crate::db::compute_nodes::ComputeNodeRow;
use crate::db::generation;
use crate::db::instances::on_host;
use base::{Cell, Dir, Error, Json, Result, Timestamp, new_id};
use oslo_db::{Tx, all, eq, everything, is_duplicate};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const ZONE: &str = "availability_zone";

type Found = (AggregateRow, Vec<String>);

fn not_found(id: &str) -> Error {
    Error::not_found(format!("Aggregate {id} could not be found.")).class("AggregateNotFound")
}

fn find(tx: &mut Tx, id: &str) -> Result<Found> {
    let number: i64 = id
        .parse()
        .map_err(|_| Error::bad_request(format!("Invalid aggregate id: {id}")))?;
    let row = tx
        .find::<AggregateRow>(eq("number", number))?
        .ok_or_else(|| not_found(id))?;
    let rows = tx.select_sorted::<AggregateHostRow>(
        eq("aggregate_number", number),
        &[("created_at", Dir::Asc)],
        None,
    )?;
    Ok((row, rows.into_iter().map(|h| h.host).collect()))
}

fn reply(req: &Req, found: &Found) -> Result<Reply> {
    Reply::ok(&json!({"aggregate": aggregate::detail(req, &found.0, Some(&found.1))}))
}

fn duplicate(name: &str, e: Error) -> Error {
    match is_duplicate(&e) {
        true => Error::conflict(format!("Aggregate {name} already exists."))
            .class("AggregateNameExists"),
        false => e,
    }
}

fn zone_name(zone: &str) -> Result<&str> {
    if zone.contains(':') {
        return Err(Error::bad_request(format!(
            "Invalid availability_zone '{zone}': it must not contain ':'."
        )));
    }
    Ok(zone)
}

/// `GET /os-aggregates`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let rows = nova.db.read(with_hosts).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|(a, h)| aggregate::detail(&req, a, Some(h)))
        .collect();
    Reply::ok(&json!({"aggregates": rows}))
}

/// `GET /os-aggregates/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    let found = nova.db.read(move |tx| find(tx, &id)).await?;
    reply(&req, &found)
}

/// `POST /os-aggregates`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "aggregate")?;
    let mut metadata = BTreeMap::new();
    if let Some(zone) = text(body, ZONE) {
        metadata.insert(ZONE.to_string(), zone_name(zone)?.to_string());
    }
    let row = AggregateRow {
        number: 0,
        id: new_id(),
        name: text(body, "name").unwrap_or("").trim().to_string(),
        metadata: Json(metadata),
        created_at: nova.clock.now(),
        updated_at: None,
    };
    let row = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let mut row = row.clone();
            let last =
                tx.select_sorted::<AggregateRow>(everything(), &[("number", Dir::Desc)], Some(1))?;
            row.number = last.first().map_or(1, |a| a.number + 1);
            tx.insert(&row).map_err(|e| duplicate(&row.name, e))?;
            Ok(row)
        })
        .await?;
    Reply::ok(&json!({"aggregate": aggregate::detail(&req, &row, None)}))
}

/// A host may be in one zone only, and a host with guests keeps the zone they were promised.
fn check_zone(tx: &mut Tx, found: &Found, zone: Option<&str>) -> Result<()> {
    let old = found.0.metadata.0.get(ZONE).map(String::as_str);
    if old == zone {
        return Ok(());
    }
    for host in &found.1 {
        if let Some(zone) = zone {
            conflicting(tx, found.0.number, host, zone)?;
        }
        if !on_host(tx, host)?.is_empty() {
            let words = "Cannot update aggregate: One or more hosts contain instances in this zone";
            return Err(Error::bad_request(format!("{words} (host {host})."))
                .class("InvalidAggregateAction"));
        }
    }
    Ok(())
}

fn conflicting(tx: &mut Tx, number: i64, host: &str, zone: &str) -> Result<()> {
    for (other, hosts) in with_hosts(tx)? {
        let theirs = other.metadata.0.get(ZONE);
        if other.number != number
            && hosts.iter().any(|h| h == host)
            && theirs.is_some_and(|z| z != zone)
        {
            let theirs = theirs.map_or("", String::as_str);
            return Err(Error::conflict(format!(
                "Host {host} already in availability zone(s) [{theirs}]."
            )));
        }
    }
    Ok(())
}

fn save(
    tx: &mut Tx,
    mut found: Found,
    name: &str,
    metadata: BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Found> {
    check_zone(tx, &found, metadata.get(ZONE).map(String::as_str))?;
    found.0.name = name.to_string();
    found.0.metadata = Json(metadata);
    found.0.updated_at = Some(now);
    let values = [
        ("name", found.0.name.to_cell()),
        ("metadata", found.0.metadata.to_cell()),
        ("updated_at", now.to_cell()),
    ];
    tx.update::<AggregateRow>(eq("number", found.0.number), &values)
        .map_err(|e| duplicate(name, e))?;
    Ok(found)
}

/// `PUT /os-aggregates/{id}`: name and zone.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "aggregate")?.clone();
    if let Some(zone) = text(&body, ZONE) {
        zone_name(zone)?;
    }
    let (id, now) = (req.param("id").to_string(), nova.clock.now());
    let found = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let found = find(tx, &id)?;
            let name = text(&body, "name").map_or(found.0.name.clone(), |n| n.trim().to_string());
            let mut metadata = found.0.metadata.0.clone();
            if let Some(zone) = text(&body, ZONE) {
                metadata.insert(ZONE.into(), zone.into());
            }
            save(tx, found, &name, metadata, now)
        })
        .await?;
    reply(&req, &found)
}

/// `set_metadata`: adds and replaces; null removes.
pub async fn set_metadata(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "set_metadata")?;
    let changes = body
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    if let Some(zone) = changes.get(ZONE).and_then(Value::as_str) {
        zone_name(zone)?;
    }
    let (id, now) = (req.param("id").to_string(), nova.clock.now());
    let found = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let found = find(tx, &id)?;
            let mut metadata = found.0.metadata.0.clone();
            for (key, value) in &changes {
                match value.as_str() {
                    Some(text) => metadata.insert(key.clone(), text.to_string()),
                    None => metadata.remove(key),
                };
            }
            let name = found.0.name.clone();
            save(tx, found, &name, metadata, now)
        })
        .await?;
    reply(&req, &found)
}

/// `DELETE /os-aggregates/{id}`; only an empty one.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    nova.db
        .write(move |tx| {
            generation::advance(tx)?;
            let (row, hosts) = find(tx, &id)?;
            if !hosts.is_empty() {
                let words = format!("Cannot remove aggregate {id}: Host aggregate is not empty.");
                return Err(Error::bad_request(words).class("InvalidAggregateAction"));
            }
            tx.delete::<AggregateRow>(eq("number", row.number))?;
            Ok(())
        })
        .await?;
    Ok(Reply::empty(200))
}

fn host_of(req: &Req, action: &str) -> Result<String> {
    Ok(text(wrapped(req.json.as_ref(), action)?, "host")
        .unwrap_or("")
        .to_string())
}

/// `add_host`.
pub async fn add_host(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, host, now) = (
        req.param("id").to_string(),
        host_of(&req, "add_host")?,
        nova.clock.now(),
    );
    let found = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let mut found = find(tx, &id)?;
            if !tx.exists::<ComputeNodeRow>(eq("host", &host))? {
                return Err(
                    Error::not_found(format!("Compute host {host} could not be found."))
                        .class("ComputeHostNotFound"),
                );
            }
            if found.1.contains(&host) {
                let words = format!("Cannot add host {host} in aggregate {id}: host exists");
                return Err(Error::conflict(words).class("AggregateHostExists"));
            }
            if let Some(zone) = found.0.metadata.0.get(ZONE) {
                conflicting(tx, found.0.number, &host, zone)?;
            }
            tx.insert(&AggregateHostRow {
                aggregate_number: found.0.number,
                host: host.clone(),
                created_at: now,
            })?;
            found.1.push(host.clone());
            touch(tx, &mut found, now)?;
            Ok(found)
        })
        .await?;
    reply(&req, &found)
}

/// `remove_host`.
pub async fn remove_host(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, host, now) = (
        req.param("id").to_string(),
        host_of(&req, "remove_host")?,
        nova.clock.now(),
    );
    let found = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let mut found = find(tx, &id)?;
            let cond = all([eq("aggregate_number", found.0.number), eq("host", &host)]);
            if tx.delete::<AggregateHostRow>(cond)? == 0 {
                let words = format!("Cannot remove host {host} in aggregate {id}: not found");
                return Err(Error::not_found(words).class("AggregateHostNotFound"));
            }
            found.1.retain(|h| *h != host);
            touch(tx, &mut found, now)?;
            Ok(found)
        })
        .await?;
    reply(&req, &found)
}

fn touch(tx: &mut Tx, found: &mut Found, now: Timestamp) -> Result<()> {
    found.0.updated_at = Some(now);
    tx.update::<AggregateRow>(
        eq("number", found.0.number),
        &[("updated_at", now.to_cell())],
    )?;
    Ok(())
}
