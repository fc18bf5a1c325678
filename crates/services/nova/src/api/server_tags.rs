//! `/servers/{id}/tags`, from 2.26 on.

use crate::Nova;
use crate::db::instances::{self, InstanceRow};
use crate::instance;
use base::{Cell, Error, Json, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const MAX_TAGS: usize = 50;

async fn change<T: Send + 'static>(
    nova: &Nova,
    req: &Req,
    f: impl Fn(&mut Vec<String>) -> Result<T> + Send + Sync + 'static,
) -> Result<(T, Vec<String>)> {
    let row = instance::get(nova, &req.ctx, req.param("server_id")).await?;
    let (ctx, now) = (Arc::clone(&req.ctx), nova.clock.now());
    let teller = nova.teller.clone();
    nova.db
        .write(move |tx| {
            let row: InstanceRow = instances::get_held(tx, &row.id, ctx.row_scope())?;
            let mut tags = row.tags.0.clone();
            let out = f(&mut tags)?;
            if tags.len() > MAX_TAGS {
                return Err(Error::bad_request(format!(
                    "The number of tags exceeded the per-server limit {MAX_TAGS}"
                )));
            }
            instances::update(
                tx,
                &row.id,
                &[
                    ("tags", Json(tags.clone()).to_cell()),
                    ("updated_at", Some(now).to_cell()),
                ],
            )?;
            if tags != row.tags.0 {
                teller.updated(tx, &ctx, &row.id, None)?;
            }
            Ok((out, tags))
        })
        .await
}

fn missing(req: &Req) -> Error {
    Error::not_found(format!(
        "Server {} has no tag '{}'",
        req.param("server_id"),
        req.param("tag")
    ))
}

/// GET all.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    Reply::ok(&json!({"tags": row.tags.0}))
}

/// PUT all.
pub async fn replace(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let list = req
        .json
        .as_ref()
        .and_then(|j| j["tags"].as_array())
        .cloned()
        .unwrap_or_default();
    let mut new: Vec<String> = list
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    new.sort();
    new.dedup();
    let (_, tags) = change(&nova, &req, move |t| {
        *t = new.clone();
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"tags": tags}))
}

/// DELETE all.
pub async fn clear(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    change(&nova, &req, |t| {
        t.clear();
        Ok(())
    })
    .await?;
    Ok(Reply::empty(204))
}

/// GET one: there or not.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    if row.tags.0.iter().any(|t| t == req.param("tag")) {
        Ok(Reply::empty(204))
    } else {
        Err(missing(&req))
    }
}

/// PUT one: 201 if new, 204 if there.
pub async fn add(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let tag = req.param("tag").to_string();
    if tag.is_empty() || tag.chars().count() > 60 || tag.contains(['/', ',']) {
        return Err(Error::bad_request(format!(
            "Tag '{tag}' is invalid. It must be a non empty string without characters '/' and ','. Validation error: too long or with such a character"
        )));
    }
    let name = tag.clone();
    let (new, _) = change(&nova, &req, move |t| {
        let new = !t.contains(&name);
        if new {
            t.push(name.clone());
        }
        Ok(new)
    })
    .await?;
    if !new {
        return Ok(Reply::empty(204));
    }
    Ok(Reply::empty(201).header("location", format!("{}{}", req.base_url, req.path)))
}

/// DELETE one.
pub async fn remove(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let tag = req.param("tag").to_string();
    let (found, _) = change(&nova, &req, move |t| {
        let before = t.len();
        t.retain(|x| *x != tag);
        Ok(t.len() < before)
    })
    .await?;
    if found {
        Ok(Reply::empty(204))
    } else {
        Err(missing(&req))
    }
}
