//! `/v3/policies`

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, collection, filters};
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::missing;
use crate::db::policies::{self, PolicyRow};
use crate::db::policy_associations::PolicyAssociationRow;
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn view(base: &str, p: &PolicyRow) -> Value {
    let view = json!({
        "id": p.id,
        "type": p.r#type,
        "blob": p.blob_text,
        "links": self_link(base, &format!("policies/{}", p.id)),
    });
    with_extra(view, &p.extra.0)
}

/// `GET /v3/policies`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_policies", Target::new())?;
    let cond = filters(&req.query, &[("type", By::Text("type"))]);
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<PolicyRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|r| view(&base, r)).collect();
    collection(&base, &req, "policies", views, None)
}

/// `GET /v3/policies/{policy_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_policy", Target::new())?;
    let id = req.param("policy_id").to_string();
    let row = keystone.db.read(move |tx| policies::get(tx, &id)).await?;
    one(200, "policy", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/policies`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_policy", Target::new())?;
    let mut fields = Fields::of(&req, "policy")?;
    // The id is ours to choose, whatever was sent.
    fields.text("id")?;
    let row = PolicyRow {
        id: new_hex_id(),
        r#type: fields.required("type", "policy")?,
        blob_text: fields.required("blob", "policy")?,
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone.write(move |tx| tx.insert(&new)).await?;
    one(201, "policy", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/policies/{policy_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_policy", Target::new())?;
    let id = req.param("policy_id").to_string();
    let fields = Fields::of(&req, "policy")?;
    let row = keystone
        .write(move |tx| {
            let mut row = policies::get(tx, &id)?;
            let mut fields = fields.clone();
            if fields.text("id")?.is_some_and(|new| new != id) {
                return Err(Error::bad_request("Cannot change policy ID"));
            }
            row.r#type = fields.text("type")?.unwrap_or(row.r#type);
            row.blob_text = fields.text("blob")?.unwrap_or(row.blob_text);
            row.extra.0.extend(fields.rest());
            let values = [
                set("type", &row.r#type),
                set("blob_text", &row.blob_text),
                set("extra", &row.extra),
            ];
            tx.update::<PolicyRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "policy", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/policies/{policy_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_policy", Target::new())?;
    let id = req.param("policy_id").to_string();
    keystone
        .write(move |tx| {
            tx.delete::<PolicyAssociationRow>(eq("policy_id", &id))?;
            match tx.delete::<PolicyRow>(eq("id", &id))? {
                0 => Err(missing("policy", &id)),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}
