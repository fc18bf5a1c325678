//! `/servers/{id}/metadata`.

use crate::Nova;
use crate::db::instances::{self, InstanceRow};
use crate::instance::{self, check_lock};
use base::{Cell, Error, Json, Result};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

async fn change(
    nova: &Nova,
    req: &Req,
    f: impl Fn(&mut Map<String, Value>) -> Result<()> + Send + Sync + 'static,
) -> Result<Map<String, Value>> {
    let row = instance::get(nova, &req.ctx, req.param("server_id")).await?;
    check_lock(&req.ctx, &row)?;
    let (ctx, limit, now) = (
        Arc::clone(&req.ctx),
        nova.conf.quota_metadata_items,
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| {
            let row: InstanceRow = instances::get_held(tx, &row.id, ctx.row_scope())?;
            let mut metadata = row.metadata.0.clone();
            f(&mut metadata)?;
            if limit >= 0 && metadata.len() as i64 > limit {
                return Err(Error::over_quota(format!(
                    "Maximum number of metadata items exceeds {limit}"
                )));
            }
            instances::update(
                tx,
                &row.id,
                &[
                    ("metadata", Json(metadata.clone()).to_cell()),
                    ("updated_at", Some(now).to_cell()),
                ],
            )?;
            Ok(metadata)
        })
        .await
}

fn items(req: &Req, key: &str) -> Map<String, Value> {
    req.json
        .as_ref()
        .and_then(|j| j[key].as_object())
        .cloned()
        .unwrap_or_default()
}

/// GET all.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    Reply::ok(&json!({"metadata": row.metadata.0}))
}

/// POST: adds and replaces.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let new = items(&req, "metadata");
    let all = change(&nova, &req, move |m| {
        m.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"metadata": all}))
}

/// PUT: replaces all.
pub async fn update_all(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let new = items(&req, "metadata");
    let all = change(&nova, &req, move |m| {
        *m = new.clone();
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"metadata": all}))
}

/// GET one.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let key = req.param("key");
    let value = row
        .metadata
        .0
        .get(key)
        .ok_or_else(|| Error::not_found("Metadata item was not found"))?;
    Reply::ok(&json!({"meta": {key: value}}))
}

/// PUT one.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (new, key) = (items(&req, "meta"), req.param("key").to_string());
    if !new.contains_key(&key) {
        return Err(Error::bad_request("Request body and URI mismatch"));
    }
    let reply = json!({"meta": new});
    change(&nova, &req, move |m| {
        m.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&reply)
}

/// DELETE one.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let key = req.param("key").to_string();
    change(&nova, &req, move |m| {
        m.shift_remove(&key)
            .map(|_| ())
            .ok_or_else(|| Error::not_found("Metadata item was not found"))
    })
    .await?;
    Ok(Reply::empty(204))
}
