//! Single tags.

use crate::Glance;
use crate::db::ImageRow;
use crate::db::images::{Image, get_for_update, save_belongings};
use crate::image::attributes;
use base::{Error, Result};
use oslo_db::{Tx, eq, set};
use oslo_http::{Reply, Req};
use std::sync::Arc;

async fn change(
    glance: Arc<Glance>,
    req: Req,
    edit: impl Fn(&mut Image, &str) -> Result<()> + Send + Sync + 'static,
) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, tag) = (Arc::clone(req.policy()), req.param("tag_value").to_string());
    let (conf, now) = (glance.conf.clone(), glance.clock.now());
    let write = move |tx: &mut Tx| {
        let mut image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("modify_image", &ctx, &image.target())?;
        edit(&mut image, &tag)?;
        attributes::check_quotas(&image, &conf)?;
        tx.update::<ImageRow>(eq("id", &id), &[set("updated_at", now)])?;
        save_belongings(tx, &image)
    };
    glance.db.write(write).await?;
    Ok(Reply::empty(204))
}

pub async fn add(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    change(glance, req, |image, tag| {
        if tag.chars().count() > 255 {
            return Err(Error::bad_request(format!(
                "Provided object does not match schema 'image': '{tag}' is too long: tags"
            )));
        }
        image.tags.insert(tag.to_string());
        Ok(())
    })
    .await
}

pub async fn remove(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    change(glance, req, |image, tag| {
        if image.tags.remove(tag) {
            Ok(())
        } else {
            Err(Error::not_found("Tag not found"))
        }
    })
    .await
}
