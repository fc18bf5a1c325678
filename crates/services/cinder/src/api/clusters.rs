//! `/clusters`: hosts that say they serve the same storage (`[cinder_volume] cluster`).

use crate::Cinder;
use crate::api::time;
use crate::db::clusters::{self, ClusterRow};
use crate::db::{self, ServiceRow};
use crate::scheduler::is_up;
use crate::volume::invalid_input;
use base::{Error, Result, Timestamp};
use oslo_db::{all, eq, everything, set};
use oslo_http::{Reply, Req, is_true};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A cluster with what its hosts' reports say.
struct Cluster {
    row: ClusterRow,
    hosts: usize,
    down: usize,
    seen_at: Option<Timestamp>,
}

impl Cluster {
    fn of(row: ClusterRow, services: &[ServiceRow], up: impl Fn(&ServiceRow) -> bool) -> Cluster {
        let mine = || {
            services
                .iter()
                .filter(|s| s.report.0.cluster == row.name && s.binary_name == row.binary_name)
        };
        Cluster {
            hosts: mine().count(),
            down: mine().filter(|s| !up(s)).count(),
            seen_at: mine().map(|s| s.seen_at).max(),
            row,
        }
    }

    fn up(&self) -> bool {
        self.hosts > self.down
    }

    fn view(&self, req: &Req, detail: bool) -> Value {
        let row = &self.row;
        let mut out = json!({
            "name": row.name,
            "binary": row.binary_name,
            "state": if self.up() { "up" } else { "down" },
            "status": if row.disabled { "disabled" } else { "enabled" },
        });
        let replicates = req.at_least(3, 26);
        if replicates {
            out["replication_status"] = json!("disabled");
        }
        if !detail {
            return out;
        }
        out["num_hosts"] = json!(self.hosts);
        out["num_down_hosts"] = json!(self.down);
        let or_empty = |at: Option<Timestamp>| at.map_or(json!(""), |at| time(Some(at)));
        out["last_heartbeat"] = or_empty(self.seen_at);
        out["created_at"] = or_empty(Some(row.created_at));
        out["updated_at"] = or_empty(row.updated_at);
        out["disabled_reason"] = json!(row.disabled_reason);
        if replicates {
            out["frozen"] = json!(row.frozen);
            out["active_backend_id"] = Value::Null;
        }
        out
    }
}

async fn all_of(cinder: &Cinder) -> Result<Vec<Cluster>> {
    let (rows, services) = cinder
        .db
        .read(move |tx| {
            let sort = [("name", base::Dir::Asc), ("binary_name", base::Dir::Asc)];
            let rows = tx.select_sorted::<ClusterRow>(everything(), &sort, None)?;
            Ok((rows, tx.select::<ServiceRow>(everything())?))
        })
        .await?;
    let now = cinder.clock.now();
    let up = |s: &ServiceRow| is_up(&cinder.conf, s, now);
    let all = rows.into_iter().map(|row| Cluster::of(row, &services, up));
    Ok(all.collect())
}

fn flag(req: &Req, name: &str) -> Result<Option<bool>> {
    match req.query.get(name) {
        None => Ok(None),
        Some(word) if is_true(word) => Ok(Some(true)),
        Some(word) => match word.to_ascii_lowercase().as_str() {
            "0" | "f" | "false" | "off" | "n" | "no" => Ok(Some(false)),
            _ => Err(invalid_input(format!("Value '{word}' for '{name}'."))),
        },
    }
}

async fn page(cinder: &Cinder, req: &Req, detail: bool) -> Result<Reply> {
    let mut known = vec![
        "name",
        "binary",
        "is_up",
        "disabled",
        "num_hosts",
        "num_down_hosts",
    ];
    if req.at_least(3, 26) {
        known.extend(["replication_status", "frozen", "active_backend_id"]);
    }
    let names = req.query.0.iter().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = names.filter(|n| !known.contains(n)).collect();
    if !unknown.is_empty() {
        return Err(invalid_input(format!(
            "Invalid filter keys: {}",
            unknown.join(", ")
        )));
    }
    let (is_up, disabled) = (flag(req, "is_up")?, flag(req, "disabled")?);
    let frozen = flag(req, "frozen")?;
    let is = |name: &str, value: &str| req.query.get(name).is_none_or(|wanted| wanted == value);
    let wanted = |c: &&Cluster| {
        is("name", &c.row.name)
            && is("binary", &c.row.binary_name)
            && is("num_hosts", &c.hosts.to_string())
            && is("num_down_hosts", &c.down.to_string())
            && is("replication_status", "disabled")
            && is("active_backend_id", "")
            && is_up.is_none_or(|up| up == c.up())
            && disabled.is_none_or(|d| d == c.row.disabled)
            && frozen.is_none_or(|f| f == c.row.frozen)
    };
    let all = all_of(cinder).await?;
    let views: Vec<Value> = all
        .iter()
        .filter(wanted)
        .map(|c| c.view(req, detail))
        .collect();
    Reply::ok(&json!({"clusters": views}))
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, false).await
}

pub async fn detail(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    page(&cinder, &req, true).await
}

async fn get(cinder: &Cinder, name: &str, binary: &str) -> Result<Cluster> {
    let all = all_of(cinder).await?;
    all.into_iter()
        .find(|c| c.row.name == name && c.row.binary_name == binary)
        .ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    Error::not_found(format!("Cluster {name} could not be found."))
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let binary = req.query.get("binary").unwrap_or(db::services::VOLUME);
    let cluster = get(&cinder, req.param("id"), binary).await?;
    Reply::ok(&json!({"cluster": cluster.view(&req, true)}))
}

/// A disabled cluster's hosts take no new volumes.
async fn switch(cinder: &Cinder, req: &Req, disabled: bool) -> Result<Reply> {
    let body: Map<String, Value> = req.parse()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default().to_string();
    let binary = text("binary").unwrap_or(db::services::VOLUME).to_string();
    let reason = text("disabled_reason").filter(|_| disabled);
    let reason = reason.map(|r| r.trim().to_string());
    let (id, kind, why, now) = (
        name.clone(),
        binary.clone(),
        reason.clone(),
        cinder.clock.now(),
    );
    let found = cinder
        .db
        .write(move |tx| {
            let which = all([eq("name", &id), eq("binary_name", &kind)]);
            let values = [
                set("disabled", disabled),
                set("disabled_reason", why.clone()),
                set("updated_at", now),
            ];
            tx.update::<ClusterRow>(which, &values)
        })
        .await?;
    if found == 0 {
        return Err(not_found(&name));
    }
    let mut view = get(cinder, &name, &binary).await?.view(req, false);
    view["disabled_reason"] = json!(reason);
    Reply::ok(&json!({"cluster": view}))
}

pub async fn enable(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    switch(&cinder, &req, false).await
}

pub async fn disable(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    switch(&cinder, &req, true).await
}

/// The hosts of backends that a body of `/os-services` means: one host, or from 3.26 those of one cluster.
pub async fn meant(cinder: &Cinder, req: &Req) -> Result<Vec<String>> {
    let body: Map<String, Value> = req.parse()?;
    let text = |key: &str| {
        let text = body.get(key).and_then(Value::as_str);
        text.filter(|t| !t.is_empty()).map(str::to_string)
    };
    let (host, cluster) = (
        text("host"),
        text("cluster").filter(|_| req.at_least(3, 26)),
    );
    match (host, cluster) {
        (Some(host), None) => Ok(vec![host]),
        (None, Some(name)) => {
            let services = cinder
                .db
                .read(move |tx| {
                    if clusters::find(tx, &name, db::services::VOLUME)?.is_none() {
                        return Err(not_found(&name));
                    }
                    let all = db::services::of_binary(tx, db::services::VOLUME)?;
                    let mine = all.into_iter().filter(|s| s.report.0.cluster == name);
                    Ok(mine.map(|s| s.host).collect())
                })
                .await?;
            Ok(services)
        }
        _ if req.at_least(3, 26) => Err(invalid_input(
            "One and only one of cluster and host must be set.",
        )),
        _ => Err(invalid_input("Host field is missing.")),
    }
}
