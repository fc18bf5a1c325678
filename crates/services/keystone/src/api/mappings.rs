//! `/v3/OS-FEDERATION/mappings`: rules, read before they are kept.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::identity_providers::chosen_id;
use crate::api::list::collection;
use crate::api::{base_url, one, self_link};
use crate::db::duplicate_id;
use crate::db::federation::{self, MappingRow};
use crate::federation::mapping::{Mapping, Version};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result};
use oslo_db::{eq, everything, set};
use oslo_http::{Reply, Req, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longer rules have no place.
const MAX_BYTES: usize = 60_000;

fn view(base: &str, m: &MappingRow) -> Value {
    let path = format!("OS-FEDERATION/mappings/{}", percent_encode(&m.id));
    json!({
        "id": m.id,
        "rules": m.rules.0,
        "schema_version": m.schema_version,
        "links": self_link(base, &path),
    })
}

/// `GET /v3/OS-FEDERATION/mappings`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_mappings", Target::new())?;
    let rows = keystone
        .db
        .read(|tx| tx.select_sorted::<MappingRow>(everything(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|m| view(&base, m)).collect();
    collection(&base, &req, "mappings", views, None)
}

/// `GET /v3/OS-FEDERATION/mappings/{mapping_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_mapping", Target::new())?;
    let id = req.param("mapping_id").to_string();
    let row = keystone
        .db
        .read(move |tx| federation::get_mapping(tx, &id))
        .await?;
    one(200, "mapping", view(&base_url(&keystone, &req), &row))
}

/// The row that the body asks for. Reading patterns takes time, so it is done where time may be taken.
async fn parse(keystone: &Keystone, req: &Req, id: String) -> Result<MappingRow> {
    let mut fields = Fields::of(req, "mapping")?;
    let name = fields.text("schema_version")?.filter(|v| !v.is_empty());
    let name = name.unwrap_or_else(|| {
        let federation = &keystone.conf.federation;
        federation.attribute_mapping_default_schema_version.clone()
    });
    let version = Version::parse(&name).ok_or_else(|| {
        Error::bad_request(format!(
            "Invalid input for field 'schema_version': '{name}' is not one of ['1.0', '2.0', '3.0']"
        ))
    })?;
    let rules = fields.all().get("rules").cloned();
    let rules = rules.ok_or_else(|| Error::bad_request("'rules' is a required property"))?;
    if rules.to_string().len() > MAX_BYTES {
        return Err(Error::bad_request(format!(
            "Invalid input for field 'rules': they are longer than {MAX_BYTES} bytes"
        )));
    }
    let read = move || match Mapping::parse(version, &rules) {
        Ok(_) => Ok(rules),
        Err(refusal) => Err(Error::bad_request(refusal.to_string())),
    };
    let rules = tokio::task::spawn_blocking(read)
        .await
        .map_err(Error::internal)??;
    Ok(MappingRow {
        id,
        rules: Json(rules),
        schema_version: name,
    })
}

/// `PUT /v3/OS-FEDERATION/mappings/{mapping_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_mapping", Target::new())?;
    let id = chosen_id(&req, "mapping_id")?;
    let row = parse(&keystone, &req, id).await?;
    let new = row.clone();
    keystone
        .write(move |tx| {
            tx.insert(&new)
                .map_err(|e| duplicate_id("mapping", &new.id, e))
        })
        .await?;
    one(201, "mapping", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/OS-FEDERATION/mappings/{mapping_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_mapping", Target::new())?;
    let row = parse(&keystone, &req, req.param("mapping_id").to_string()).await?;
    let new = row.clone();
    keystone
        .write(move |tx| {
            federation::get_mapping(tx, &new.id)?;
            let values = [
                set("rules", &new.rules),
                set("schema_version", &new.schema_version),
            ];
            tx.update::<MappingRow>(eq("id", &new.id), &values)
        })
        .await?;
    one(200, "mapping", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/OS-FEDERATION/mappings/{mapping_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_mapping", Target::new())?;
    let id = req.param("mapping_id").to_string();
    keystone
        .write(move |tx| {
            federation::get_mapping(tx, &id)?;
            tx.delete::<MappingRow>(eq("id", &id))
        })
        .await?;
    Ok(Reply::empty(204))
}
