//! Stores: which there are, and the removal of one copy.

use crate::Glance;
use crate::db::images::{drop_locations, get_for_update};
use crate::periodic::files::remove_dropped;
use crate::stores::Backend;
use base::{Error, Result};
use glance_types::ImageStatus;
use oslo_db::{Tx, eq, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(glance: &Glance, store: &Backend) -> Value {
    let mut view = json!({"id": store.id});
    if !store.description.is_empty() {
        view["description"] = json!(store.description);
    }
    // COMPAT: words, not booleans.
    if store.id == glance.stores.default().id {
        view["default"] = json!("true");
    }
    if store.writable().is_err() {
        view["read-only"] = json!("true");
    }
    view
}

pub async fn list(glance: Arc<Glance>, _: Req) -> Result<Reply> {
    let stores = glance.stores.all().iter().map(|store| view(&glance, store));
    Reply::ok(&json!({"stores": stores.collect::<Vec<_>>()}))
}

pub async fn detail(glance: Arc<Glance>, _: Req) -> Result<Reply> {
    let stores = glance.stores.all().iter().map(|store| {
        let mut view = view(&glance, store);
        view["weight"] = json!(store.weight);
        view["type"] = json!(store.kind);
        view["properties"] = store.writable().map_or(json!({}), |s| s.properties());
        view
    });
    Reply::ok(&json!({"stores": stores.collect::<Vec<_>>()}))
}

/// Removes the copy in one store; never the last one.
pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let store = req.param("store_id").to_string();
    let known = glance.stores.all().iter().find(|b| b.id == store);
    let known = known
        .ok_or_else(|| Error::not_found(format!("Invalid backend: there is no store {store}.")))?;
    known
        .writable()
        .map_err(|e| Error::forbidden(e.message().to_string()))?;
    // Rows that are older than names belong to the default store.
    let mut names = vec![store.clone()];
    if known.id == glance.stores.default().id {
        names.push(String::new());
    }
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let policy = Arc::clone(req.policy());
    let image_id = id.clone();
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("delete_image_location", &ctx, &image.target())?;
        if image.row.protected {
            return Err(Error::forbidden(format!(
                "Image {id} is protected and its data cannot be deleted."
            )));
        }
        if image.row.status != ImageStatus::Active {
            return Err(Error::conflict(
                "It's not allowed to remove image data from store if image status is not 'active'",
            ));
        }
        let here = image.locations.iter().filter(|l| names.contains(&l.store));
        match (here.count(), image.locations.len()) {
            (0, _) => Err(Error::not_found(format!(
                "Image {id} is not stored in store {store}."
            ))),
            (here, all) if here == all => Err(Error::forbidden(
                "Cannot delete image data from the only store containing it. Consider deleting the image instead.",
            )),
            _ => drop_locations(
                tx,
                oslo_db::all([eq("image", &id), is_in("store", names.iter())]),
            ),
        }
    };
    glance.db.write(write).await?;
    tracing::info!(image.id = %image_id, store = req.param("store_id"), "a copy of an image deleted");
    if let Err(e) = remove_dropped(&glance, &image_id).await {
        tracing::warn!(image.id = %image_id, "a file could not be removed yet: {e}");
        glance.poke_files();
    }
    Ok(Reply::empty(204))
}
