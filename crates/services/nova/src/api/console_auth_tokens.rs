//! What a console ticket leads to, for proxies.

use crate::Nova;
use crate::console::tickets;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /os-console-auth-tokens/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let ticket = tickets::find(&nova, req.param("id")).await?;
    let ticket = ticket.ok_or_else(|| Error::not_found("Token not found"))?;
    // Until 2.30 the call was for RDP only.
    if !req.at_least(2, 31) && ticket.console_type != "rdp-html5" {
        return Err(Error::unauthorized(
            "The requested console type details are not accessible",
        ));
    }
    let mut console = json!({
        "instance_uuid": ticket.instance_id,
        "host": ticket.host,
        "port": ticket.port,
        "internal_access_path": ticket.internal_access_path,
    });
    if req.at_least(2, 99) {
        console["tls_port"] = Value::Null;
    }
    Reply::ok(&json!({"console": console}))
}
