//! `/servers/{id}/os-interface`.

use crate::Nova;
use crate::db::actions;
use crate::db::instances::{self, InstanceRow};
use crate::flows::interface::{AttachInterface, DetachInterface, make_port};
use crate::instance::status::VmState;
use crate::instance::{self, check_lock, invalid_state};
use crate::network::{self, Port, RequestedNetwork};
use base::{Error, Kind, Result};
use oslo_http::{Reply, Req};
use sdk::Caller;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn view(port: &Port, req: &Req, tag: Option<&str>) -> Value {
    let fixed: Vec<Value> = port
        .fixed_ips
        .iter()
        .map(|f| json!({"ip_address": f.ip_address, "subnet_id": f.subnet_id}))
        .collect();
    let mut out = json!({"net_id": port.network_id, "port_id": port.id, "mac_addr": port.mac_address, "port_state": port.status, "fixed_ips": fixed});
    if req.at_least(2, 70) {
        out["tag"] = json!(tag);
    }
    out
}

fn tag_of<'r>(row: &'r InstanceRow, port: &str) -> Option<&'r str> {
    row.network_info
        .0
        .iter()
        .find(|p| p.id == port)
        .and_then(|p| p.tag.as_deref())
}

/// GET all.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let ports = network::ports_of(&nova.sdk, &row.id).await?;
    let views: Vec<Value> = ports
        .iter()
        .map(|p| view(p, &req, tag_of(&row, &p.id)))
        .collect();
    Reply::ok(&json!({"interfaceAttachments": views}))
}

async fn port_of(nova: &Nova, row: &InstanceRow, id: &str) -> Result<Port> {
    let missing = || {
        Error::not_found(format!(
            "Instance {} does not have a port with id {id}",
            row.id
        ))
    };
    let port = network::get_port(&nova.sdk, Caller::Service, id)
        .await
        .map_err(|e| if e.is_not_found() { missing() } else { e })?;
    if port.device_id == row.id {
        Ok(port)
    } else {
        Err(missing())
    }
}

/// GET one.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let port = port_of(&nova, &row, req.param("port_id")).await?;
    Reply::ok(&json!({"interfaceAttachment": view(&port, &req, tag_of(&row, &port.id))}))
}

const STATES: &[VmState] = &[VmState::Active, VmState::Paused, VmState::Stopped];

/// POST: by network, by port, or with neither if there is one network only.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    check_lock(&req.ctx, &row)?;
    if !STATES.contains(&row.vm_state) || row.task_state.is_some() {
        return Err(invalid_state(&row, "attach_interface", &[None]));
    }
    let body = req
        .json
        .as_ref()
        .map(|j| j["interfaceAttachment"].clone())
        .unwrap_or_default();
    let text = |v: &Value| v.as_str().map(str::to_string);
    let wanted = RequestedNetwork {
        network_id: text(&body["net_id"]),
        port_id: text(&body["port_id"]),
        fixed_ip: body["fixed_ips"]
            .get(0)
            .and_then(|f| text(&f["ip_address"])),
        tag: text(&body["tag"]),
    };
    if wanted.network_id.is_some() && wanted.port_id.is_some() {
        return Err(Error::bad_request(
            "Must not input both network_id and port_id",
        ));
    }
    if wanted.fixed_ip.is_some() && wanted.network_id.is_none() {
        return Err(Error::bad_request(
            "Must input network_id when request IP address",
        ));
    }
    let tag = wanted.tag.clone();
    let asked = (wanted.network_id.is_some() || wanted.port_id.is_some()).then(|| vec![wanted]);
    let checked = network::check_requested(&nova.sdk, &req.ctx, asked, 1)
        .await
        .map_err(|e| match e.kind() {
            Kind::BadRequest if e.message().contains("could not be found") => {
                Error::not_found(e.message())
            }
            _ => e,
        })?;
    let wanted = checked
        .into_iter()
        .next()
        .ok_or_else(|| Error::bad_request("No network was found to attach to."))?;
    let (port_id, made) = match &wanted.port_id {
        Some(id) => (id.clone(), false),
        None => (make_port(&nova, &row, &wanted).await?, true),
    };
    let flow = AttachInterface {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        port_id: port_id.clone(),
        made,
        tag,
    };
    submit_and_wait(&nova, &req, &row, "attach_interface", flow).await?;
    let row = instance::get(&nova, &req.ctx, &row.id).await?;
    if !row.network_info.0.iter().any(|p| p.id == port_id) {
        // Somebody else's verb came first.
        if row.task_state.is_some() || !STATES.contains(&row.vm_state) {
            return Err(invalid_state(&row, "attach_interface", &[None]));
        }
        return Err(Error::new(
            Kind::Internal,
            "Failed to attach network adapter device to the instance.",
        )
        .log("attach_interface did not end well; see its action"));
    }
    let port = network::get_port(&nova.sdk, Caller::Service, &port_id).await?;
    Reply::ok(&json!({"interfaceAttachment": view(&port, &req, tag_of(&row, &port_id))}))
}

async fn submit_and_wait<F: oslo_taskflow::Flow + Clone>(
    nova: &Arc<Nova>,
    req: &Req,
    row: &InstanceRow,
    action: &'static str,
    flow: F,
) -> Result<()> {
    let (id, ctx, now, engine) = (
        row.id.clone(),
        Arc::clone(&req.ctx),
        nova.clock.now(),
        nova.engine.clone(),
    );
    nova.db
        .write(move |tx| {
            instances::get(tx, &id, ctx.row_scope())?;
            actions::start(tx, &ctx, &id, action, now)?;
            engine.submit(tx, &flow).map(|_| ())
        })
        .await?;
    nova.engine.wake();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (id, request) = (row.id.clone(), req.ctx.request_id.clone());
        let found = nova
            .db
            .read(move |tx| {
                tx.find::<actions::ActionRow>(oslo_db::all([
                    oslo_db::eq("instance_id", id.as_str()),
                    oslo_db::eq("request_id", request.as_str()),
                ]))
            })
            .await?;
        if found.is_none_or(|a| a.finish_time.is_some()) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(
                Kind::Timeout,
                "The interface was not attached in time; see the server's events.",
            ));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// DELETE: 202, done by a flow.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    check_lock(&req.ctx, &row)?;
    if !STATES.contains(&row.vm_state) || row.task_state.is_some() {
        return Err(invalid_state(&row, "detach_interface", &[None]));
    }
    let port = port_of(&nova, &row, req.param("port_id")).await?;
    let made = row
        .network_info
        .0
        .iter()
        .any(|p| p.id == port.id && p.created_by_nova);
    let flow = DetachInterface {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        port_id: port.id,
        made,
    };
    let (id, ctx, now, engine) = (
        row.id.clone(),
        Arc::clone(&req.ctx),
        nova.clock.now(),
        nova.engine.clone(),
    );
    nova.db
        .write(move |tx| {
            actions::start(tx, &ctx, &id, "detach_interface", now)?;
            engine.submit(tx, &flow).map(|_| ())
        })
        .await?;
    nova.engine.wake();
    Ok(Reply::empty(202))
}
