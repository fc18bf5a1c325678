//! Objects: groups of properties that belong together.

use crate::Glance;
use crate::db::metadefs::{NamespaceRow, ObjectRow, object_row};
use crate::metadef::{ObjectBody, schema};
use base::{Error, Result};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Serialize)]
pub struct ObjectView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    pub(super) required: Vec<String>,
    pub(super) properties: Map<String, Value>,
    created_at: String,
    updated_at: String,
    schema: &'static str,
    #[serde(rename = "self")]
    own: String,
}

pub fn view(namespace: &NamespaceRow, row: &ObjectRow) -> Result<ObjectView> {
    Ok(ObjectView {
        name: row.name.clone(),
        description: row.description.clone(),
        required: serde_json::from_str(&row.required)?,
        properties: serde_json::from_str(&row.properties)?,
        created_at: row.created_at.iso_z(),
        updated_at: row.updated_at.iso_z(),
        schema: "/v2/schemas/metadefs/object",
        own: format!(
            "/v2/metadefs/namespaces/{}/objects/{}",
            namespace.namespace, row.name
        ),
    })
}

fn find(tx: &mut Tx, namespace: &NamespaceRow, name: &str) -> Result<ObjectRow> {
    let row = tx.find::<ObjectRow>(all([eq("namespace", &namespace.id), eq("name", name)]))?;
    row.ok_or_else(|| {
        Error::not_found(format!(
            "The metadata definition object with name={name} was not found in namespace={}.",
            namespace.namespace
        ))
    })
}

fn taken(name: &str, namespace: &str) -> impl FnOnce(Error) -> Error + use<> {
    super::taken(format!(
        "A metadata definition object with name={name} already exists in namespace={namespace}."
    ))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let paging = super::paging(&glance, &req)?;
    let read = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let page = super::page::<ObjectRow>(tx, namespace, &paging, |row| row.id.clone())?;
        let views = page.items.iter().map(|row| view(namespace, row));
        Ok((views.collect::<Result<Vec<_>>>()?, page.more))
    };
    let (views, more) = super::read(&glance, &req, "get_metadef_objects", read).await?;
    let mut body = json!({"objects": views, "schema": "v2/schemas/metadefs/objects"});
    if let Some(last) = views.last().filter(|_| more) {
        let query = req.query.with(&[("marker", &last.name)], &[]);
        body["next"] = json!(format!("{}?{query}", req.path));
    }
    Reply::ok(&body)
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: ObjectBody = schema::parse(req.json.as_ref(), "metadef_object", "object")?;
    let (now, name) = (glance.clock.now(), body.name.clone());
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = object_row(&namespace.id, &body, now)?;
        tx.insert(&row)?;
        view(namespace, &row)
    };
    let made = super::write(&glance, &req, "add_metadef_object", write).await;
    let view = made.map_err(taken(&name, req.param("namespace")))?;
    Reply::json(201, &view)
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("object_name").to_string();
    let read =
        move |tx: &mut Tx, namespace: &NamespaceRow| view(namespace, &find(tx, namespace, &name)?);
    let view = super::read(&glance, &req, "get_metadef_object", read).await?;
    Reply::ok(&view)
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: ObjectBody = schema::parse(req.json.as_ref(), "metadef_object", "object")?;
    let (now, name) = (glance.clock.now(), body.name.clone());
    let old_name = req.param("object_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let old = find(tx, namespace, &old_name)?;
        let row = ObjectRow {
            id: old.id,
            created_at: old.created_at,
            ..object_row(&namespace.id, &body, now)?
        };
        let values = [
            set("name", &row.name),
            set("description", row.description.clone()),
            set("required", &row.required),
            set("properties", &row.properties),
            set("updated_at", now),
        ];
        tx.update::<ObjectRow>(eq("id", &row.id), &values)?;
        view(namespace, &row)
    };
    let changed = super::write(&glance, &req, "modify_metadef_object", write).await;
    let view = changed.map_err(taken(&name, req.param("namespace")))?;
    Reply::ok(&view)
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("object_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = find(tx, namespace, &name)?;
        super::refuse_protected(namespace, || format!("object {name}"))?;
        tx.delete::<ObjectRow>(eq("id", &row.id))
    };
    super::write(&glance, &req, "delete_metadef_object", write).await?;
    Ok(Reply::empty(204))
}
