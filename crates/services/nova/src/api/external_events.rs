//! `POST /os-server-external-events`: neutron and cinder say that something changed.

use crate::Nova;
use crate::db::{block_devices, instances};
use crate::periodic::heal;
use base::{Cell, Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

/// 200 if every event found its server, 207 if some did, 404 if none.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let events = req
        .json
        .as_ref()
        .and_then(|j| j["events"].as_array())
        .cloned()
        .unwrap_or_default();
    let mut out = Vec::new();
    let (mut good, mut bad) = (0, 0);
    for event in events {
        let id = event["server_uuid"].as_str().unwrap_or("").to_string();
        let row = nova.db.read(move |tx| instances::find(tx, &id)).await?;
        let name = event["name"].as_str().unwrap_or("").to_string();
        let mut view = json!({"name": name, "server_uuid": event["server_uuid"], "status": event["status"].as_str().unwrap_or("completed")});
        if let Some(tag) = event.get("tag") {
            view["tag"] = tag.clone();
        }
        match row {
            None => {
                view["status"] = json!("failed");
                view["code"] = json!(404);
                bad += 1;
            }
            Some(row) if row.host.is_none() => {
                view["status"] = json!("failed");
                view["code"] = json!(422);
                bad += 1;
            }
            Some(row) => {
                view["code"] = json!(200);
                good += 1;
                take(&nova, &row, &name, &event).await?;
            }
        }
        out.push(view);
    }
    if good == 0 && bad > 0 {
        return Err(Error::not_found("No instances found for any event"));
    }
    Reply::json(if bad == 0 { 200 } else { 207 }, &json!({"events": out}))
}

async fn take(
    nova: &Arc<Nova>,
    row: &instances::InstanceRow,
    name: &str,
    event: &Value,
) -> Result<()> {
    match name {
        "network-changed" => {
            // The reply does not wait for neutron, which waits for the reply.
            let (nova, row) = (Arc::clone(nova), row.clone());
            tokio::spawn(async move {
                if let Err(e) = heal::refresh(&nova, &row).await {
                    tracing::debug!(server.id = row.id, "left to the next heal: {e}");
                }
            });
            Ok(())
        }
        "volume-extended" => {
            let Some(host) = row.host.clone() else {
                return Ok(());
            };
            let (id, volume) = (
                row.id.clone(),
                event["tag"].as_str().unwrap_or("").to_string(),
            );
            let path = format!("/v3/{}/volumes/{volume}", row.project_id);
            let fresh: Value = nova
                .sdk
                .request(
                    sdk::Caller::Service,
                    "volumev3",
                    sdk::Method::GET,
                    &path,
                    None,
                )
                .await?
                .key("volume")?;
            let size = fresh["size"].as_i64().unwrap_or(0);
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
            let ctx = oslo_context::RequestContext::internal();
            nova.compute(&host)
                .extend_volume(&ctx, id, volume, size as u64)
                .await
        }
        // Boots poll their ports, so a lost event costs nothing: nothing waits for these.
        _ => Ok(()),
    }
}
