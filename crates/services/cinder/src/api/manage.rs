//! `/manageable_volumes` and `/manageable_snapshots`, also under their older names: what is on backends already.

use crate::Cinder;
use crate::api::volumes::{label, text};
use crate::api::{snapshots, views};
use crate::db::{SnapshotRow, VolumeRow};
use crate::snapshot::create::NewSnapshot;
use crate::volume::invalid_input;
use crate::volume::manage::{ManagedVolume, backend};
use base::{Error, Result};
use cinder_types::{Manageable, Noun, VolumeClient};
use oslo_db::{Tx, is_in};
use oslo_http::{Reply, Req, is_true};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// The host that was named. Clusters, of which this cloud has none, may be named from 3.16 on.
fn host_of(host: Option<&str>, cluster: Option<&str>, req: &Req) -> Result<String> {
    match (host, cluster.filter(|_| req.at_least(3, 16))) {
        (Some(host), None) if !host.is_empty() => Ok(host.to_string()),
        (None, Some(cluster)) => Err(Error::not_found(format!(
            "Cluster {cluster} could not be found."
        ))),
        _ => Err(invalid_input(
            "One and only one of cluster and host must be set.",
        )),
    }
}

fn pairs(body: &Map<String, Value>) -> Map<String, Value> {
    let metadata = body.get("metadata").and_then(Value::as_object);
    metadata.cloned().unwrap_or_default()
}

pub async fn manage_volume(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("volume")?;
    let (host, cluster) = (text(&body, "host"), text(&body, "cluster"));
    let wanted = ManagedVolume {
        host: host_of(host.as_deref(), cluster.as_deref(), &req)?,
        reference: body.get("ref").cloned().unwrap_or_default(),
        name: label(&body, "name", "display_name"),
        description: label(&body, "description", "display_description"),
        volume_type: text(&body, "volume_type"),
        availability_zone: text(&body, "availability_zone"),
        bootable: body
            .get("bootable")
            .is_some_and(|v| *v == true || v.as_str().is_some_and(is_true)),
        metadata: pairs(&body),
    };
    let row = crate::volume::manage::manage(&cinder, &req.ctx, wanted).await?;
    let loaded = cinder
        .db
        .read(move |tx| views::load(tx, vec![row.clone()]))
        .await?;
    let volume = loaded.first().map(|l| views::volume(&req, l));
    Reply::json(202, &views::Wrapped { volume })
}

pub async fn manage_snapshot(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("snapshot")?;
    let new = NewSnapshot {
        volume_id: text(&body, "volume_id").unwrap_or_default(),
        name: label(&body, "name", "display_name"),
        description: label(&body, "description", "display_description"),
        metadata: pairs(&body),
    };
    let reference = body.get("ref").cloned().unwrap_or_default();
    let row = crate::snapshot::manage::manage(&cinder, &req.ctx, new, reference).await?;
    snapshots::accepted(&req, &row)
}

pub async fn unmanage_volume(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    crate::volume::delete::unmanage(&cinder, &req.ctx, req.param("id")).await?;
    Ok(Reply::empty(202))
}

pub async fn unmanage_snapshot(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    crate::snapshot::delete::unmanage(&cinder, &req.ctx, req.param("id")).await?;
    Ok(Reply::empty(202))
}

/// What is there, and what cinder knows of it.
struct Found {
    thing: Manageable,
    /// What a snapshot of ours is of.
    source: Option<String>,
    known: bool,
}

async fn find(cinder: &Cinder, req: &Req, noun: Noun) -> Result<Vec<Found>> {
    let host = host_of(req.query.get("host"), req.query.get("cluster"), req)?;
    let (conf, now) = (cinder.conf.clone(), cinder.clock.now());
    let service = cinder
        .db
        .read(move |tx| backend(tx, &conf, &host, now))
        .await?;
    let things = VolumeClient::new(&cinder.bus)
        .server(&service.host)
        .manageable(&req.ctx, noun)
        .await?;
    let ids: Vec<String> = things.iter().filter_map(|t| t.id.clone()).collect();
    let known = move |tx: &mut Tx| {
        let ids = is_in("id", ids.iter());
        let mut known: HashMap<String, Option<String>> = HashMap::new();
        match noun {
            Noun::Volume => {
                known.extend(
                    tx.select::<VolumeRow>(ids)?
                        .into_iter()
                        .map(|r| (r.id, None)),
                );
            }
            Noun::Snapshot => {
                let rows = tx.select::<SnapshotRow>(ids)?.into_iter();
                known.extend(rows.map(|r| (r.id, Some(format!("volume-{}", r.volume_id)))));
            }
        }
        Ok(known)
    };
    let known = cinder.db.read(known).await?;
    let mut found: Vec<Found> = things
        .into_iter()
        .map(|thing| {
            let row = thing.id.as_ref().and_then(|id| known.get(id));
            Found {
                known: row.is_some(),
                source: row.cloned().flatten(),
                thing,
            }
        })
        // What is named as ours and is not is an orphan, which goes.
        .filter(|f| f.known || f.thing.id.is_none())
        .collect();
    sort(&mut found, req)?;
    page(found, req)
}

fn sort(found: &mut [Found], req: &Req) -> Result<()> {
    let asked = req.query.get("sort").or(req.query.get("sort_key"));
    let asked = asked.unwrap_or("reference");
    let (key, dir) = match asked.split_once(':') {
        Some((key, dir)) => (key, Some(dir)),
        None => (asked, req.query.get("sort_dir")),
    };
    let by: fn(&Found, &Found) -> Ordering = match key {
        "size" => |a, b| a.thing.size.cmp(&b.thing.size),
        "reference" => |a, b| a.thing.name.cmp(&b.thing.name),
        _ => {
            return Err(Error::bad_request(format!(
                "Invalid sort keys passed: {key}"
            )));
        }
    };
    match dir.unwrap_or("desc") {
        "asc" => found.sort_by(by),
        "desc" => found.sort_by(|a, b| by(b, a)),
        other => {
            return Err(Error::bad_request(format!(
                "Invalid sort dirs passed: {other}"
            )));
        }
    }
    Ok(())
}

fn page(found: Vec<Found>, req: &Req) -> Result<Vec<Found>> {
    let number = |name: &str| match req.query.get(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<usize>()
            .map(Some)
            .map_err(|_| Error::bad_request(format!("{name} param must be an integer"))),
    };
    let (limit, offset) = (number("limit")?, number("offset")?);
    let start = match req.query.get("marker") {
        None => 0,
        Some(marker) => {
            let parsed: Value = serde_json::from_str(marker).unwrap_or_default();
            let name = parsed["source-name"].as_str().unwrap_or(marker);
            let at = found.iter().position(|f| f.thing.name == name);
            at.ok_or_else(|| Error::bad_request(format!("marker not found: {marker}")))? + 1
        }
    };
    let rest = found.into_iter().skip(start + offset.unwrap_or(0));
    Ok(rest.take(limit.unwrap_or(usize::MAX)).collect())
}

fn view(found: &Found, noun: Noun, detail: bool) -> Value {
    let thing = &found.thing;
    let reason = match found.known {
        true => Some("already managed"),
        false => thing.reason.as_deref(),
    };
    let mut out = json!({"reference": {"source-name": thing.name}, "size": thing.size,
        "safe_to_manage": reason.is_none()});
    if noun == Noun::Snapshot {
        let source = found.source.as_ref();
        out["source_reference"] = source.map_or(json!({}), |name| json!({"source-name": name}));
    }
    if detail {
        out["reason_not_safe"] = json!(reason);
        out["cinder_id"] = json!(thing.id.as_ref().filter(|_| found.known));
        out["extra_info"] = Value::Null;
    }
    out
}

async fn listed(cinder: &Cinder, req: &Req, noun: Noun, detail: bool) -> Result<Reply> {
    let found = find(cinder, req, noun).await?;
    let views: Vec<Value> = found.iter().map(|f| view(f, noun, detail)).collect();
    let key = match noun {
        Noun::Volume => "manageable-volumes",
        Noun::Snapshot => "manageable-snapshots",
    };
    Reply::ok(&json!({key: views}))
}

pub async fn list_volumes(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    listed(&cinder, &req, Noun::Volume, false).await
}

pub async fn list_volumes_detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    listed(&cinder, &req, Noun::Volume, true).await
}

pub async fn list_snapshots(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    listed(&cinder, &req, Noun::Snapshot, false).await
}

pub async fn list_snapshots_detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    listed(&cinder, &req, Noun::Snapshot, true).await
}
