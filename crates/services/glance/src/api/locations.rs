//! `/v2/images/{id}/locations`: where the copies of an image are, for services.

use crate::Glance;
use crate::db::images::get;
use crate::stores::Kind;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("fetch_image_location", &image.target())?;
    let views = image.locations.iter().filter_map(|location| {
        let store = glance.stores.find(&location.store)?;
        let url = match (&store.kind, &location.file, &location.url) {
            (Kind::File(folder), Some(file), _) => {
                format!("file://{}", folder.path(file).display())
            }
            (_, _, Some(url)) => url.clone(),
            _ => return None,
        };
        Some(json!({"url": url, "metadata": {"store": store.id}}))
    });
    Reply::ok(&views.collect::<Vec<Value>>())
}
