//! `/v3/OS-FEDERATION/service_providers`: clouds that take this one's word for who somebody is.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::identity_providers::chosen_id;
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, one, self_link};
use crate::db::duplicate_id;
use crate::db::federation::{self, ServiceProviderRow};
use crate::policy::{Target, enforce};
use base::{Dir, Result};
use oslo_db::{eq, set};
use oslo_http::{Reply, Req, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("id", By::Text("id")), ("enabled", By::Flag("enabled"))];

fn view(base: &str, sp: &ServiceProviderRow) -> Value {
    let path = format!("OS-FEDERATION/service_providers/{}", percent_encode(&sp.id));
    json!({
        "id": sp.id,
        "enabled": sp.enabled,
        "description": sp.description,
        "auth_url": sp.auth_url,
        "sp_url": sp.sp_url,
        "relay_state_prefix": sp.relay_state_prefix,
        "links": self_link(base, &path),
    })
}

/// `GET /v3/OS-FEDERATION/service_providers`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_service_providers", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let by_id = [("id", Dir::Asc)];
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<ServiceProviderRow>(cond.clone(), &by_id, None))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|sp| view(&base, sp)).collect();
    collection(&base, &req, "service_providers", views, None)
}

/// `GET /v3/OS-FEDERATION/service_providers/{service_provider_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_service_provider", Target::new())?;
    let id = req.param("service_provider_id").to_string();
    let row = keystone
        .db
        .read(move |tx| federation::get_service_provider(tx, &id))
        .await?;
    let view = view(&base_url(&keystone, &req), &row);
    one(200, "service_provider", view)
}

/// `PUT /v3/OS-FEDERATION/service_providers/{service_provider_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_service_provider", Target::new())?;
    let mut fields = Fields::of(&req, "service_provider")?;
    let prefix = fields.text("relay_state_prefix")?;
    let row = ServiceProviderRow {
        id: chosen_id(&req, "service_provider_id")?,
        enabled: fields.flag("enabled")?.unwrap_or(false),
        description: fields.text("description")?,
        auth_url: fields.required("auth_url", "service_provider")?,
        sp_url: fields.required("sp_url", "service_provider")?,
        relay_state_prefix: prefix.unwrap_or_else(|| keystone.conf.saml.relay_state_prefix.clone()),
    };
    check_prefix(&row.relay_state_prefix)?;
    let new = row.clone();
    keystone
        .write(move |tx| {
            tx.insert(&new)
                .map_err(|e| duplicate_id("service_provider", &new.id, e))
        })
        .await?;
    let view = view(&base_url(&keystone, &req), &row);
    one(201, "service_provider", view)
}

fn check_prefix(prefix: &str) -> Result<()> {
    match prefix.chars().count() > 255 {
        true => Err(base::Error::bad_request(
            "Invalid input for field 'relay_state_prefix': it is too long",
        )),
        false => Ok(()),
    }
}

/// `PATCH /v3/OS-FEDERATION/service_providers/{service_provider_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_service_provider", Target::new())?;
    let id = req.param("service_provider_id").to_string();
    let fields = Fields::of(&req, "service_provider")?;
    let row = keystone
        .write(move |tx| {
            let mut row = federation::get_service_provider(tx, &id)?;
            let mut fields = fields.clone();
            row.enabled = fields.flag("enabled")?.unwrap_or(row.enabled);
            if let Some(description) = fields.nullable("description")? {
                row.description = description;
            }
            row.auth_url = fields.text("auth_url")?.unwrap_or(row.auth_url);
            row.sp_url = fields.text("sp_url")?.unwrap_or(row.sp_url);
            let prefix = fields.text("relay_state_prefix")?;
            row.relay_state_prefix = prefix.unwrap_or(row.relay_state_prefix);
            check_prefix(&row.relay_state_prefix)?;
            let values = [
                set("enabled", row.enabled),
                set("description", &row.description),
                set("auth_url", &row.auth_url),
                set("sp_url", &row.sp_url),
                set("relay_state_prefix", &row.relay_state_prefix),
            ];
            tx.update::<ServiceProviderRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    let view = view(&base_url(&keystone, &req), &row);
    one(200, "service_provider", view)
}

/// `DELETE /v3/OS-FEDERATION/service_providers/{service_provider_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_service_provider", Target::new())?;
    let id = req.param("service_provider_id").to_string();
    keystone
        .write(move |tx| {
            federation::get_service_provider(tx, &id)?;
            tx.delete::<ServiceProviderRow>(eq("id", &id))
        })
        .await?;
    Ok(Reply::empty(204))
}
