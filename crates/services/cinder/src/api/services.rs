//! `/os-services`, `/scheduler-stats/get_pools`, `/os-availability-zone`.

use crate::Cinder;
use crate::api::clusters::meant;
use crate::api::time;
use crate::db::{self, ServiceRow};
use crate::scheduler::{backends, is_up};
use crate::volume::invalid_input;
use base::{Error, Result};
use oslo_db::{all, any, eq, everything, is_in, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let host = req.query.get("host").map(str::to_string);
    let binary = req
        .query
        .get("binary")
        .or(req.query.get("service"))
        .map(str::to_string);
    let rows = cinder
        .db
        .read(move |tx| {
            let sort = [("binary_name", base::Dir::Asc), ("host", base::Dir::Asc)];
            tx.select_sorted::<ServiceRow>(everything(), &sort, None)
        })
        .await?;
    let now = cinder.clock.now();
    let wanted = |row: &&ServiceRow| {
        let same_host = |h: &String| row.host == *h || row.host.starts_with(&format!("{h}@"));
        host.as_ref().is_none_or(same_host) && binary.as_ref().is_none_or(|b| row.binary_name == *b)
    };
    let view = |row: &ServiceRow| {
        let up = is_up(&cinder.conf, row, now);
        let mut out = json!({
            "binary": row.binary_name,
            "host": row.host,
            "zone": row.availability_zone,
            "status": if row.disabled { "disabled" } else { "enabled" },
            "state": if up { "up" } else { "down" },
            "updated_at": time(Some(row.seen_at)),
            "disabled_reason": row.disabled_reason,
        });
        if req.at_least(3, 7) {
            let cluster = Some(&row.report.0.cluster).filter(|c| !c.is_empty());
            out["cluster"] = json!(cluster);
        }
        if row.binary_name == db::services::VOLUME {
            out["replication_status"] = json!("disabled");
            out["active_backend_id"] = Value::Null;
            out["frozen"] = json!(row.frozen);
            if req.at_least(3, 49) {
                out["backend_state"] = json!(if up { "up" } else { "down" });
            }
        }
        out
    };
    let views: Vec<Value> = rows.iter().filter(wanted).map(view).collect();
    Reply::ok(&json!({"services": views}))
}

async fn switch(
    cinder: &Cinder,
    req: &Req,
    disabled: bool,
    reason: Option<String>,
) -> Result<Value> {
    let body: Map<String, Value> = req.parse()?;
    let text = |key: &str| {
        body.get(key)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_string()
    };
    let host = text("host");
    let binary = match text("binary") {
        binary if binary.is_empty() => text("service"),
        binary => binary,
    };
    if host.is_empty() {
        return Err(Error::bad_request(
            "Missing required element 'host' in request body.",
        ));
    }
    let (host2, binary2, why) = (host.clone(), binary.clone(), reason.clone());
    let found = cinder
        .db
        .write(move |tx| {
            let which = all([eq("host", &host2), any([eq("binary_name", &binary2)])]);
            let values = [
                set("disabled", disabled),
                set("disabled_reason", why.clone()),
            ];
            tx.update::<ServiceRow>(which, &values)
        })
        .await?;
    if found == 0 {
        return Err(Error::not_found(format!(
            "Service {binary} could not be found on host {host}."
        )));
    }
    Ok(
        json!({"host": host, "service": binary, "binary": binary, "disabled": disabled,
        "status": if disabled { "disabled" } else { "enabled" }}),
    )
}

pub async fn enable(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let mut out = switch(&cinder, &req, false, None).await?;
    out["disabled_reason"] = Value::Null;
    Reply::ok(&out)
}

pub async fn disable(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::ok(&switch(&cinder, &req, true, None).await?)
}

pub async fn disable_log_reason(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let reason: String = req.parse_key("disabled_reason")?;
    let mut out = switch(&cinder, &req, true, Some(reason.clone())).await?;
    out["disabled_reason"] = json!(reason);
    Reply::ok(&out)
}

/// A frozen backend takes no new volumes; those it has go on.
async fn set_frozen(cinder: &Cinder, req: &Req, frozen: bool) -> Result<Reply> {
    let hosts = meant(cinder, req).await?;
    let which = all([
        is_in("host", hosts.iter()),
        eq("binary_name", db::services::VOLUME),
    ]);
    let values = [
        set("frozen", frozen),
        set("disabled", frozen),
        set("disabled_reason", frozen.then_some("frozen")),
    ];
    let found = cinder
        .db
        .write(move |tx| tx.update::<ServiceRow>(which.clone(), &values))
        .await?;
    if found == 0 {
        // COMPAT: a 400, where the other switches of a service say 404.
        return Err(Error::bad_request(format!(
            "Service cinder-volume could not be found on host {}.",
            hosts.join(", ")
        )));
    }
    Ok(Reply::empty(200))
}

/// No driver here replicates, so that there is nothing to fail over to: as upstream with replication off.
pub async fn failover(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let hosts = meant(&cinder, &req).await?;
    let which = all([
        is_in("host", hosts.iter()),
        eq("binary_name", db::services::VOLUME),
    ]);
    let found = cinder
        .db
        .read(move |tx| tx.exists::<ServiceRow>(which.clone()))
        .await?;
    let hosts = hosts.join(", ");
    if !found {
        return Err(invalid_input(format!("No service found with host={hosts}")));
    }
    Err(invalid_input(format!(
        "replication_status in host {hosts} must be enabled or failed-over to failover."
    )))
}

pub async fn freeze(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    set_frozen(&cinder, &req, true).await
}

pub async fn thaw(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    set_frozen(&cinder, &req, false).await
}

pub async fn pools(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (conf, now) = (cinder.conf.clone(), cinder.clock.now());
    let backends = cinder.db.read(move |tx| backends(tx, &conf, now)).await?;
    let detail = req.query.flag("detail").unwrap_or(false);
    let name = req.query.get("name");
    let pools: Vec<Value> = backends
        .iter()
        .filter(|b| name.is_none_or(|n| b.name == n))
        .map(|b| {
            if !detail {
                return json!({"name": b.name});
            }
            let mut capabilities = b.facts();
            let mut put = |key: &str, value: Value| drop(capabilities.insert(key.into(), value));
            put("timestamp", json!(now.iso_micros()));
            json!({"name": b.name, "capabilities": capabilities})
        })
        .collect();
    Reply::ok(&json!({"pools": pools}))
}

pub async fn zones(cinder: Arc<Cinder>, _: Req) -> Result<Reply> {
    let zones = cinder.zones().await?;
    let view = |zone: &String| json!({"zoneName": zone, "zoneState": {"available": true}});
    Reply::ok(&json!({"availabilityZoneInfo": zones.iter().map(view).collect::<Vec<_>>()}))
}
