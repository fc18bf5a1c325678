//! `/v3/services`

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::endpoint_filters::ProjectEndpointRow;
use crate::db::endpoints::EndpointRow;
use crate::db::policy_associations;
use crate::db::services::{self, ServiceRow};
use crate::policy::{Target, enforce};
use base::{Dir, Json, Result, new_hex_id};
use oslo_db::{eq, is_in, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("type", By::Text("type")), ("name", By::Text("name"))];

pub(crate) fn view(base: &str, s: &ServiceRow) -> Value {
    let mut view = json!({
        "id": s.id,
        "type": s.r#type,
        "enabled": s.enabled,
        "links": self_link(base, &format!("services/{}", s.id)),
    });
    if let Some(name) = &s.name {
        view["name"] = json!(name);
    }
    with_extra(view, &s.extra.0)
}

/// `GET /v3/services`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_services", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<ServiceRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "services",
        rows.iter().map(|s| view(&base, s)).collect(),
        None,
    )
}

/// `GET /v3/services/{service_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_service", Target::new())?;
    let id = req.param("service_id").to_string();
    let row = keystone.db.read(move |tx| services::get(tx, &id)).await?;
    one(200, "service", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/services`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_service", Target::new())?;
    let mut fields = Fields::of(&req, "service")?;
    let row = ServiceRow {
        id: new_hex_id(),
        r#type: fields.required("type", "service")?,
        name: fields.text("name")?,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone.write(move |tx| tx.insert(&new)).await?;
    one(201, "service", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/services/{service_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_service", Target::new())?;
    let id = req.param("service_id").to_string();
    let fields = Fields::of(&req, "service")?;
    let row = keystone
        .write(move |tx| {
            let mut row = services::get(tx, &id)?;
            let mut fields = fields.clone();
            row.r#type = fields.text("type")?.unwrap_or(row.r#type);
            row.name = fields.nullable("name")?.unwrap_or(row.name);
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            row.extra.0.extend(fields.rest());
            let values = [
                set("type", &row.r#type),
                set("name", &row.name),
                set("enabled", row.enabled),
                set("extra", &row.extra),
            ];
            tx.update::<ServiceRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "service", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/services/{service_id}`: with its endpoints.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_service", Target::new())?;
    let id = req.param("service_id").to_string();
    keystone
        .write(move |tx| {
            services::get(tx, &id)?;
            let endpoints: Vec<EndpointRow> = tx.select(eq("service_id", &id))?;
            let endpoints: Vec<String> = endpoints.into_iter().map(|e| e.id).collect();
            tx.delete::<ProjectEndpointRow>(is_in("endpoint_id", endpoints.iter()))?;
            policy_associations::delete_of_services(tx, &id, &endpoints)?;
            tx.delete::<EndpointRow>(eq("service_id", &id))?;
            tx.delete::<ServiceRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
