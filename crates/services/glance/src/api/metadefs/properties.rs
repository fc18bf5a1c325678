//! Properties: a name and the JSON schema of its values.

use crate::Glance;
pub use crate::db::metadefs::PropertyRow as Row;
use crate::db::metadefs::{self, AssociationRow, NamespaceRow, property_row};
use crate::metadef::schema;
use base::{Error, Result};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn find(tx: &mut Tx, namespace: &NamespaceRow, name: &str) -> Result<Row> {
    let row = tx.find::<Row>(all([eq("namespace", &namespace.id), eq("name", name)]))?;
    row.ok_or_else(|| {
        Error::not_found(format!(
            "The metadata definition property with name={name} was not found in namespace={}.",
            namespace.namespace
        ))
    })
}

/// The schema with its name beside it.
fn view(name: &str, row: &Row) -> Result<Map<String, Value>> {
    let mut view: Map<String, Value> = serde_json::from_str(&row.json_schema)?;
    view.insert("name".into(), json!(name));
    Ok(view)
}

/// The name and the whole body, which is a JSON schema.
fn parse(req: &Req) -> Result<(String, Value)> {
    let body: Value = schema::parse(req.json.as_ref(), "metadef_property", "property")?;
    let name = body["name"].as_str().unwrap_or_default().to_string();
    Ok((name, body))
}

fn taken(name: &str, namespace: &str) -> impl FnOnce(Error) -> Error + use<> {
    super::taken(format!(
        "A metadata definition property with name={name} already exists in namespace={namespace}."
    ))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let read = |tx: &mut Tx, namespace: &NamespaceRow| {
        metadefs::properties(&metadefs::within::<Row>(tx, namespace)?)
    };
    let properties = super::read(&glance, &req, "get_metadef_properties", read).await?;
    Reply::ok(&json!({"properties": properties}))
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (name, body) = parse(&req)?;
    let (now, new_name) = (glance.clock.now(), name.clone());
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = property_row(&namespace.id, &new_name, &body, now);
        tx.insert(&row)?;
        view(&row.name, &row)
    };
    let made = super::write(&glance, &req, "add_metadef_property", write).await;
    let view = made.map_err(taken(&name, req.param("namespace")))?;
    Reply::json(201, &view)
}

/// With `resource_type` the name is the one on a resource of that type: behind the association's prefix.
pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("property_name").to_string();
    let wanted = req.query.get("resource_type").map(str::to_string);
    let read = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let prefix = match &wanted {
            Some(wanted) => {
                let cond = all([eq("namespace", &namespace.id), eq("name", wanted)]);
                let association = tx.find::<AssociationRow>(cond)?;
                let association =
                    association.ok_or_else(|| super::resource_types::missing(wanted, namespace))?;
                association.prefix.unwrap_or_default()
            }
            None => String::new(),
        };
        let bare = name.strip_prefix(&prefix).ok_or_else(|| {
            Error::not_found(format!(
                "Property {name} does not start with the expected resource type association prefix of '{prefix}'."
            ))
        })?;
        view(&name, &find(tx, namespace, bare)?)
    };
    let view = super::read(&glance, &req, "get_metadef_property", read).await?;
    Reply::ok(&view)
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (name, body) = parse(&req)?;
    let (now, new_name) = (glance.clock.now(), name.clone());
    let old_name = req.param("property_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let old = find(tx, namespace, &old_name)?;
        let row = property_row(&namespace.id, &new_name, &body, now);
        let values = [
            set("name", &row.name),
            set("json_schema", &row.json_schema),
            set("updated_at", now),
        ];
        tx.update::<Row>(eq("id", &old.id), &values)?;
        view(&row.name, &row)
    };
    let changed = super::write(&glance, &req, "modify_metadef_property", write).await;
    let view = changed.map_err(taken(&name, req.param("namespace")))?;
    Reply::ok(&view)
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("property_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = find(tx, namespace, &name)?;
        super::refuse_protected(namespace, || format!("property {name}"))?;
        tx.delete::<Row>(eq("id", &row.id))
    };
    super::write(&glance, &req, "remove_metadef_property", write).await?;
    Ok(Reply::empty(204))
}
