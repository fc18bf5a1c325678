//! Consoles of servers: a ticket and the address of the page that uses it.

use super::values::{text, wrapped};
use crate::Nova;
use crate::config::Conf;
use crate::console::tickets;
use crate::instance;
use crate::instance::status::VmState;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn unavailable(console_type: &str) -> Error {
    Error::bad_request(format!("Unavailable console type {console_type}."))
        .class("ConsoleTypeUnavailable")
}

/// The address of a server's noVNC page, good for `console_token_ttl` seconds.
async fn novnc(nova: &Nova, req: &Req) -> Result<String> {
    let instance = instance::get(nova, &req.ctx, req.param("server_id")).await?;
    let not_ready = || Error::conflict("Instance not yet ready").class("InstanceNotReady");
    let host = instance.host.as_deref().ok_or_else(not_ready)?;
    if instance.vm_state == VmState::Building {
        return Err(not_ready());
    }
    let address = match nova
        .compute(host)
        .vnc_console(&req.ctx, instance.id.clone())
        .await
    {
        Err(error) if error.is_not_found() => return Err(not_ready()),
        other => other?,
    };
    let token = tickets::issue(nova, &instance, "novnc", &address).await?;
    Ok(format!("{}?path=%3Ftoken%3D{}", page(nova), token.expose()))
}

/// noVNC's page, as the operator says; where nobody said anything and the proxy is in this process, where it listens.
fn page(nova: &Nova) -> String {
    let said = &nova.conf.novncproxy_base_url;
    match nova.novnc_port.load(Ordering::SeqCst) {
        port if port != 0 && *said == Conf::default().novncproxy_base_url => {
            said.replace(":6080/", &format!(":{port}/"))
        }
        _ => said.clone(),
    }
}

/// `POST /servers/{server_id}/remote-consoles` (2.6).
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "remote_console")?;
    let (protocol, console_type) = (
        text(body, "protocol").unwrap_or(""),
        text(body, "type").unwrap_or(""),
    );
    if (protocol, console_type) != ("vnc", "novnc") {
        instance::get(&nova, &req.ctx, req.param("server_id")).await?;
        return Err(unavailable(console_type));
    }
    let url = novnc(&nova, &req).await?;
    Reply::ok(&json!({"remote_console": {"protocol": protocol, "type": console_type, "url": url}}))
}

/// `os-getVNCConsole` (until 2.5).
pub async fn get_vnc(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let console_type = text(wrapped(req.json.as_ref(), "os-getVNCConsole")?, "type").unwrap_or("");
    if console_type != "novnc" {
        instance::get(&nova, &req.ctx, req.param("server_id")).await?;
        return Err(unavailable(console_type));
    }
    let url = novnc(&nova, &req).await?;
    Reply::ok(&json!({"console": {"type": console_type, "url": url}}))
}
