//! `/servers/{id}/os-interface`.

use crate::Nova;
use crate::db::actions;
use crate::db::instances::InstanceRow;
use crate::flows::device::{Attach, Detach};
use crate::flows::interface::{Interface, make_port};
use crate::instance::status::VmState;
use crate::instance::{self, Verb};
use crate::network::{self, RequestedNetwork};
use base::{Error, Kind, Result};
use neutron_types::rest::Port;
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
    let port = nova.sdk.neutron().port(Caller::Service, id).await;
    let port = port.map_err(|e| if e.is_not_found() { missing() } else { e })?;
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

const ATTACH: Verb = Verb {
    name: "attach_interface",
    action: "attach_interface",
    states: STATES,
    tasks: &[None],
    task: None,
};

const DETACH: Verb = Verb {
    name: "detach_interface",
    action: "detach_interface",
    states: STATES,
    tasks: &[None],
    task: None,
};

/// POST: by network, by port, or with neither if there is one network only.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    ATTACH.check(&req.ctx, &row)?;
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
        None => (make_port(&nova.sdk, &row, &wanted).await?, true),
    };
    let flow = Attach {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        device: Interface {
            port_id: port_id.clone(),
            made,
            tag,
        },
    };
    if let Err(e) = instance::submit(&nova, &req.ctx, &row.id, &ATTACH, flow).await {
        if made {
            network::delete_port(&nova.sdk, &port_id).await?;
        }
        return Err(e);
    }
    wait_for_end(&nova, &req, &row).await?;
    let row = instance::get(&nova, &req.ctx, &row.id).await?;
    if !row.network_info.0.iter().any(|p| p.id == port_id) {
        // Somebody else's verb came first.
        ATTACH.check(&req.ctx, &row)?;
        return Err(Error::new(
            Kind::Internal,
            "Failed to attach network adapter device to the instance.",
        )
        .log("attach_interface did not end well; see its action"));
    }
    let port = nova.sdk.neutron().port(Caller::Service, &port_id).await?;
    Reply::ok(&json!({"interfaceAttachment": view(&port, &req, tag_of(&row, &port_id))}))
}

/// Waits until the action that this request started has ended, well or not.
async fn wait_for_end(nova: &Nova, req: &Req, row: &InstanceRow) -> Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (id, request) = (row.id.clone(), req.ctx.request_id.clone());
        let found = nova
            .db
            .read(move |tx| actions::find(tx, &id, &request))
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
    DETACH.check(&req.ctx, &row)?;
    let port = port_of(&nova, &row, req.param("port_id")).await?;
    let made = row
        .network_info
        .0
        .iter()
        .any(|p| p.id == port.id && p.created_by_nova);
    let flow = Detach {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        device: Interface {
            port_id: port.id,
            made,
            tag: None,
        },
    };
    instance::submit(&nova, &req.ctx, &row.id, &DETACH, flow).await?;
    Ok(Reply::empty(202))
}
