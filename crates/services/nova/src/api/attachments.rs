//! `/servers/{id}/os-volume_attachments`.

use crate::Nova;
use crate::db::block_devices::{self, BlockDeviceRow};
use crate::db::instances::InstanceRow;
use crate::db::reservations;
use crate::flows::device::{Attach, Detach};
use crate::flows::volume::Volume;
use crate::instance::status::VmState;
use crate::instance::{self, Verb, reserve};
use crate::volume;
use base::{Error, Kind, Result, new_id};
use oslo_http::{Reply, Req, is_true};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(d: &BlockDeviceRow, req: &Req) -> Value {
    let mut out = json!({"serverId": d.instance_id, "volumeId": d.volume_id, "device": format!("/dev/{}", d.device_name)});
    if req.at_least(2, 89) {
        out["attachment_id"] = json!(d.attachment_id);
        out["bdm_uuid"] = json!(d.id);
    } else {
        out["id"] = json!(d.volume_id);
    }
    if req.at_least(2, 70) {
        out["tag"] = json!(d.tag);
    }
    if req.at_least(2, 79) {
        out["delete_on_termination"] = json!(d.delete_on_termination);
    }
    out
}

async fn devices(nova: &Nova, row: &InstanceRow) -> Result<Vec<BlockDeviceRow>> {
    let id = row.id.clone();
    nova.db
        .read(move |tx| block_devices::of_instance(tx, &id))
        .await
}

/// GET all, with limit and offset.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let number = |n: &str| req.query.get(n).and_then(|v| v.parse::<usize>().ok());
    let all = devices(&nova, &row).await?;
    let page = all
        .iter()
        .skip(number("offset").unwrap_or(0))
        .take(number("limit").unwrap_or(usize::MAX));
    let views: Vec<Value> = page.map(|d| view(d, &req)).collect();
    Reply::ok(&json!({"volumeAttachments": views}))
}

async fn find(nova: &Nova, row: &InstanceRow, volume_id: &str) -> Result<BlockDeviceRow> {
    let found = devices(nova, row)
        .await?
        .into_iter()
        .find(|d| d.volume_id == volume_id);
    found.ok_or_else(|| {
        Error::not_found(format!(
            "Instance {} is not attached to volume {volume_id}",
            row.id
        ))
    })
}

/// GET one.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let device = find(&nova, &row, req.param("volume_id")).await?;
    Reply::ok(&json!({"volumeAttachment": view(&device, &req)}))
}

const STATES: &[VmState] = &[
    VmState::Active,
    VmState::Paused,
    VmState::Stopped,
    VmState::Suspended,
];

const ATTACH: Verb = Verb {
    name: "attach_volume",
    action: "attach_volume",
    states: STATES,
    tasks: &[None],
    task: None,
};

const DETACH: Verb = Verb {
    name: "detach_volume",
    action: "detach_volume",
    states: STATES,
    tasks: &[None],
    task: None,
};

/// POST: reserves the volume in the user's name, then a flow attaches it.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    ATTACH.check(&req.ctx, &row)?;
    let body = req
        .json
        .as_ref()
        .map(|j| j["volumeAttachment"].clone())
        .unwrap_or_default();
    let volume_id = body["volumeId"].as_str().unwrap_or("").to_string();
    let found = volume::get(&nova.sdk, &req.ctx, &volume_id).await?;
    let taken = devices(&nova, &row).await?;
    if taken.iter().any(|d| d.volume_id == volume_id) {
        return Err(Error::bad_request(format!(
            "Invalid volume: volume {volume_id} already attached"
        )));
    }
    if found.status != "available" && !found.multiattach {
        let state = &found.status;
        return Err(Error::bad_request(format!(
            "Invalid volume: volume '{volume_id}' status must be 'available'. Currently in '{state}' status."
        )));
    }
    let device_name = device_name(&row, &taken, body["device"].as_str())?;
    let attachment = reserve::reserve(&nova, &req.ctx, &volume_id, &row.id).await?;
    let delete = body["delete_on_termination"]
        .as_bool()
        .unwrap_or_else(|| body["delete_on_termination"].as_str().is_some_and(is_true));
    let device = BlockDeviceRow {
        id: new_id(),
        instance_id: row.id.clone(),
        volume_id: volume_id.clone(),
        attachment_id: Some(attachment.clone()),
        device_name,
        boot_index: None,
        delete_on_termination: delete,
        tag: body["tag"].as_str().map(str::to_string),
        size_gb: found.size,
        connection_info: None,
        created_at: nova.clock.now(),
    };
    let flow = Attach {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        device: Volume { volume_id },
    };
    let copy = device.clone();
    let write = instance::submit_with(&nova, &req.ctx, &row.id, &ATTACH, flow, move |tx| {
        tx.insert(&copy)?;
        reservations::close(tx, &copy.instance_id, &copy.volume_id)
    });
    if let Err(e) = write.await {
        let volume_id = &device.volume_id;
        reserve::give_back(&nova, &attachment, volume_id, &row.id).await?;
        return Err(e);
    }
    Reply::ok(&json!({"volumeAttachment": view(&device, &req)}))
}

/// The asked device if it is free, else the next free letter.
fn device_name(row: &InstanceRow, taken: &[BlockDeviceRow], asked: Option<&str>) -> Result<String> {
    let used = |name: &str| {
        taken.iter().any(|d| d.device_name == name)
            || row.root_device_name.as_deref() == Some(&format!("/dev/{name}"))
    };
    if let Some(asked) = asked
        .map(|a| a.trim_start_matches("/dev/"))
        .filter(|a| !a.is_empty())
    {
        // The hypervisor numbers virtio disks in order; the letter asked for is a wish (upstream's libvirt driver ignores it too).
        if used(asked) {
            return Err(Error::conflict(format!(
                "The supplied device path (/dev/{asked}) is in use."
            )));
        }
        if asked.len() == 3 && asked.starts_with("vd") {
            return Ok(asked.to_string());
        }
    }
    let free = (b'b'..=b'z')
        .map(|c| format!("vd{}", c as char))
        .find(|n| !used(n));
    free.ok_or_else(|| Error::new(Kind::Forbidden, "The maximum allowed number of disk devices (26) to attach to a single instance has been exceeded."))
}

/// DELETE: 202, done by a flow.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let device = find(&nova, &row, req.param("volume_id")).await?;
    if device.boot_index == Some(0) {
        return Err(Error::bad_request("Can't detach root device volume"));
    }
    let flow = Detach {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        device: Volume {
            volume_id: device.volume_id,
        },
    };
    instance::submit(&nova, &req.ctx, &row.id, &DETACH, flow).await?;
    Ok(Reply::empty(202))
}
