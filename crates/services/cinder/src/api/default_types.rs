//! `/default-types`: the volume type of a project's volumes for which none is asked for.

use crate::Cinder;
use crate::db::default_types::DefaultTypeRow;
use crate::db::{self};
use base::{Error, Kind, Result};
use oslo_db::{eq, everything};
use oslo_http::{Reply, Req, percent_encode};
use oslo_policy::Target;
use sdk::{Caller, Method};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn view(row: &DefaultTypeRow) -> Value {
    json!({"project_id": row.project_id, "volume_type_id": row.volume_type_id})
}

/// The project of the path, whose rule has been asked; keystone must know it.
async fn project(cinder: &Cinder, req: &Req, rule: &'static str) -> Result<String> {
    let project = req.param("id").to_string();
    req.enforce(rule, &Target::project(&project))?;
    let path = format!("/v3/projects/{}", percent_encode(&project));
    let asked = cinder
        .sdk
        .request(Caller::Service, "identity", Method::GET, &path, None)
        .await;
    match asked {
        Ok(_) => Ok(project),
        Err(e) if e.kind() == Kind::NotFound => Err(Error::not_found(format!(
            "Project with id {project} not found."
        ))),
        Err(e) => Err(e),
    }
}

pub async fn list(cinder: Arc<Cinder>, _: Req) -> Result<Reply> {
    let rows = cinder
        .db
        .read(move |tx| {
            let sort = [("project_id", base::Dir::Asc)];
            tx.select_sorted::<DefaultTypeRow>(everything(), &sort, None)
        })
        .await?;
    Reply::ok(&json!({"default_types": rows.iter().map(view).collect::<Vec<_>>()}))
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = project(&cinder, &req, "volume_extension:default_get").await?;
    let missing = Error::not_found(format!("Default type for project {id} not found."));
    let row = cinder
        .db
        .read(move |tx| tx.find::<DefaultTypeRow>(eq("project_id", &id)))
        .await?
        .ok_or(missing)?;
    Reply::ok(&json!({"default_type": view(&row)}))
}

pub async fn set(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = project(&cinder, &req, "volume_extension:default_set_or_update").await?;
    let body: Map<String, Value> = req.parse_key("default_type")?;
    let wanted = body.get("volume_type").and_then(Value::as_str);
    let wanted = wanted.unwrap_or_default().to_string();
    let ctx = req.ctx.clone();
    let row = cinder
        .db
        .write(move |tx| {
            let kind = db::types::get_by_any(tx, &ctx, &wanted)
                .map_err(|e| Error::bad_request(e.message()))?;
            let row = DefaultTypeRow {
                project_id: id.clone(),
                volume_type_id: kind.id,
            };
            tx.upsert(&row, &["project_id"])?;
            Ok(row)
        })
        .await?;
    Reply::ok(&json!({"default_type": view(&row)}))
}

/// Also of a project that is gone.
pub async fn unset(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    req.enforce("volume_extension:default_unset", &Target::project(&id))?;
    cinder
        .db
        .write(move |tx| tx.delete::<DefaultTypeRow>(eq("project_id", &id)))
        .await?;
    Ok(Reply::empty(204))
}
