//! Extra specs of a flavor: what the scheduler and the hypervisor should do beyond the size.

use super::flavors;
use super::values::wrapped;
use crate::Nova;
use crate::db::flavors::FlavorRow;
use base::{Cell, Error, Json, Result, Timestamp};
use oslo_db::{Tx, eq};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

type Specs = BTreeMap<String, String>;

async fn specs(nova: &Nova, req: &Req) -> Result<Specs> {
    let (id, ctx) = (req.param("flavor_id").to_string(), Arc::clone(&req.ctx));
    nova.db
        .read(move |tx| flavors::get(tx, &ctx, &id).map(|f| f.extra_specs.0))
        .await
}

fn save(tx: &mut Tx, row: &FlavorRow, specs: Specs, now: Timestamp) -> Result<()> {
    let values = [
        ("extra_specs", Json(specs).to_cell()),
        ("updated_at", now.to_cell()),
    ];
    tx.update::<FlavorRow>(eq("id", &row.id), &values)?;
    Ok(())
}

fn absent(id: &str, key: &str) -> Error {
    Error::not_found(format!("Flavor {id} has no extra specs with key {key}."))
        .class("FlavorExtraSpecsNotFound")
}

/// Values of namespaces that nova interprets are checked, as upstream does from 2.86 on; others are free.
fn check(req: &Req, specs: &Specs) -> Result<()> {
    if !req.at_least(2, 86) {
        return Ok(());
    }
    for (key, value) in specs {
        let allowed: &[&str] = match key.as_str() {
            "hw:cpu_policy" => &["dedicated", "shared", "mixed"],
            "hw:cpu_thread_policy" => &["prefer", "isolate", "require"],
            "hw:boot_menu" | "hw:hide_hypervisor_id" | "hw:pmu" | "hw:locked_memory" => {
                &["true", "false"]
            }
            "hw:watchdog_action" => &["none", "pause", "poweroff", "reset", "disabled"],
            _ => continue,
        };
        if !allowed.iter().any(|a| a.eq_ignore_ascii_case(value)) {
            return Err(Error::bad_request(format!(
                "Validation failed; extra spec '{key}' has invalid value '{value}'. Accepted values: {}.",
                allowed.join(", ")
            )));
        }
    }
    Ok(())
}

fn texts(value: &Value) -> Specs {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(k, v)| {
            (
                k.clone(),
                v.as_str().map_or_else(|| v.to_string(), str::to_string),
            )
        })
        .collect()
}

/// `GET /flavors/{flavor_id}/os-extra_specs`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    Reply::ok(&json!({"extra_specs": specs(&nova, &req).await?}))
}

/// `GET /flavors/{flavor_id}/os-extra_specs/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let key = req.param("id");
    let specs = specs(&nova, &req).await?;
    let value = specs
        .get(key)
        .ok_or_else(|| absent(req.param("flavor_id"), key))?;
    Reply::ok(&json!({key: value}))
}

/// `POST /flavors/{flavor_id}/os-extra_specs`: adds and replaces.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let added = texts(wrapped(req.json.as_ref(), "extra_specs")?);
    check(&req, &added)?;
    merge(&nova, &req, added.clone()).await?;
    Reply::ok(&json!({"extra_specs": added}))
}

async fn merge(nova: &Nova, req: &Req, added: Specs) -> Result<()> {
    let (id, ctx, now) = (
        req.param("flavor_id").to_string(),
        Arc::clone(&req.ctx),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| {
            let row = flavors::get_held(tx, &ctx, &id)?;
            let mut specs = row.extra_specs.0.clone();
            specs.extend(added.clone());
            save(tx, &row, specs, now)
        })
        .await
}

/// `PUT /flavors/{flavor_id}/os-extra_specs/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let key = req.param("id").to_string();
    let added = texts(req.json.as_ref().unwrap_or(&Value::Null));
    if added.len() != 1 || !added.contains_key(&key) {
        return Err(Error::bad_request("Request body and URI mismatch"));
    }
    check(&req, &added)?;
    merge(&nova, &req, added.clone()).await?;
    Reply::ok(&added)
}

/// `DELETE /flavors/{flavor_id}/os-extra_specs/{id}`.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, key) = (
        req.param("flavor_id").to_string(),
        req.param("id").to_string(),
    );
    let (ctx, now) = (Arc::clone(&req.ctx), nova.clock.now());
    nova.db
        .write(move |tx| {
            let row = flavors::get_held(tx, &ctx, &id)?;
            let mut specs = row.extra_specs.0.clone();
            if specs.remove(&key).is_none() {
                return Err(absent(&id, &key));
            }
            save(tx, &row, specs, now)
        })
        .await?;
    Ok(Reply::empty(200))
}
