//! The management of the image cache. Without a cache (`image_cache_dir`) all of it is a 404, as upstream answers then.

use crate::Glance;
use crate::cache::Cache;
use crate::db::cache::{self, CachedRow, QueueRow, of};
use crate::db::images::get;
use base::{Error, Result, Timestamp};
use glance_types::ImageStatus;
use oslo_db::{Tx, eq, not_null};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn cache(glance: &Glance) -> Result<&Cache> {
    let off = || Error::not_found("Caching via API is not supported at this site.");
    glance.cache.as_ref().ok_or_else(off)
}

fn no_image(id: &str) -> Error {
    Error::not_found(format!("Image {id} not found."))
}

/// Seconds since 1970, with a fraction.
fn epoch(at: Timestamp) -> f64 {
    at.0 as f64 / 1e6
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("cache_list", &json!({}))?;
    let node = cache(&glance)?.node.clone();
    let read = move |tx: &mut Tx| Ok((cache::held(tx, &node)?, cache::queued(tx, &node)?));
    let (held, queued) = glance.db.read(read).await?;
    let view = |row: &CachedRow| {
        json!({
            "image_id": row.image,
            "hits": row.hits,
            "last_accessed": epoch(row.last_accessed),
            "last_modified": epoch(row.last_modified),
            "size": row.size,
        })
    };
    let held: Vec<Value> = held.iter().map(view).collect();
    let queued: Vec<String> = queued.into_iter().map(|row| row.image).collect();
    Reply::ok(&json!({"cached_images": held, "queued_images": queued}))
}

/// Asks for an image, which is fetched at once.
pub async fn queue(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let find = {
        let id = id.clone();
        move |tx: &mut Tx| get(tx, &ctx, &id)
    };
    let image = glance.db.read(find).await;
    let image = image.map_err(|e| if e.is_not_found() { no_image(&id) } else { e })?;
    req.enforce("cache_image", &image.target())?;
    let node = cache(&glance)?.node.clone();
    if image.row.status != ImageStatus::Active {
        return Err(Error::bad_request(
            "Only images with status active can be targeted for queueing",
        ));
    }
    let row = QueueRow {
        node,
        image: id,
        queued_at: glance.clock.now(),
    };
    let queue = move |tx: &mut Tx| {
        let known = tx.exists::<CachedRow>(of(&row.node, &row.image))?
            || tx.exists::<QueueRow>(of(&row.node, &row.image))?;
        match known {
            true => Ok(()),
            // Somebody else may ask at this moment.
            false => tx.upsert(&row, &["node", "image"]),
        }
    };
    glance.db.write(queue).await?;
    glance.poke_cache();
    Ok(Reply::empty(202))
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let find = {
        let id = id.clone();
        move |tx: &mut Tx| match get(tx, &ctx, &id) {
            Err(e) if e.is_not_found() => Ok(None),
            image => image.map(Some),
        }
    };
    let image = glance.db.read(find).await?;
    let target = image.as_ref().map_or(json!({}), |image| image.target());
    req.enforce("cache_delete", &target)?;
    let there = cache(&glance)?.forget(&glance, &id).await?;
    match there || image.is_some() {
        true => Ok(Reply::empty(204)),
        false => Err(no_image(&id)),
    }
}

pub async fn clear(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("cache_delete", &json!({}))?;
    let cache = cache(&glance)?;
    let target = req.header("x-image-cache-clear-target").unwrap_or_default();
    let (copies, queue) = match target.to_ascii_lowercase().as_str() {
        "" => (true, true),
        "cache" => (true, false),
        "queue" => (false, true),
        _ => {
            return Err(Error::bad_request(
                "If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.",
            ));
        }
    };
    if queue {
        cache.clear_queue(&glance).await?;
    }
    if copies {
        cache.clear(&glance).await?;
    }
    Ok(Reply::empty(204))
}

pub async fn clean(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("cache_clean", &json!({}))?;
    cache(&glance)?.clean(&glance).await?;
    Ok(Reply::empty(200))
}

pub async fn prune(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("cache_prune", &json!({}))?;
    let pruned = cache(&glance)?.prune(&glance).await?;
    Reply::ok(&json!({"total_files_pruned": pruned.files, "total_bytes_pruned": pruned.bytes}))
}

/// Which controllers have a copy, by their addresses.
pub async fn nodes(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("list_cached_nodes", &image.target())?;
    if cache(&glance)?.url.is_none() {
        return Err(Error::conflict(
            "Centralized caching is not enabled: worker_self_reference_url is not set.",
        ));
    }
    let cond = oslo_db::all([eq("image", &image.row.id), not_null("url")]);
    let rows = glance
        .db
        .read(move |tx| tx.select::<CachedRow>(cond.clone()));
    let mut urls: Vec<String> = rows.await?.into_iter().filter_map(|row| row.url).collect();
    urls.sort();
    urls.dedup();
    Reply::ok(&urls)
}
