//! `/v3/endpoints`

use crate::Keystone;
use crate::api::fields::{Fields, expecting};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::Extra;
use crate::db::endpoint_filters::ProjectEndpointRow;
use crate::db::endpoints::{self, EndpointRow};
use crate::db::policy_associations::PolicyAssociationRow;
use crate::db::regions::{self, RegionRow};
use crate::db::services::ServiceRow;
use crate::policy::{Target, enforce};
use crate::token::catalog::Substitutions;
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{Tx, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[
    ("interface", By::Text("interface")),
    ("service_id", By::Text("service_id")),
    ("region_id", By::Text("region_id")),
    ("region", By::Text("region_id")),
];

pub(crate) fn view(base: &str, e: &EndpointRow) -> Value {
    let view = json!({
        "id": e.id,
        "interface": e.interface,
        "region_id": e.region_id,
        "service_id": e.service_id,
        "url": e.url,
        "enabled": e.enabled,
        "region": e.region_id,
        "links": self_link(base, &format!("endpoints/{}", e.id)),
    });
    with_extra(view, &e.extra.0)
}

/// `GET /v3/endpoints`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_endpoints", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<EndpointRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    listed(&keystone, &req, &rows)
}

/// The list of these endpoints.
pub(crate) fn listed(keystone: &Keystone, req: &Req, rows: &[EndpointRow]) -> Result<Reply> {
    let base = base_url(keystone, req);
    let views = rows.iter().map(|e| view(&base, e)).collect();
    collection(&base, req, "endpoints", views, None)
}

/// `GET /v3/endpoints/{endpoint_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_endpoint", Target::new())?;
    let id = req.param("endpoint_id").to_string();
    let row = keystone.db.read(move |tx| endpoints::get(tx, &id)).await?;
    one(200, "endpoint", view(&base_url(&keystone, &req), &row))
}

/// An address is a template that can be filled in.
fn check_url(url: &str) -> Result<()> {
    let sample = Substitutions {
        project_id: Some("p"),
        user_id: "u",
    };
    let bad = || {
        Error::bad_request(format!(
            "Cannot create an endpoint with an invalid URL: {url}."
        ))
    };
    sample
        .fill(url)
        .filter(|u| !u.is_empty())
        .map(drop)
        .ok_or_else(bad)
}

/// What an endpoint names must exist; a region under its older name `region` is made if it does not.
fn check_references(tx: &mut Tx, row: &EndpointRow, make_region: bool) -> Result<()> {
    if !tx.exists::<ServiceRow>(eq("id", &row.service_id))? {
        return Err(expecting("endpoint service_id", "service table"));
    }
    let Some(region_id) = &row.region_id else {
        return Ok(());
    };
    if regions::find(tx, region_id)?.is_some() {
        return Ok(());
    }
    if !make_region {
        return Err(expecting("endpoint region_id", "region table"));
    }
    tx.insert(&RegionRow {
        id: region_id.clone(),
        description: String::new(),
        parent_region_id: None,
        extra: Json(Extra::new()),
    })
}

/// `POST /v3/endpoints`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_endpoint", Target::new())?;
    let mut fields = Fields::of(&req, "endpoint")?;
    let (region, region_id) = (fields.text("region")?, fields.text("region_id")?);
    let make_region = region_id.is_none();
    let row = EndpointRow {
        id: new_hex_id(),
        interface: fields.required("interface", "endpoint")?,
        region_id: region_id.or(region),
        service_id: fields.required("service_id", "endpoint")?,
        url: fields.required("url", "endpoint")?,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        extra: Json(fields.rest()),
    };
    check_url(&row.url)?;
    let new = row.clone();
    keystone
        .write(move |tx| {
            check_references(tx, &new, make_region)?;
            tx.insert(&new)
        })
        .await?;
    one(201, "endpoint", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/endpoints/{endpoint_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_endpoint", Target::new())?;
    let id = req.param("endpoint_id").to_string();
    let fields = Fields::of(&req, "endpoint")?;
    let row = keystone
        .write(move |tx| {
            let mut row = endpoints::get(tx, &id)?;
            let mut fields = fields.clone();
            let (region, region_id) = (fields.nullable("region")?, fields.nullable("region_id")?);
            let make_region = region_id.is_none();
            row.region_id = region_id.or(region).unwrap_or(row.region_id);
            row.interface = fields.text("interface")?.unwrap_or(row.interface);
            row.service_id = fields.text("service_id")?.unwrap_or(row.service_id);
            row.url = fields.text("url")?.unwrap_or(row.url);
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            row.extra.0.extend(fields.rest());
            check_url(&row.url)?;
            check_references(tx, &row, make_region)?;
            let values = [
                set("region_id", &row.region_id),
                set("interface", &row.interface),
                set("service_id", &row.service_id),
                set("url", &row.url),
                set("enabled", row.enabled),
                set("extra", &row.extra),
            ];
            tx.update::<EndpointRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "endpoint", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/endpoints/{endpoint_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_endpoint", Target::new())?;
    let id = req.param("endpoint_id").to_string();
    keystone
        .write(move |tx| {
            endpoints::get(tx, &id)?;
            tx.delete::<ProjectEndpointRow>(eq("endpoint_id", &id))?;
            tx.delete::<PolicyAssociationRow>(eq("endpoint_id", &id))?;
            tx.delete::<EndpointRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
