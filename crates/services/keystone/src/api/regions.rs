//! `/v3/regions`

use crate::Keystone;
use crate::api::fields::Fields;
use crate::api::list::{By, collection, filters};
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::endpoints::EndpointRow;
use crate::db::policy_associations::PolicyAssociationRow;
use crate::db::regions::{self, RegionRow};
use crate::db::{duplicate_id, missing};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{Tx, eq, is_in, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn view(base: &str, r: &RegionRow) -> Value {
    let view = json!({
        "id": r.id,
        "description": r.description,
        "parent_region_id": r.parent_region_id,
        "links": self_link(base, &format!("regions/{}", oslo_http::percent_encode(&r.id))),
    });
    with_extra(view, &r.extra.0)
}

/// `GET /v3/regions`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_regions", Target::new())?;
    let cond = filters(
        &req.query,
        &[("parent_region_id", By::Text("parent_region_id"))],
    );
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<RegionRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "regions",
        rows.iter().map(|r| view(&base, r)).collect(),
        None,
    )
}

/// `GET /v3/regions/{region_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_region", Target::new())?;
    let id = req.param("region_id").to_string();
    let row = keystone.db.read(move |tx| regions::get(tx, &id)).await?;
    one(200, "region", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/regions`, and `PUT /v3/regions/{region_id}`, which names the new region in the path.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_region", Target::new())?;
    let mut fields = Fields::of(&req, "region")?;
    let in_path = Some(req.param("region_id")).filter(|id| !id.is_empty());
    let in_body = fields.text("id")?.filter(|id| !id.is_empty());
    if let (Some(a), Some(b)) = (in_path, &in_body)
        && a != b
    {
        return Err(Error::bad_request(format!(
            "Conflicting region IDs specified: \"{a}\" != \"{b}\""
        )));
    }
    let id = in_path
        .map(str::to_string)
        .or(in_body)
        .unwrap_or_else(new_hex_id);
    if id.len() > 255 {
        return Err(Error::bad_request(
            "Invalid input for field 'id': the region's id is too long",
        ));
    }
    let row = RegionRow {
        id,
        description: fields.text("description")?.unwrap_or_default(),
        parent_region_id: fields.text("parent_region_id")?,
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            if let Some(parent) = &new.parent_region_id {
                regions::get(tx, parent)?;
            }
            tx.insert(&new)
                .map_err(|e| duplicate_id("region", &new.id, e))
        })
        .await?;
    one(201, "region", view(&base_url(&keystone, &req), &row))
}

/// `PATCH /v3/regions/{region_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_region", Target::new())?;
    let id = req.param("region_id").to_string();
    let fields = Fields::of(&req, "region")?;
    let row = keystone
        .write(move |tx| {
            let mut row = regions::get(tx, &id)?;
            let mut fields = fields.clone();
            if fields.text("id")?.is_some_and(|new| new != id) {
                return Err(Error::bad_request("Cannot change region ID"));
            }
            row.description = fields
                .nullable("description")?
                .map_or(row.description, Option::unwrap_or_default);
            if let Some(parent) = fields.nullable("parent_region_id")? {
                check_parent(tx, &id, parent.as_deref())?;
                row.parent_region_id = parent;
            }
            row.extra.0.extend(fields.rest());
            let values = [
                set("description", &row.description),
                set("parent_region_id", &row.parent_region_id),
                set("extra", &row.extra),
            ];
            tx.update::<RegionRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "region", view(&base_url(&keystone, &req), &row))
}

/// A region is not below itself.
fn check_parent(tx: &mut Tx, id: &str, parent: Option<&str>) -> Result<()> {
    let mut next = parent.map(str::to_string);
    while let Some(above) = next {
        if above == id {
            return Err(Error::bad_request(format!(
                "The specified parent region {} would create a circular region hierarchy.",
                parent.unwrap_or_default()
            )));
        }
        next = regions::get(tx, &above)?.parent_region_id;
    }
    Ok(())
}

/// `DELETE /v3/regions/{region_id}`: with the regions below.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_region", Target::new())?;
    let id = req.param("region_id").to_string();
    keystone
        .write(move |tx| {
            tx.find::<RegionRow>(eq("id", &id))?.ok_or_else(|| missing("region", &id))?;
            let mut gone = vec![id.clone()];
            let mut level = gone.clone();
            while !level.is_empty() {
                let below: Vec<RegionRow> = tx.select(is_in("parent_region_id", level.iter()))?;
                level = below.into_iter().map(|r| r.id).collect();
                gone.extend(level.iter().cloned());
            }
            if tx.exists::<EndpointRow>(is_in("region_id", gone.iter()))? {
                return Err(Error::forbidden(format!(
                    "Unable to delete region {id} because it or its child regions have associated endpoints."
                )));
            }
            tx.delete::<PolicyAssociationRow>(is_in("region_id", gone.iter()))?;
            tx.delete::<RegionRow>(is_in("id", gone.iter())).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
