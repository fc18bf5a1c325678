//! Which projects may use a private flavor.

use super::values::{text, wrapped};
use super::{flavors, projects};
use crate::Nova;
use crate::db::flavors::{FlavorAccessRow, FlavorRow};
use base::{Error, Result};
use oslo_db::{Tx, all, eq};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(tx: &mut Tx, flavor_id: &str) -> Result<Value> {
    let rows = tx.select_sorted::<FlavorAccessRow>(
        eq("flavor_id", flavor_id),
        &[("project_id", base::Dir::Asc)],
        None,
    )?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|a| json!({"flavor_id": a.flavor_id, "tenant_id": a.project_id}))
        .collect();
    Ok(json!({"flavor_access": rows}))
}

fn flavor(tx: &mut Tx, id: &str) -> Result<FlavorRow> {
    tx.find(eq("flavor_id", id))?
        .ok_or_else(|| flavors::not_found(id))
}

/// `GET /flavors/{flavor_id}/os-flavor-access`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = req.param("flavor_id").to_string();
    let body = nova
        .db
        .read(move |tx| {
            if flavor(tx, &id)?.is_public {
                return Err(Error::not_found(
                    "Access list not available for public flavors.",
                ));
            }
            view(tx, &id)
        })
        .await?;
    Reply::ok(&body)
}

fn tenant(req: &Req, action: &str) -> Result<String> {
    let body = wrapped(req.json.as_ref(), action)?;
    let tenant = text(body, "tenant").map(str::to_string);
    tenant.ok_or_else(|| Error::bad_request("Missing tenant parameter"))
}

/// `addTenantAccess`.
pub async fn add(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, project) = (
        req.param("id").to_string(),
        tenant(&req, "addTenantAccess")?,
    );
    projects::check(&nova, &project).await?;
    let body = nova
        .db
        .write(move |tx| {
            if flavor(tx, &id)?.is_public {
                return Err(Error::conflict("Can not add access to a public flavor."));
            }
            let row = FlavorAccessRow { flavor_id: id.clone(), project_id: project.clone() };
            if tx.exists::<FlavorAccessRow>(all([eq("flavor_id", &id), eq("project_id", &project)]))? {
                return Err(Error::conflict(format!(
                    "Flavor access already exists for flavor {id} and project {project} combination."
                )));
            }
            tx.insert(&row)?;
            view(tx, &id)
        })
        .await?;
    Reply::ok(&body)
}

/// `removeTenantAccess`.
pub async fn remove(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, project) = (
        req.param("id").to_string(),
        tenant(&req, "removeTenantAccess")?,
    );
    let body = nova
        .db
        .write(move |tx| {
            flavor(tx, &id)?;
            if tx.delete::<FlavorAccessRow>(all([
                eq("flavor_id", &id),
                eq("project_id", &project),
            ]))? == 0
            {
                return Err(Error::not_found(format!(
                    "Flavor access not found for {id} / {project} combination."
                )));
            }
            view(tx, &id)
        })
        .await?;
    Reply::ok(&body)
}
