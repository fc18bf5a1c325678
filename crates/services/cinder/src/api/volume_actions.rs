//! `POST /volumes/{id}/action`.

use crate::Cinder;
use crate::api::volumes::set_column;
use crate::db::{self, AttachmentRow, VolumeRow};
use crate::volume::attach::{self, NewAttachment};
use crate::volume::invalid_volume;
use crate::volume::status::{AttachStatus, Verb, VolumeStatus, transition};
use base::{Error, Json, Result};
use cinder_types::VolumeClient;
use oslo_db::{Tx, eq, set};
use oslo_http::{Reply, Req, is_true};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

/// JSON or Python's words for a flag.
fn flag(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(b)) => *b,
        Some(Value::String(text)) => is_true(text),
        Some(Value::Number(n)) => n.as_i64() == Some(1),
        _ => false,
    }
}

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_string)
}

pub async fn extend(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-extend")?;
    let size = match body.get("new_size") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_i64(),
        None => None,
    };
    let size =
        size.ok_or_else(|| Error::bad_request("New volume size must be specified as an integer."))?;
    let attached = req.at_least(3, 42);
    if attached {
        let own = oslo_policy::Target::project(req.ctx.project());
        req.enforce("volume:extend_attached_volume", &own)?;
    }
    crate::volume::extend::extend(&cinder, &req.ctx, req.param("id"), size, attached).await?;
    Ok(Reply::empty(202))
}

pub async fn revert(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("revert")?;
    let snapshot = text(&body, "snapshot_id");
    crate::volume::revert::revert(&cinder, &req.ctx, req.param("id"), snapshot).await?;
    Ok(Reply::empty(202))
}

pub async fn force_delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    crate::volume::delete::delete(&cinder, &req.ctx, req.param("id"), true, false).await?;
    Ok(Reply::empty(202))
}

/// An administrator's word goes past the transition table.
pub async fn reset_status(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-reset_status")?;
    if let Some(status) = text(&body, "status") {
        set_column(&cinder, &req, "status", VolumeStatus::parse(&status)?).await?;
    }
    if text(&body, "attach_status").as_deref() == Some("detached") {
        let (ctx, id, now) = (
            req.ctx.clone(),
            req.param("id").to_string(),
            cinder.clock.now(),
        );
        let forget = move |tx: &mut Tx| {
            db::volumes::lock(tx, &ctx, &id)?;
            tx.delete::<AttachmentRow>(eq("volume_id", &id))?;
            attach::settle(tx, &id, now)
        };
        cinder.db.write(forget).await?;
    }
    Ok(Reply::empty(202))
}

pub async fn set_bootable(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-set_bootable")?;
    let Some(bootable) = body.get("bootable") else {
        return Err(Error::bad_request("Must specify bootable in request."));
    };
    set_column(&cinder, &req, "bootable", flag(Some(bootable))).await?;
    Ok(Reply::empty(200))
}

pub async fn update_readonly_flag(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-update_readonly_flag")?;
    let read_only = flag(body.get("readonly"));
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let row = cinder
        .db
        .read(move |tx| db::volumes::get(tx, &ctx, &id))
        .await?;
    if row.status != VolumeStatus::Available {
        return Err(invalid_volume(format!(
            "Volume {} status must be available to update readonly flag, but current status is: {}.",
            row.id, row.status
        )));
    }
    set_column(&cinder, &req, "read_only", Some(read_only)).await?;
    Ok(Reply::empty(202))
}

async fn step(cinder: &Cinder, req: &Req, verb: Verb, what: &'static str) -> Result<Reply> {
    let (ctx, id, now) = (
        req.ctx.clone(),
        req.param("id").to_string(),
        cinder.clock.now(),
    );
    cinder
        .db
        .write(move |tx| {
            let row = db::volumes::get(tx, &ctx, &id)?;
            if transition(tx, &id, verb, now, &[])? {
                return Ok(());
            }
            Err(invalid_volume(format!(
                "Volume status must be {} to {what}, but the status is {}.",
                verb.expected(),
                row.status
            )))
        })
        .await?;
    Ok(Reply::empty(202))
}

pub async fn reserve(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    step(&cinder, &req, Verb::LegacyReserve, "reserve").await
}

pub async fn unreserve(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    step(&cinder, &req, Verb::LegacyUnreserve, "unreserve").await
}

pub async fn begin_detaching(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    step(&cinder, &req, Verb::BeginDetaching, "detach").await
}

pub async fn roll_detaching(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    step(&cinder, &req, Verb::RollDetaching, "roll detaching").await
}

/// The older way to attach: the caller has done it and tells us.
pub async fn attach(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-attach")?;
    let (ctx, id, now) = (
        req.ctx.clone(),
        req.param("id").to_string(),
        cinder.clock.now(),
    );
    cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &id)?;
            let free = volume.multiattach
                || matches!(
                    volume.status,
                    VolumeStatus::Available | VolumeStatus::Attaching
                );
            if !free || !transition(tx, &id, Verb::Attach, now, &[])? {
                return Err(invalid_volume(format!(
                    "Volume status must be available or attaching to attach, but the status is {}.",
                    volume.status
                )));
            }
            tx.insert(&AttachmentRow {
                id: base::new_id(),
                volume_id: volume.id,
                project_id: volume.project_id,
                instance_id: text(&body, "instance_uuid"),
                host: text(&body, "host_name"),
                mountpoint: text(&body, "mountpoint"),
                status: AttachStatus::Attached,
                mode: text(&body, "mode").or(Some("rw".to_string())),
                connector: Json(Value::Null),
                connection_info: Json(json!({})),
                attached_at: Some(now),
                created_at: now,
                updated_at: None,
            })?;
            attach::settle(tx, &id, now)
        })
        .await?;
    Ok(Reply::empty(202))
}

pub async fn detach(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-detach")?;
    end_attachment(cinder, req, body).await
}

/// The same under a rule for administrators. What nova says a server has stays with it here too.
pub async fn force_detach(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-force_detach")?;
    end_attachment(cinder, req, body).await
}

async fn end_attachment(cinder: Arc<Cinder>, req: Req, body: Object) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let (volume, attachments) = cinder
        .db
        .read(move |tx| {
            let volume = db::volumes::get(tx, &ctx, &id)?;
            let attachments = db::attachments::of_volume(tx, &id)?;
            Ok((volume, attachments))
        })
        .await?;
    let wanted = text(&body, "attachment_id");
    if wanted.is_none() && attachments.len() > 1 {
        return Err(invalid_volume(format!(
            "Detach volume failed: More than one attachment, but no attachment_id provided for volume {}.",
            volume.id
        )));
    }
    let found = attachments
        .into_iter()
        .find(|a| wanted.as_ref().is_none_or(|w| *w == a.id));
    let Some(attachment) = found else {
        if volume.status == VolumeStatus::Available {
            return Ok(Reply::empty(202));
        }
        return Err(invalid_volume("Volume is not attached."));
    };
    attach::delete(&cinder, &req.ctx, &attachment.id).await?;
    Ok(Reply::empty(202))
}

async fn get(cinder: &Cinder, req: &Req) -> Result<VolumeRow> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .read(move |tx| db::volumes::get(tx, &ctx, &id))
        .await
}

pub async fn initialize_connection(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-initialize_connection")?;
    let connector = body.get("connector").cloned().unwrap_or_default();
    let volume = get(&cinder, &req).await?;
    let read_only = volume.read_only == Some(true);
    let info = attach::initialize(&cinder, &req.ctx, &volume, None, &connector, read_only).await?;
    Reply::ok(&json!({"connection_info": info}))
}

pub async fn terminate_connection(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-terminate_connection")?;
    let connector = body.get("connector").cloned().unwrap_or_default();
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let attachments = cinder
        .db
        .read(move |tx| {
            db::volumes::get(tx, &ctx, &id)?;
            db::attachments::of_volume(tx, &id)
        })
        .await?;
    for attachment in &attachments {
        attach::require_not_used_by_nova(&cinder, &req.ctx, attachment).await?;
    }
    let volume = get(&cinder, &req).await?;
    if let Some(backend) = volume.backend() {
        VolumeClient::new(&cinder.bus)
            .server(backend)
            .terminate_connection(&req.ctx, volume.id.clone(), None, connector)
            .await?;
    }
    Ok(Reply::empty(202))
}

async fn change_image_metadata(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut Object) -> Result<()> + Send + Sync + 'static,
) -> Result<Object> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .write(move |tx| {
            let mut pairs = db::volumes::lock(tx, &ctx, &id)?.image_metadata.0;
            change(&mut pairs)?;
            let values = [set("image_metadata", Json(pairs.clone()))];
            tx.update::<VolumeRow>(eq("id", &id), &values)?;
            Ok(pairs)
        })
        .await
}

pub async fn set_image_metadata(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-set_image_metadata")?;
    let new = body
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let pairs = change_image_metadata(&cinder, &req, move |pairs| {
        pairs.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"metadata": pairs}))
}

pub async fn unset_image_metadata(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-unset_image_metadata")?;
    let key = text(&body, "key").unwrap_or_default();
    change_image_metadata(&cinder, &req, move |pairs| {
        let gone = pairs.shift_remove(&key);
        gone.map(drop)
            .ok_or_else(|| Error::not_found("Metadata item was not found"))
    })
    .await?;
    Ok(Reply::empty(200))
}

pub async fn show_image_metadata(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let volume = get(&cinder, &req).await?;
    Reply::ok(&json!({"metadata": volume.image_metadata.0}))
}

/// The claim of a caller that already has the volume's id.
impl NewAttachment {
    pub fn from_body(body: &Object, mode: bool) -> NewAttachment {
        NewAttachment {
            volume_id: text(body, "volume_uuid").unwrap_or_default(),
            instance_id: text(body, "instance_uuid"),
            connector: body.get("connector").cloned(),
            mode: text(body, "mode").filter(|_| mode),
        }
    }
}
