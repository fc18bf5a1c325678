//! nova's own services: list, disable, force down, delete.

use super::availability_zones::zone_of;
use super::values::{boolean, text};
use crate::Nova;
use crate::db::aggregates::{AggregateHostRow, zones};
use crate::db::compute_nodes::ComputeNodeRow;
use crate::db::generation;
use crate::db::instances::on_host;
use crate::db::services::{ServiceRow, find};
use base::{Cell, Dir, Error, Result, id};
use oslo_db::{Tx, all, eq, everything};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

fn view(nova: &Nova, req: &Req, s: &ServiceRow, zones: &HashMap<String, String>) -> Value {
    let up = s.is_up(nova.clock.now(), nova.down_after());
    let mut view = json!({
        "id": if req.at_least(2, 53) { json!(s.id) } else { json!(s.number) },
        "binary": s.service_binary,
        "host": s.host,
        "zone": zone_of(s, zones, &nova.conf.default_availability_zone),
        "status": if s.disabled { "disabled" } else { "enabled" },
        "state": if up { "up" } else { "down" },
        "updated_at": s.updated_at.or(s.last_seen_up).unwrap_or(s.created_at).iso_micros(),
        "disabled_reason": s.disabled_reason,
    });
    if req.at_least(2, 11) {
        view["forced_down"] = json!(s.forced_down);
    }
    view
}

/// `GET /os-services`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let mut conditions = vec![everything()];
    if let Some(host) = req.query.get("host") {
        conditions.push(eq("host", host));
    }
    if let Some(binary) = req.query.get("binary") {
        conditions.push(eq("service_binary", binary));
    }
    let (rows, zones) = nova
        .db
        .read(move |tx| {
            let rows = tx.select_sorted::<ServiceRow>(
                all(conditions.clone()),
                &[("number", Dir::Asc)],
                None,
            )?;
            Ok((rows, zones(tx)?))
        })
        .await?;
    let rows: Vec<Value> = rows.iter().map(|s| view(&nova, &req, s, &zones)).collect();
    Reply::ok(&json!({"services": rows}))
}

#[derive(Clone, Default)]
struct Change {
    disabled: Option<(bool, Option<String>)>,
    forced_down: Option<bool>,
}

fn apply(tx: &mut Tx, row: &mut ServiceRow, change: &Change, now: base::Timestamp) -> Result<()> {
    if let Some((disabled, reason)) = &change.disabled {
        row.disabled = *disabled;
        row.disabled_reason = reason.clone();
    }
    if let Some(down) = change.forced_down {
        row.forced_down = down;
    }
    row.updated_at = Some(now);
    let values = [
        ("disabled", row.disabled.to_cell()),
        ("disabled_reason", row.disabled_reason.to_cell()),
        ("forced_down", row.forced_down.to_cell()),
        ("updated_at", now.to_cell()),
    ];
    tx.update::<ServiceRow>(eq("id", &row.id), &values)?;
    Ok(())
}

/// `PUT /os-services/{id}`: by id from 2.53 on; before, `{id}` is one of four verbs and the body names the service.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    if req.at_least(2, 53) {
        update_by_id(nova, req).await
    } else {
        update_by_name(nova, req).await
    }
}

async fn update_by_id(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = req.json.as_ref().unwrap_or(&Value::Null);
    let service_id = req.param("id").to_string();
    if !id::is_uuid_like(&service_id) {
        return Err(Error::bad_request(format!("Invalid uuid {service_id}")));
    }
    let (status, reason) = (
        text(body, "status"),
        text(body, "disabled_reason").map(str::to_string),
    );
    if reason.is_some() && status != Some("disabled") {
        return Err(Error::bad_request(
            "Specifying 'disabled_reason' is only allowed when status is 'disabled'.",
        ));
    }
    let change = Change {
        disabled: status.map(|s| (s == "disabled", reason)),
        forced_down: body.get("forced_down").map(boolean),
    };
    if change.disabled.is_none() && change.forced_down.is_none() {
        return Err(Error::bad_request(
            "No updates were requested. Fields 'status' or 'forced_down' should be specified.",
        ));
    }
    let now = nova.clock.now();
    let (row, zones) = nova
        .db
        .write(move |tx| {
            generation::advance(tx)?;
            let mut row: ServiceRow = tx.get("id", &service_id, &format!("Service {service_id} could not be found."))?;
            if row.service_binary != "nova-compute" {
                return Err(Error::bad_request(format!(
                    "Updating a {} service is not supported. Only nova-compute services can be updated.",
                    row.service_binary
                )));
            }
            apply(tx, &mut row, &change, now)?;
            Ok((row, zones(tx)?))
        })
        .await?;
    Reply::ok(&json!({"service": view(&nova, &req, &row, &zones)}))
}

async fn update_by_name(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = req.json.as_ref().unwrap_or(&Value::Null);
    let missing = |key: &str| Error::bad_request(format!("Missing parameter {key}"));
    let (host, binary) = (
        text(body, "host").unwrap_or("").to_string(),
        text(body, "binary").unwrap_or("").to_string(),
    );
    let mut answer = json!({"host": host, "binary": binary});
    let change = match req.param("id") {
        "enable" => {
            answer["status"] = json!("enabled");
            Change {
                disabled: Some((false, None)),
                ..Change::default()
            }
        }
        "disable" => {
            answer["status"] = json!("disabled");
            Change {
                disabled: Some((true, None)),
                ..Change::default()
            }
        }
        "disable-log-reason" => {
            let reason = text(body, "disabled_reason").ok_or_else(|| missing("disabled_reason"))?;
            answer["status"] = json!("disabled");
            answer["disabled_reason"] = json!(reason);
            Change {
                disabled: Some((true, Some(reason.to_string()))),
                ..Change::default()
            }
        }
        "force-down" if req.at_least(2, 11) => {
            let down = boolean(
                body.get("forced_down")
                    .ok_or_else(|| missing("forced_down"))?,
            );
            answer["forced_down"] = json!(down);
            Change {
                forced_down: Some(down),
                ..Change::default()
            }
        }
        _ => return Err(Error::not_found("Unknown action")),
    };
    let now = nova.clock.now();
    nova.db
        .write(move |tx| {
            let words =
                || Error::not_found(format!("Could not find binary {binary} on host {host}."));
            generation::advance(tx)?;
            let mut row = find(tx, &host, &binary)?.ok_or_else(words)?;
            apply(tx, &mut row, &change, now)
        })
        .await?;
    Reply::ok(&json!({"service": answer}))
}

/// `DELETE /os-services/{id}`; a compute host only once no server is left on it.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let by_uuid = req.at_least(2, 53);
    let service_id = req.param("id").to_string();
    if by_uuid && !id::is_uuid_like(&service_id) {
        return Err(Error::bad_request(format!("Invalid uuid {service_id}")));
    }
    let number: i64 = match by_uuid {
        true => 0,
        false => service_id
            .parse()
            .map_err(|_| Error::bad_request(format!("Invalid service id {service_id}")))?,
    };
    nova.db
        .write(move |tx| {
            generation::advance(tx)?;
            let cond = if by_uuid { eq("id", &service_id) } else { eq("number", number) };
            let words = || Error::not_found(format!("Service {service_id} not found."));
            let row = tx.find::<ServiceRow>(cond)?.ok_or_else(words)?;
            if row.service_binary == "nova-compute" {
                if !on_host(tx, &row.host)?.is_empty() {
                    return Err(Error::conflict(
                        "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.",
                    ));
                }
                tx.delete::<ComputeNodeRow>(eq("host", &row.host))?;
                tx.delete::<AggregateHostRow>(eq("host", &row.host))?;
            }
            tx.delete::<ServiceRow>(eq("id", &row.id))?;
            Ok(())
        })
        .await?;
    Ok(Reply::empty(204))
}
