//! Deactivate, reactivate.

use crate::Glance;
use crate::db::ImageRow;
use crate::db::images::get_for_update;
use base::{Error, Result};
use glance_types::ImageStatus;
use oslo_db::{Tx, eq, set};
use oslo_http::{Reply, Req};
use std::sync::Arc;

pub async fn deactivate(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    turn(
        glance,
        req,
        "deactivate",
        ImageStatus::Active,
        ImageStatus::Deactivated,
    )
    .await
}

pub async fn reactivate(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    turn(
        glance,
        req,
        "reactivate",
        ImageStatus::Deactivated,
        ImageStatus::Active,
    )
    .await
}

async fn turn(
    glance: Arc<Glance>,
    req: Req,
    verb: &'static str,
    from: ImageStatus,
    to: ImageStatus,
) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let policy = Arc::clone(req.policy());
    let now = glance.clock.now();
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        policy.enforce(verb, &ctx, &image.target())?;
        let status = image.row.status;
        if status == to {
            return Ok(());
        }
        if status != from {
            return Err(Error::forbidden(format!(
                "Not allowed to {verb} image in status '{status}'"
            )));
        }
        let values = [set("status", to), set("updated_at", now)];
        tx.update::<ImageRow>(eq("id", &id), &values).map(drop)
    };
    glance.db.write(write).await?;
    Ok(Reply::empty(204))
}
