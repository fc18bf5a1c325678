//! Members: projects with whom an image is shared, and what they think of it.

use super::views;
use crate::Glance;
use crate::db::MemberRow;
use crate::db::images::{Image, get, get_for_update};
use base::{Dir, Error, Kind, Result};
use glance_types::{MemberStatus, Visibility};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

/// The image as a policy target, seen as `member`.
fn target(image: &Image, member: &str) -> Value {
    let mut target = image.target();
    target["member_id"] = json!(member);
    target
}

fn find(tx: &mut Tx, image: &str, member: &str) -> Result<MemberRow> {
    let found = tx.find::<MemberRow>(all([eq("image", image), eq("member", member)]))?;
    found.ok_or_else(|| {
        Error::not_found(format!(
            "{member} not found in the member list of the image {image}."
        ))
    })
}

fn only_shared(image: &Image) -> Result<()> {
    if image.row.visibility == Visibility::Shared {
        return Ok(());
    }
    Err(Error::forbidden("Only shared images have members."))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let policy = Arc::clone(req.policy());
    let read = move |tx: &mut Tx| {
        let image = get(tx, &ctx, &id)?;
        policy.enforce("get_members", &ctx, &image.target())?;
        only_shared(&image)?;
        let owns = ctx.is_admin || image.row.owner == ctx.project_id;
        // A member sees itself only.
        let cond = match owns {
            true => eq("image", &id),
            false => all([eq("image", &id), eq("member", ctx.project())]),
        };
        tx.select_sorted::<MemberRow>(
            cond,
            &[("created_at", Dir::Asc), ("member", Dir::Asc)],
            None,
        )
    };
    let rows = glance.db.read(read).await?;
    let members: Vec<_> = rows.iter().map(views::member).collect();
    Reply::ok(&json!({"members": members, "schema": "/v2/schemas/members"}))
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, member) = (Arc::clone(req.policy()), req.param("member_id").to_string());
    let read = move |tx: &mut Tx| {
        let image = get(tx, &ctx, &id)?;
        let row = find(tx, &id, &member)?;
        // Whether somebody else is a member is none of the caller's business.
        policy
            .enforce("get_member", &ctx, &target(&image, &member))
            .map_err(|_| {
                Error::not_found(format!(
                    "{member} not found in the member list of the image {id}."
                ))
            })?;
        Ok(row)
    };
    Reply::ok(&views::member(&glance.db.read(read).await?))
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body = req.json.as_ref();
    let member = body
        .and_then(|b| b["member"].as_str())
        .unwrap_or_default()
        .to_string();
    if member.is_empty() {
        return Err(Error::bad_request("Member can't be empty"));
    }
    if member.chars().count() > 255 {
        return Err(Error::bad_request(
            "Invalid member: a member's id has at most 255 characters.",
        ));
    }
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, quota) = (Arc::clone(req.policy()), glance.conf.image_member_quota);
    let now = glance.clock.now();
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("add_member", &ctx, &target(&image, &member))?;
        only_shared(&image)?;
        let same = all([eq("image", &id), eq("member", &member)]);
        if tx.exists::<MemberRow>(same)? {
            return Err(Error::conflict(format!(
                "The target member {member} is already associated with image {id}."
            )));
        }
        let have = tx.count::<MemberRow>(eq("image", &id))?;
        if quota >= 0 && have as i64 >= quota {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "The limit has been exceeded on the number of allowed image members for this image. Attempted: {}, Maximum: {quota}",
                    have + 1
                ),
            ));
        }
        let row = MemberRow {
            image: id.clone(),
            member: member.clone(),
            status: MemberStatus::Pending,
            created_at: now,
            updated_at: now,
        };
        tx.insert(&row)?;
        Ok(row)
    };
    Reply::ok(&views::member(&glance.db.write(write).await?))
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let word = req
        .json
        .as_ref()
        .and_then(|b| b["status"].as_str())
        .unwrap_or_default();
    let status = MemberStatus::parse(word)
        .map_err(|_| Error::bad_request("Status can be one of: pending, accepted, rejected."))?;
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, member) = (Arc::clone(req.policy()), req.param("member_id").to_string());
    let now = glance.clock.now();
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        let mut row = find(tx, &id, &member)?;
        policy.enforce("modify_member", &ctx, &target(&image, &member))?;
        only_shared(&image)?;
        (row.status, row.updated_at) = (status, now);
        let values = [set("status", status), set("updated_at", now)];
        tx.update::<MemberRow>(all([eq("image", &id), eq("member", &member)]), &values)?;
        Ok(row)
    };
    Reply::ok(&views::member(&glance.db.write(write).await?))
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, member) = (Arc::clone(req.policy()), req.param("member_id").to_string());
    let write = move |tx: &mut Tx| {
        let image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("delete_member", &ctx, &target(&image, &member))?;
        only_shared(&image)?;
        find(tx, &id, &member)?;
        tx.delete::<MemberRow>(all([eq("image", &id), eq("member", &member)]))
    };
    glance.db.write(write).await?;
    Ok(Reply::empty(204))
}
