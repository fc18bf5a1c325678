//! Types of resources, and which namespaces are about them.

use crate::Glance;
use crate::db::metadefs::{AssociationRow, NamespaceRow, ResourceTypeRow, associate, within};
use crate::metadef::{AssociationBody, schema};
use base::{Dir, Error, Result};
use oslo_db::{Tx, all, eq, everything};
use oslo_http::{Reply, Req};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Serialize)]
pub struct AssociationView {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties_target: Option<String>,
    created_at: String,
    updated_at: String,
}

pub fn view(row: &AssociationRow) -> AssociationView {
    AssociationView {
        name: row.name.clone(),
        prefix: row.prefix.clone(),
        properties_target: row.properties_target.clone(),
        created_at: row.created_at.iso_z(),
        updated_at: row.updated_at.iso_z(),
    }
}

pub fn missing(name: &str, namespace: &NamespaceRow) -> Error {
    Error::not_found(format!(
        "The metadata definition resource-type association of resource-type={name} to namespace={} was not found.",
        namespace.namespace
    ))
}

/// All types that anybody ever spoke of.
pub async fn types(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce(
        "list_metadef_resource_types",
        &json!({"project_id": req.ctx.project_id}),
    )?;
    let order = [("created_at", Dir::Asc), ("name", Dir::Asc)];
    let read = move |tx: &mut Tx| tx.select_sorted::<ResourceTypeRow>(everything(), &order, None);
    let rows = glance.db.read(read).await?;
    let view = |row: &ResourceTypeRow| -> Value {
        json!({
            "name": row.name,
            "created_at": row.created_at.iso_z(),
            "updated_at": row.updated_at.iso_z(),
        })
    };
    let views: Vec<_> = rows.iter().map(view).collect();
    Reply::ok(&json!({"resource_types": views}))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let read = |tx: &mut Tx, namespace: &NamespaceRow| within::<AssociationRow>(tx, namespace);
    let rows = super::read(&glance, &req, "get_metadef_resource_type", read).await?;
    let views: Vec<_> = rows.iter().map(view).collect();
    Reply::ok(&json!({"resource_type_associations": views}))
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: AssociationBody = schema::parse(
        req.json.as_ref(),
        "metadef_resource_type",
        "resource_type_association",
    )?;
    let (now, name) = (glance.clock.now(), body.name.clone());
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        associate(tx, &namespace.id, &body, false, now)
    };
    let made = super::write(
        &glance,
        &req,
        "add_metadef_resource_type_association",
        write,
    )
    .await;
    let row = made.map_err(super::taken(format!(
        "The metadata definition resource-type association of resource-type={name} to namespace={} already exists.",
        req.param("namespace")
    )))?;
    Reply::json(201, &view(&row))
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("resource_type").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let cond = all([eq("namespace", &namespace.id), eq("name", &name)]);
        if !tx.exists::<AssociationRow>(cond.clone())? {
            return Err(missing(&name, namespace));
        }
        super::refuse_protected(namespace, || format!("resource-type-association {name}"))?;
        tx.delete::<AssociationRow>(cond)
    };
    super::write(
        &glance,
        &req,
        "remove_metadef_resource_type_association",
        write,
    )
    .await?;
    Ok(Reply::empty(204))
}
