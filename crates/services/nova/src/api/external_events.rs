//! `POST /os-server-external-events`: neutron and cinder say that something changed.

use crate::db::instances::InstanceRow;
use crate::db::{actions, block_devices};
use crate::periodic::heal;
use crate::{Nova, volume};
use base::{Cell, Error, Result};
use oslo_context::RequestContext;
use oslo_db::{all, is_in, is_null};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// 200 if every event found its server, 207 if some did, 404 if none.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let events = req
        .json
        .as_ref()
        .and_then(|j| j["events"].as_array())
        .cloned()
        .unwrap_or_default();
    let ids: Vec<String> = events
        .iter()
        .filter_map(|e| e["server_uuid"].as_str().map(str::to_string))
        .collect();
    let servers = nova
        .db
        .read(move |tx| {
            let living = all([is_in("id", ids.clone()), is_null("deleted_at")]);
            tx.select::<InstanceRow>(living)
        })
        .await?;
    let servers: HashMap<&str, &InstanceRow> = servers.iter().map(|s| (s.id.as_str(), s)).collect();
    let mut out = Vec::new();
    let mut rewired: BTreeMap<&str, &InstanceRow> = BTreeMap::new();
    let (mut good, mut bad) = (0, 0);
    for event in &events {
        let name = event["name"].as_str().unwrap_or("");
        let id = event["server_uuid"].as_str().unwrap_or("");
        let status = event["status"].as_str().unwrap_or("completed");
        let mut view = json!({"name": name, "server_uuid": id, "status": status});
        if let Some(tag) = event["tag"].as_str() {
            view["tag"] = json!(tag);
        }
        let code = match servers.get(id) {
            None => 404,
            Some(server) if server.host.is_none() => 422,
            Some(server) => {
                match name {
                    "network-changed" => drop(rewired.insert(id, server)),
                    "volume-extended" => extended(&nova, &req.ctx, server, event).await?,
                    // Boots poll their ports, so a lost event costs nothing: nothing waits for these.
                    _ => {}
                }
                200
            }
        };
        view["code"] = json!(code);
        if code == 200 {
            good += 1;
        } else {
            view["status"] = json!("failed");
            bad += 1;
        }
        out.push(view);
    }
    if good == 0 && bad > 0 {
        return Err(Error::not_found("No instances found for any event"));
    }
    if !rewired.is_empty() {
        let rows: Vec<InstanceRow> = rewired.into_values().cloned().collect();
        // The reply does not wait for neutron, which waits for the reply.
        tokio::spawn(async move {
            if let Err(e) = heal::refresh(&nova, &rows).await {
                tracing::debug!("left to the next heal: {e}");
            }
        });
    }
    Reply::json(if bad == 0 { 200 } else { 207 }, &json!({"events": out}))
}

/// A volume of the server grew: its guest is told.
async fn extended(
    nova: &Nova,
    ctx: &RequestContext,
    row: &InstanceRow,
    event: &Value,
) -> Result<()> {
    let Some(host) = row.host.clone() else {
        return Ok(());
    };
    let (id, volume) = (
        row.id.clone(),
        event["tag"].as_str().unwrap_or("").to_string(),
    );
    let size = volume::size(&nova.sdk, &row.project_id, &volume).await?;
    let key = (id.clone(), volume.clone());
    let found = nova
        .db
        .write(move |tx| {
            let device = block_devices::find(tx, &key.0, &key.1)?;
            if let Some(d) = &device {
                tx.update::<block_devices::BlockDeviceRow>(
                    oslo_db::eq("id", d.id.as_str()),
                    &[("size_gb", size.to_cell())],
                )?;
            }
            Ok(device.is_some())
        })
        .await?;
    if !found {
        return Ok(());
    }
    let ctx = RequestContext {
        request_id: ctx.request_id.clone(),
        user_id: ctx.user_id.clone(),
        project_id: ctx.project_id.clone(),
        ..RequestContext::internal()
    };
    let started = nova.clock.now();
    let compute = nova.compute(&host);
    let outcome = compute
        .extend_volume(&ctx, id.clone(), volume, size as u64)
        .await;
    let failure = outcome.as_ref().err().map(|e| e.message().to_string());
    let now = nova.clock.now();
    nova.db
        .write(move |tx| {
            let (host, why) = (Some(host.as_str()), failure.as_deref());
            let (request, name) = (&ctx.request_id, "compute_extend_volume");
            actions::start(tx, &ctx, &id, "extend_volume", started)?;
            actions::event(tx, &id, request, name, host, started, now, why)?;
            actions::finish(tx, &id, request, now, why)
        })
        .await?;
    outcome
}
