//! Attachments: who claims a volume, and what that makes of the volume's status.

use super::invalid_volume;
use super::status::{AttachStatus, LENT, Verb, VolumeStatus, transition};
use crate::Cinder;
use crate::db::{self, AttachmentRow, VolumeRow};
use crate::message::{Action, Detail, Message};
use base::{Error, Json, Kind, Result, Timestamp};
use cinder_types::VolumeClient;
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, is_in, set};
use sdk::{Caller, Method};
use serde_json::{Value, json};

/// What a caller wants to attach.
#[derive(Clone, Debug, Default)]
pub struct NewAttachment {
    pub volume_id: String,
    pub instance_id: Option<String>,
    pub connector: Option<Value>,
    pub mode: Option<String>,
}

/// Reserves the volume and, if the connector is known already, connects it.
pub async fn create(
    cinder: &Cinder,
    ctx: &RequestContext,
    new: NewAttachment,
    mark_attached: bool,
) -> Result<AttachmentRow> {
    let connector = new
        .connector
        .clone()
        .filter(|c| !c.is_null() && *c != json!({}));
    let (ctx2, now) = (ctx.clone(), cinder.clock.now());
    let row = cinder
        .db
        .write(move |tx| reserve(tx, &ctx2, &new, now))
        .await?;
    let Some(connector) = connector else {
        return Ok(row);
    };
    match connect(cinder, ctx, &row.id, connector, mark_attached).await {
        Ok(row) => Ok(row),
        Err(error) => {
            // The caller never learns the id, so the claim must not stay.
            let (id, volume_id) = (row.id, row.volume_id);
            let forget = move |tx: &mut Tx| {
                tx.delete::<AttachmentRow>(eq("id", &id))?;
                settle(tx, &volume_id, now)
            };
            cinder.db.write(forget).await?;
            Err(error)
        }
    }
}

fn reserve(
    tx: &mut Tx,
    ctx: &RequestContext,
    new: &NewAttachment,
    now: Timestamp,
) -> Result<AttachmentRow> {
    let volume = db::volumes::lock(tx, ctx, &new.volume_id)?;
    let verb = if volume.multiattach {
        Verb::ReserveShared
    } else {
        Verb::Reserve
    };
    if !transition(tx, &volume.id, verb, now, &[])? {
        // The same server may claim it twice: a resize or a live migration has two hosts for a while.
        let busy = matches!(volume.status, VolumeStatus::InUse | VolumeStatus::Reserved);
        let same = busy
            && new.instance_id.is_some()
            && db::attachments::of_volume(tx, &volume.id)?
                .iter()
                .any(|a| a.instance_id == new.instance_id);
        if !same {
            return Err(invalid_volume(format!(
                "Volume {} status must be {} to reserve, but the current status is {}.",
                volume.id,
                verb.expected(),
                volume.status
            )));
        }
    }
    let row = AttachmentRow {
        id: base::new_id(),
        volume_id: volume.id,
        project_id: volume.project_id,
        instance_id: new.instance_id.clone(),
        host: None,
        mountpoint: None,
        status: AttachStatus::Reserved,
        mode: new.mode.clone(),
        connector: Json(Value::Null),
        connection_info: Json(json!({})),
        attached_at: None,
        created_at: now,
        updated_at: None,
    };
    tx.insert(&row)?;
    Ok(row)
}

/// Asks the agent how `connector` reaches the volume, and keeps the answer. Repeating it is harmless.
pub async fn connect(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    connector: Value,
    mark_attached: bool,
) -> Result<AttachmentRow> {
    let (ctx2, id2) = (ctx.clone(), id.to_string());
    let (attachment, volume) = cinder
        .db
        .read(move |tx| {
            let attachment = db::attachments::get(tx, &ctx2, &id2)?;
            let volume = db::volumes::find(tx, &attachment.volume_id)?
                .ok_or_else(|| db::volumes::not_found(&attachment.volume_id))?;
            Ok((attachment, volume))
        })
        .await?;
    if volume.status == VolumeStatus::Error {
        return Err(invalid_volume(format!(
            "Volume attachments can not be updated if the volume is in an error state. The Volume {} currently \
             has a status of: {} ",
            volume.id, volume.status
        )));
    }
    let read_only = volume.read_only == Some(true) || attachment.mode.as_deref() == Some("ro");
    let asked = initialize(cinder, ctx, &volume, Some(id), &connector, read_only).await;
    let info = match asked {
        Ok(info) => info,
        Err(error) => {
            let (action, detail) = (Action::UpdateAttachment, Detail::AttachError);
            let message = Message::of_volume(&volume, &ctx.request_id, action, detail);
            let (now, ttl) = (cinder.clock.now(), cinder.message_ttl());
            let write = move |tx: &mut Tx| message.clone().write(tx, now, ttl);
            cinder.db.write(write).await?;
            return Err(error);
        }
    };
    let mut flat = info["data"].as_object().cloned().unwrap_or_default();
    flat.insert(
        "driver_volume_type".into(),
        info["driver_volume_type"].clone(),
    );
    flat.insert("attachment_id".into(), json!(id));
    let text = |key: &str| connector[key].as_str().map(str::to_string);
    let (host, mountpoint) = (text("host"), text("mountpoint"));
    let mode = attachment
        .mode
        .clone()
        .or_else(|| text("mode"))
        .unwrap_or_else(|| if read_only { "ro" } else { "rw" }.to_string());
    let (id, now) = (id.to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let gone = || Error::not_found(format!("Volume attachment {id} could not be found."));
            // Whoever completes it meanwhile waits, or has.
            let row = tx
                .find_for_update::<AttachmentRow>(eq("id", &id))?
                .ok_or_else(gone)?;
            let done = mark_attached || row.status == AttachStatus::Attached;
            let (status, at) = if done {
                (AttachStatus::Attached, row.attached_at.or(Some(now)))
            } else {
                (AttachStatus::Attaching, None)
            };
            let values = [
                set("status", status),
                set("attached_at", at),
                set("host", host.clone()),
                set("mountpoint", mountpoint.clone()),
                set("mode", mode.clone()),
                set("connector", Json(connector.clone())),
                set("connection_info", Json(Value::Object(flat.clone()))),
                set("updated_at", now),
            ];
            tx.update::<AttachmentRow>(eq("id", &id), &values)?;
            settle(tx, &row.volume_id, now)?;
            tx.find::<AttachmentRow>(eq("id", &id))?.ok_or_else(gone)
        })
        .await
}

/// The connection, from the volume's agent.
pub async fn initialize(
    cinder: &Cinder,
    ctx: &RequestContext,
    volume: &VolumeRow,
    attachment_id: Option<&str>,
    connector: &Value,
    read_only: bool,
) -> Result<Value> {
    let backend = volume.backend().ok_or_else(|| {
        invalid_volume(format!("Volume {} is not on any backend yet.", volume.id))
    })?;
    let mut info = VolumeClient::new(&cinder.bus)
        .server(backend)
        .initialize_connection(
            ctx,
            volume.id.clone(),
            attachment_id.map(str::to_string),
            connector.clone(),
            read_only,
        )
        .await?;
    let kind = volume.volume_type_id.clone();
    let limits = cinder
        .db
        .read(move |tx| db::qos_specs::of_type(tx, &kind))
        .await?;
    if let Some(data) = info["data"].as_object_mut() {
        let limits = super::qos::front_end(limits.as_ref(), volume.size);
        data.insert("qos_specs".into(), limits);
        data.entry("encrypted").or_insert(json!(false));
    }
    Ok(info)
}

/// The server has the volume.
pub async fn complete(cinder: &Cinder, ctx: &RequestContext, id: &str) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let row = db::attachments::get(tx, &ctx, &id)?;
            let values = [
                set("status", AttachStatus::Attached),
                set("attached_at", row.attached_at.unwrap_or(now)),
                set("updated_at", now),
            ];
            tx.update::<AttachmentRow>(eq("id", &id), &values)?;
            settle(tx, &row.volume_id, now)
        })
        .await
}

/// Gives the volume back; the attachments that remain.
pub async fn delete(cinder: &Cinder, ctx: &RequestContext, id: &str) -> Result<Vec<AttachmentRow>> {
    let (ctx2, id2) = (ctx.clone(), id.to_string());
    let (attachment, volume) = cinder
        .db
        .read(move |tx| {
            let attachment = db::attachments::get(tx, &ctx2, &id2)?;
            let volume = db::volumes::find(tx, &attachment.volume_id)?;
            Ok((attachment, volume))
        })
        .await?;
    require_not_used_by_nova(cinder, ctx, &attachment).await?;
    if let Some(backend) = volume.as_ref().and_then(VolumeRow::backend)
        && !attachment.connector.0.is_null()
    {
        let told = VolumeClient::new(&cinder.bus)
            .server(backend)
            .terminate_connection(
                ctx,
                attachment.volume_id.clone(),
                Some(attachment.id.clone()),
                attachment.connector.0.clone(),
            )
            .await;
        // A backend that is away must not keep a server from being deleted; the backend
        // ends exports of attachments that cinder does not know.
        if let Err(error) = told {
            tracing::warn!(%error, attachment.id = id, "the backend was not told of the end of a connection");
        }
    }
    let (id, now) = (id.to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            tx.delete::<AttachmentRow>(eq("id", &id))?;
            settle(tx, &attachment.volume_id, now)?;
            db::attachments::of_volume(tx, &attachment.volume_id)
        })
        .await
}

/// Whether the request comes from a service: by service token, or as a service itself.
pub fn is_service(ctx: &RequestContext) -> bool {
    let service = |r: &String| r.eq_ignore_ascii_case("service");
    ctx.service_roles.iter().any(service) || ctx.roles.iter().any(service)
}

/// Users may not take a volume from under a server that nova believes has it (OSSA-2023-003).
pub async fn require_not_used_by_nova(
    cinder: &Cinder,
    ctx: &RequestContext,
    attachment: &AttachmentRow,
) -> Result<()> {
    let Some(server) = &attachment.instance_id else {
        return Ok(());
    };
    if is_service(ctx) || attachment.connector.0.is_null() {
        return Ok(());
    }
    let path = format!(
        "/v2.1/servers/{}/os-volume_attachments/{}",
        oslo_http::percent_encode(server),
        oslo_http::percent_encode(&attachment.volume_id)
    );
    let asked = cinder
        .sdk
        .with_version("2.89")
        .request(Caller::Service, "compute", Method::GET, &path, None)
        .await;
    match asked {
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        Ok(answer) => {
            let theirs: Value = answer.key("volumeAttachment")?;
            if theirs["attachment_id"]
                .as_str()
                .is_some_and(|a| a != attachment.id)
            {
                return Ok(());
            }
            Err(nova_uses(server))
        }
        // Not knowing is no permission.
        Err(_) => Err(nova_uses(server)),
    }
}

fn nova_uses(server: &str) -> Error {
    Error::conflict(format!(
        "Detach volume from instance {server} using the Compute API"
    ))
    .class("ConflictNovaUsingAttachment")
}

/// Makes the volume's status follow from its attachments.
pub fn settle(tx: &mut Tx, volume_id: &str, now: Timestamp) -> Result<()> {
    // Whoever else changes this volume's attachments waits here, and then sees ours.
    tx.find_for_update::<VolumeRow>(eq("id", volume_id))?;
    let attachments = db::attachments::of_volume(tx, volume_id)?;
    let any = |status| attachments.iter().any(|a| a.status == status);
    let verb = if attachments.is_empty() {
        Verb::Detached
    } else if any(AttachStatus::Attached) {
        Verb::Attached
    } else if any(AttachStatus::Attaching) {
        Verb::Attach
    } else {
        Verb::StillReserved
    };
    // A volume in another status (an error, an extension in progress) keeps it.
    transition(tx, volume_id, verb, now, &[])?;
    if verb == Verb::Detached {
        // An extension or a backup of an attached volume ends in what the volume is by then.
        let working = LENT.iter().chain(&[VolumeStatus::Extending]);
        tx.update::<VolumeRow>(
            oslo_db::all([eq("id", volume_id), is_in("status", working)]),
            &[set("previous_status", VolumeStatus::Available)],
        )?;
    }
    Ok(())
}
