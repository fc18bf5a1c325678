//! Image records.

use super::{filters, views};
use crate::Glance;
use crate::db::images::{
    self, Image, drop_locations, get, get_for_update, save_belongings, save_locations,
};
use crate::db::{ImageRow, MemberRow, PropertyRow, TagRow};
use crate::image::{attributes, locations, patch};
use crate::limits::{self, Limits};
use crate::periodic::files::remove_dropped;
use base::{Error, Result};
use glance_types::{ImageStatus, Visibility};
use oslo_context::RequestContext;
use oslo_db::{Tx, cell, eq, is_duplicate, set};
use oslo_http::{Reply, Req, parse_paging};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce("get_images", &json!({"project_id": req.ctx.project_id}))?;
    let rules = filters::paging_rules(glance.conf.limit_param_default, glance.conf.api_limit_max);
    let paging = parse_paging(&req.query, &rules)?;
    let cond = filters::condition(&req.ctx, &req.query)?;
    let read = move |tx: &mut Tx| {
        let page = tx.page::<ImageRow>(cond.clone(), &paging)?;
        Ok((images::gather(tx, page.items)?, page.more))
    };
    let (found, more) = glance.db.read(read).await?;
    let link = |query: String| match query.as_str() {
        "" => "/v2/images".to_string(),
        query => format!("/v2/images?{query}"),
    };
    let last = found.last().filter(|_| more);
    Reply::ok(&views::ImagesView {
        images: found.iter().map(|i| views::image(i, &glance)).collect(),
        first: link(req.query.with(&[], &["marker"])),
        next: last.map(|last| link(req.query.with(&[("marker", &last.row.id)], &[]))),
        schema: "/v2/schemas/images",
    })
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("get_image", &image.target())?;
    Reply::ok(&views::image(&image, &glance))
}

/// Rules on what an image shall be, beside the rule on changing it.
pub fn check_visibility(req: &Req, image: &Image) -> Result<()> {
    match image.row.visibility {
        Visibility::Public => req.enforce("publicize_image", &image.target()),
        Visibility::Community => req.enforce("communitize_image", &image.target()),
        _ => Ok(()),
    }
}

/// A new image of which nothing is known.
pub fn blank(glance: &Glance, ctx: &RequestContext) -> Image {
    let now = glance.clock.now();
    let row = ImageRow {
        id: base::new_id(),
        name: None,
        status: ImageStatus::Queued,
        visibility: Visibility::Shared,
        owner: ctx.project_id.clone(),
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        size: None,
        virtual_size: None,
        container_format: None,
        disk_format: None,
        min_disk: 0,
        min_ram: 0,
        protected: false,
        os_hidden: false,
        staged: None,
        staged_facts: None,
        upload: None,
        upload_owner: None,
        upload_lease: None,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    Image {
        row,
        properties: BTreeMap::new(),
        tags: BTreeSet::new(),
        locations: Vec::new(),
        member: None,
    }
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let mut image = blank(&glance, &req.ctx);
    let body = req.json.as_ref().and_then(Value::as_object);
    let body = body.ok_or_else(|| Error::bad_request("Request body must be a JSON object."))?;
    for (name, value) in body {
        attributes::set(&mut image, &glance.conf, name, value)?;
    }
    attributes::check_quotas(&image, &glance.conf)?;
    req.enforce("add_image", &image.target())?;
    check_visibility(&req, &image)?;
    let stored = image.clone();
    let limits = Limits::of(&glance, req.ctx.project()).await?;
    let insert = move |tx: &mut Tx| {
        limits.reserve_image(tx)?;
        tx.insert(&stored.row)?;
        save_belongings(tx, &stored)
    };
    glance
        .db
        .write(insert)
        .await
        .map_err(|e| match is_duplicate(&e) {
            true => Error::conflict(format!("Image ID {} already exists!", image.row.id)),
            false => e,
        })?;
    tracing::info!(image.id = %image.row.id, "image created");
    let location = format!("{}/v2/images/{}", req.base_url, image.row.id);
    let stores: Vec<&str> = glance
        .stores
        .writable()
        .map(|(b, _)| b.id.as_str())
        .collect();
    Ok(Reply::json(201, &views::image(&image, &glance))?
        .header("location", location)
        .header(
            "openstack-image-import-methods",
            glance.conf.enabled_import_methods.join(","),
        )
        .header("openstack-image-store-ids", stores.join(",")))
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let content_type = req.header("content-type").unwrap_or_default();
    let changes = match patch::parse(content_type, req.json.as_ref()) {
        Ok(changes) => changes,
        Err(e) if e.kind() == base::Kind::UnsupportedMediaType => {
            // The caller is told which types there are (RFC 5789).
            return Ok(
                Reply::text(415, "text/plain; charset=UTF-8", e.message().to_string())
                    .header("accept-patch", patch::MEDIA.join(", ")),
            );
        }
        Err(e) => return Err(e),
    };
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let found = find_places(&glance, &req, &changes).await?;
    let (policy, state) = (Arc::clone(req.policy()), Arc::clone(&glance));
    let now = glance.clock.now();
    let write = move |tx: &mut Tx| {
        let old = get_for_update(tx, &ctx, &id)?;
        policy.enforce("modify_image", &ctx, &old.target())?;
        let mut image = old.clone();
        let conf = &state.conf;
        for change in &changes {
            if change.name == "locations" {
                policy.enforce(locations::rule(change.op), &ctx, &old.target())?;
                locations::apply(&mut image, conf, &state.stores, change, &found, now)?;
            } else {
                patch::apply(&mut image, conf, change)?;
            }
        }
        attributes::check_quotas(&image, conf)?;
        if image.row.visibility != old.row.visibility {
            match image.row.visibility {
                Visibility::Public => policy.enforce("publicize_image", &ctx, &old.target())?,
                Visibility::Community => {
                    policy.enforce("communitize_image", &ctx, &old.target())?;
                }
                _ => {}
            }
        }
        if image.row.owner != old.row.owner && !ctx.is_admin {
            return Err(Error::forbidden("Owner can't be updated by non admin."));
        }
        let row = &mut image.row;
        row.updated_at = now;
        let values = [
            set("name", row.name.clone()),
            set("visibility", row.visibility),
            set("owner", row.owner.clone()),
            set("container_format", row.container_format.clone()),
            set("disk_format", row.disk_format.clone()),
            set("min_disk", row.min_disk),
            set("min_ram", row.min_ram),
            set("protected", row.protected),
            set("os_hidden", row.os_hidden),
            set("updated_at", now),
        ];
        tx.update::<ImageRow>(eq("id", &id), &values)?;
        save_belongings(tx, &image)?;
        let moved = changes.iter().any(|c| c.name == "locations");
        if moved {
            let row = &image.row;
            let values = [
                set("status", row.status),
                set("size", row.size),
                set("checksum", row.checksum.clone()),
                set("os_hash_algo", row.os_hash_algo.clone()),
                set("os_hash_value", row.os_hash_value.clone()),
            ];
            tx.update::<ImageRow>(eq("id", &id), &values)?;
            save_locations(tx, &old, &image)?;
            let owner = row.owner.as_deref().unwrap_or_default();
            limits::keep_quota(tx, state.quota, owner, 0)?;
        }
        Ok((image, moved))
    };
    let (image, moved) = glance.db.write(write).await?;
    if moved && let Err(e) = remove_dropped(&glance, &image.row.id).await {
        tracing::warn!(image.id = %image.row.id, "a copy could not be removed yet: {e}");
        glance.poke_files();
    }
    Reply::ok(&views::image(&image, &glance))
}

/// Asks for the addresses that a patch names, if the caller may name any.
async fn find_places(
    glance: &Glance,
    req: &Req,
    changes: &[patch::Change],
) -> Result<locations::Findings> {
    let mut found = locations::Findings::new();
    if changes.iter().all(|c| c.name != "locations") {
        return Ok(found);
    }
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    for change in changes.iter().filter(|c| c.name == "locations") {
        req.enforce(locations::rule(change.op), &image.target())?;
        for url in locations::unknown(&image, &glance.conf, &glance.stores, change)? {
            let store = super::locations::reader(glance, &url)?.to_string();
            let there = sdk::fetch(&url, &glance.web)
                .await
                .map_err(|e| Error::bad_request("Invalid location").log(e.log_message()))?;
            let size = there.length().filter(|size| *size > 0);
            let size = size.ok_or_else(|| Error::bad_request("Invalid location"))?;
            found.insert(url, locations::Found { store, size });
        }
    }
    Ok(found)
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let policy = Arc::clone(req.policy());
    let now = glance.clock.now();
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("delete_image", &ctx, &image.target())?;
        if image.row.protected {
            return Err(Error::forbidden(format!(
                "Image {id} is protected and cannot be deleted."
            )));
        }
        let status = match drop_locations(tx, eq("image", &id))? {
            0 => ImageStatus::Deleted,
            _ => ImageStatus::PendingDelete,
        };
        let values = [
            set("status", status),
            set("deleted_at", now),
            set("updated_at", now),
            ("upload", cell(None::<String>)),
            ("staged", cell(None::<String>)),
        ];
        tx.update::<ImageRow>(eq("id", &id), &values)?;
        tx.delete::<PropertyRow>(eq("image", &id))?;
        tx.delete::<TagRow>(eq("image", &id))?;
        tx.delete::<MemberRow>(eq("image", &id))?;
        Ok(image.row)
    };
    let row = glance.db.write(write).await?;
    tracing::info!(image.id = %row.id, "image deleted");
    // The image is gone already; if its file resists, the reconciler tries again.
    if let Some(cache) = &glance.cache
        && let Err(e) = cache.forget(&glance, &row.id).await
    {
        tracing::warn!(image.id = %row.id, "its cached copy could not be removed yet: {e}");
    }
    let mut removed = remove_dropped(&glance, &row.id).await;
    if let (Ok(()), Some(staged)) = (&removed, &row.staged) {
        removed = crate::upload::remove_file(&glance, staged).await;
    }
    if let Err(e) = removed {
        tracing::warn!(image.id = %row.id, "its file could not be removed yet: {e}");
        glance.poke_files();
    }
    Ok(Reply::empty(204))
}
