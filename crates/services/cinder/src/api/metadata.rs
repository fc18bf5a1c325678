//! `/volumes/{id}/metadata`.

use crate::Cinder;
use crate::db::{self, VolumeRow};
use base::{Error, Json, Result};
use oslo_db::{eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Pairs = Map<String, Value>;

async fn read(cinder: &Cinder, req: &Req) -> Result<Pairs> {
    let (ctx, id) = (req.ctx.clone(), req.param("volume_id").to_string());
    let row = cinder
        .db
        .read(move |tx| db::volumes::get(tx, &ctx, &id))
        .await?;
    let mut pairs = row.metadata.0;
    if let Some(read_only) = row.read_only {
        let word = if read_only { "True" } else { "False" };
        pairs.insert("readonly".into(), json!(word));
    }
    Ok(pairs)
}

async fn change(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut Pairs) -> Result<()> + Send + Sync + 'static,
) -> Result<Pairs> {
    let (ctx, id) = (req.ctx.clone(), req.param("volume_id").to_string());
    let now = cinder.clock.now();
    cinder
        .db
        .write(move |tx| {
            let mut pairs = db::volumes::lock(tx, &ctx, &id)?.metadata.0;
            change(&mut pairs)?;
            let values = [set("metadata", Json(pairs.clone())), set("updated_at", now)];
            tx.update::<VolumeRow>(eq("id", &id), &values)?;
            Ok(pairs)
        })
        .await
}

fn no_such_key(id: &str, key: &str) -> Error {
    Error::not_found(format!("Volume {id} has no metadata with key {key}."))
        .class("VolumeMetadataNotFound")
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::ok(&json!({"metadata": read(&cinder, &req).await?}))
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (pairs, key) = (read(&cinder, &req).await?, req.param("id"));
    match pairs.get(key) {
        Some(value) => Reply::ok(&json!({"meta": {key: value}})),
        None => Err(no_such_key(req.param("volume_id"), key)),
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
    let (id, key) = (
        req.param("volume_id").to_string(),
        req.param("id").to_string(),
    );
    change(&cinder, &req, move |pairs| {
        pairs
            .shift_remove(&key)
            .map(drop)
            .ok_or_else(|| no_such_key(&id, &key))
    })
    .await?;
    Ok(Reply::empty(200))
}
