//! `POST /v2/images/{id}/import`.

use crate::Glance;
use crate::db::images::{get, get_for_update};
use crate::flows::Method;
use crate::import::{Import, submit, task_row};
use crate::limits::Limits;
use crate::remote;
use crate::signature::Signature;
use base::Result;
use glance_types::TaskType;
use oslo_db::Tx;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn import(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body = req.json.clone();
    let mut import = Import::parse(&glance, body.as_ref(), req.header("x-image-meta-store"))?;
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, state) = (Arc::clone(req.policy()), Arc::clone(&glance));
    if import.method != Method::CopyImage {
        let (ctx, id) = (Arc::clone(&ctx), id.clone());
        let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
        req.enforce("modify_image", &image.target())?;
        import.signature = Signature::of(&glance, &req.ctx, &image).await?;
    }
    let input = input(&id, body, &import.stores);
    let now = glance.clock.now();
    let task = task_row(&ctx, TaskType::ApiImageImport, &id, &input, now);
    let limits = Limits::of(&glance, ctx.project()).await?;
    let remote = import.remote.clone();
    let write = move |tx: &mut Tx| {
        let mut image = get_for_update(tx, &ctx, &id)?;
        match import.method {
            Method::CopyImage => policy.enforce("copy_image", &ctx, &image.target())?,
            _ => policy.enforce("modify_image", &ctx, &image.target())?,
        }
        submit(tx, &state, &ctx, &mut image, &import, &task, &limits)
    };
    match (glance.db.write(write).await?, remote) {
        (Some(flow), Some(remote)) => remote::start(&glance, flow, remote, Arc::clone(&req.ctx)),
        _ => glance.engine.wake(),
    }
    tracing::info!(image.id = req.param("image_id"), "import accepted");
    Ok(Reply::empty(202))
}

/// What the task remembers of the request.
fn input(image: &str, body: Option<Value>, stores: &[String]) -> Value {
    json!({"image_id": image, "import_req": body, "backend": stores})
}
