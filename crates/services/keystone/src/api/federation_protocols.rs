//! `/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols`: which mapping reads what a provider says in which way.

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::identity_providers::{chosen_id, path};
use crate::api::list::collection;
use crate::api::{base_url, one, self_link, users};
use crate::db::duplicate_id;
use crate::db::federation::{self, MappingRow, ProtocolRow};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Result};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(base: &str, p: &ProtocolRow) -> Value {
    let idp = path(&p.idp_id);
    let mut links = self_link(base, &format!("{idp}/protocols/{}", percent_encode(&p.id)));
    links["identity_provider"] = format!("{base}/{idp}").into();
    json!({"id": p.id, "mapping_id": p.mapping_id, "links": links})
}

/// COMPAT: a list says more of each than the protocol alone.
fn listed(base: &str, p: &ProtocolRow) -> Value {
    let mut view = view(base, p);
    view["idp_id"] = p.idp_id.as_str().into();
    view["remote_id_attribute"] = p.remote_id_attribute.clone().into();
    view
}

/// `GET …/protocols`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_protocols", Target::new())?;
    let idp_id = req.param("idp_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            let of = eq("idp_id", &idp_id);
            tx.select_sorted::<ProtocolRow>(of, &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|p| listed(&base, p)).collect();
    collection(&base, &req, "protocols", views, None)
}

/// `GET …/protocols/{protocol_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_protocol", Target::new())?;
    let (idp_id, id) = ids(&req);
    let row = keystone
        .db
        .read(move |tx| federation::get_protocol(tx, &idp_id, &id))
        .await?;
    one(200, "protocol", view(&base_url(&keystone, &req), &row))
}

fn ids(req: &Req) -> (String, String) {
    let param = |name| req.param(name).to_string();
    (param("idp_id"), param("protocol_id"))
}

fn check_mapping(tx: &mut Tx, id: &str) -> Result<()> {
    match tx.exists::<MappingRow>(eq("id", id))? {
        true => Ok(()),
        false => Err(Error::bad_request(format!("Invalid mapping id: {id}"))),
    }
}

/// `PUT …/protocols/{protocol_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_protocol", Target::new())?;
    let mut fields = Fields::of(&req, "protocol")?;
    let row = ProtocolRow {
        idp_id: req.param("idp_id").to_string(),
        id: chosen_id(&req, "protocol_id")?,
        mapping_id: fields.required("mapping_id", "protocol")?,
        remote_id_attribute: fields.text("remote_id_attribute")?,
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            check_mapping(tx, &new.mapping_id)?;
            federation::get_idp(tx, &new.idp_id)?;
            tx.insert(&new)
                .map_err(|e| duplicate_id("federation_protocol", &new.id, e))
        })
        .await?;
    one(201, "protocol", view(&base_url(&keystone, &req), &row))
}

/// `PATCH …/protocols/{protocol_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_protocol", Target::new())?;
    let (idp_id, id) = ids(&req);
    let fields = Fields::of(&req, "protocol")?;
    let row = keystone
        .write(move |tx| {
            let mut fields = fields.clone();
            let mapping_id = fields.required("mapping_id", "protocol")?;
            check_mapping(tx, &mapping_id)?;
            let mut row = federation::get_protocol(tx, &idp_id, &id)?;
            row.mapping_id = mapping_id;
            if let Some(attribute) = fields.nullable("remote_id_attribute")? {
                row.remote_id_attribute = attribute;
            }
            let values = [
                set("mapping_id", &row.mapping_id),
                set("remote_id_attribute", &row.remote_id_attribute),
            ];
            tx.update::<ProtocolRow>(all([eq("idp_id", &idp_id), eq("id", &id)]), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "protocol", view(&base_url(&keystone, &req), &row))
}

/// `DELETE …/protocols/{protocol_id}`: with the users who exist by it only.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_protocol", Target::new())?;
    let (idp_id, id) = ids(&req);
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| {
            federation::get_protocol(tx, &idp_id, &id)?;
            let forsaken = federation::delete_protocol(tx, &idp_id, &id)?;
            users::forsake(tx, &forsaken, now, keep)
        })
        .await?;
    Ok(Reply::empty(204))
}
