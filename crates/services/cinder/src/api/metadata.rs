//! `/volumes/{id}/metadata` and `/snapshots/{id}/metadata`.

use crate::Cinder;
use crate::db::{self, SnapshotRow, VolumeRow};
use base::{Error, Json, Result};
use oslo_db::{eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Pairs = Map<String, Value>;

/// Whose pairs a request is about.
#[derive(Clone)]
enum Owner {
    Volume(String),
    Snapshot(String),
}

fn owner(req: &Req) -> Owner {
    match req.param("volume_id") {
        "" => Owner::Snapshot(req.param("snapshot_id").to_string()),
        id => Owner::Volume(id.to_string()),
    }
}

async fn read(cinder: &Cinder, req: &Req) -> Result<Pairs> {
    let (ctx, owner) = (req.ctx.clone(), owner(req));
    cinder
        .db
        .read(move |tx| {
            let row = match &owner {
                Owner::Volume(id) => db::volumes::get(tx, &ctx, id)?,
                Owner::Snapshot(id) => return Ok(db::snapshots::get(tx, &ctx, id)?.metadata.0),
            };
            let mut pairs = row.metadata.0;
            if let Some(read_only) = row.read_only {
                let word = if read_only { "True" } else { "False" };
                pairs.insert("readonly".into(), json!(word));
            }
            Ok(pairs)
        })
        .await
}

async fn change(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut Pairs) -> Result<()> + Send + Sync + 'static,
) -> Result<Pairs> {
    let (ctx, owner, now) = (req.ctx.clone(), owner(req), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let mut pairs = match &owner {
                Owner::Volume(id) => db::volumes::lock(tx, &ctx, id)?.metadata.0,
                Owner::Snapshot(id) => db::snapshots::lock(tx, &ctx, id)?.metadata.0,
            };
            change(&mut pairs)?;
            let values = [set("metadata", Json(pairs.clone())), set("updated_at", now)];
            match &owner {
                Owner::Volume(id) => tx.update::<VolumeRow>(eq("id", id), &values)?,
                Owner::Snapshot(id) => tx.update::<SnapshotRow>(eq("id", id), &values)?,
            };
            Ok(pairs)
        })
        .await
}

fn no_such_key(owner: &Owner, key: &str) -> Error {
    let (what, id, class) = match owner {
        Owner::Volume(id) => ("Volume", id, "VolumeMetadataNotFound"),
        Owner::Snapshot(id) => ("Snapshot", id, "SnapshotMetadataNotFound"),
    };
    Error::not_found(format!("{what} {id} has no metadata with key {key}.")).class(class)
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::ok(&json!({"metadata": read(&cinder, &req).await?}))
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (pairs, key) = (read(&cinder, &req).await?, req.param("id"));
    match pairs.get(key) {
        Some(value) => Reply::ok(&json!({"meta": {key: value}})),
        None => Err(no_such_key(&owner(&req), key)),
    }
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Pairs = req.parse_key("metadata")?;
    let sent = new.clone();
    change(&cinder, &req, move |pairs| {
        pairs.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"metadata": sent}))
}

pub async fn replace(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Pairs = req.parse_key("metadata")?;
    let pairs = change(&cinder, &req, move |pairs| {
        *pairs = new.clone();
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"metadata": pairs}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Pairs = req.parse_key("meta")?;
    let key = req.param("id").to_string();
    let Some(value) = new.get(&key).filter(|_| new.len() == 1).cloned() else {
        return Err(Error::bad_request(
            "Request body and URI mismatch or contains too many items.",
        ));
    };
    change(&cinder, &req, move |pairs| {
        pairs.insert(key.clone(), value.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"meta": new}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (owner, key) = (owner(&req), req.param("id").to_string());
    change(&cinder, &req, move |pairs| {
        pairs
            .shift_remove(&key)
            .map(drop)
            .ok_or_else(|| no_such_key(&owner, &key))
    })
    .await?;
    Ok(Reply::empty(200))
}
