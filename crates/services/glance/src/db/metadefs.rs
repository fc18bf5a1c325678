//! Metadata definitions.

use crate::metadef::{AssociationBody, NamespaceBody, ObjectBody};
use base::{Dir, Error, Result, Timestamp};
use glance_types::MetadefVisibility;
use oslo_context::RequestContext;
use oslo_db::{Cond, Tx, any, eq, everything, is_in, nothing};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

oslo_db::table! {
    pub struct NamespaceRow in "metadef_namespaces" {
        pub id: String, pub namespace: String, pub display_name: Option<String>,
        pub description: Option<String>, pub visibility: MetadefVisibility, pub owner: Option<String>,
        pub protected: bool, pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    /// `required` and `properties` are JSON, as are the schemas of properties.
    pub struct ObjectRow in "metadef_objects" {
        pub id: String, pub namespace: String, pub name: String, pub description: Option<String>,
        pub required: String, pub properties: String,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct PropertyRow in "metadef_properties" {
        pub id: String, pub namespace: String, pub name: String, pub json_schema: String,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct TagRow in "metadef_tags" {
        pub id: String, pub namespace: String, pub name: String,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct ResourceTypeRow in "metadef_resource_types" {
        pub name: String, pub protected: bool, pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct AssociationRow in "metadef_associations" {
        pub namespace: String, pub name: String, pub prefix: Option<String>,
        pub properties_target: Option<String>, pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    /// Files of the catalog that were loaded.
    pub struct CatalogRow in "metadef_catalog" { pub file: String, pub loaded_at: Timestamp }
}

impl NamespaceRow {
    /// What policy rules look at.
    pub fn target(&self) -> Value {
        json!({"project_id": self.owner, "owner": self.owner, "visibility": self.visibility})
    }
}

/// What the caller may know of.
pub fn visible(ctx: &RequestContext) -> Cond {
    if ctx.is_admin {
        return everything();
    }
    let own = match &ctx.project_id {
        Some(project) => eq("owner", project),
        None => nothing(),
    };
    any([own, eq("visibility", MetadefVisibility::Public)])
}

pub fn not_found(name: &str) -> Error {
    Error::not_found(format!(
        "Metadata definition namespace={name} was not found."
    ))
}

/// The namespace of this name, if the caller may know of it; else a 404.
pub fn get(tx: &mut Tx, ctx: &RequestContext, name: &str) -> Result<NamespaceRow> {
    let row = tx.find::<NamespaceRow>(eq("namespace", name))?;
    seen(ctx, row, name)
}

/// Like [`get`], and nobody else changes the namespace, or what is in it, until the transaction ends.
pub fn get_for_update(tx: &mut Tx, ctx: &RequestContext, name: &str) -> Result<NamespaceRow> {
    let row = tx.find_for_update::<NamespaceRow>(eq("namespace", name))?;
    seen(ctx, row, name)
}

fn seen(ctx: &RequestContext, row: Option<NamespaceRow>, name: &str) -> Result<NamespaceRow> {
    let row = row.ok_or_else(|| not_found(name))?;
    let own = row.owner.is_some() && row.owner == ctx.project_id;
    if ctx.is_admin || own || row.visibility == MetadefVisibility::Public {
        return Ok(row);
    }
    Err(not_found(name))
}

/// Rows of one namespace, by name.
pub fn within<T: oslo_db::Table>(tx: &mut Tx, namespace: &NamespaceRow) -> Result<Vec<T>> {
    tx.select_sorted(eq("namespace", &namespace.id), &[("name", Dir::Asc)], None)
}

/// The associations of many namespaces, by the namespace's id.
pub fn associations(
    tx: &mut Tx,
    namespaces: &[NamespaceRow],
) -> Result<HashMap<String, Vec<AssociationRow>>> {
    let ids = is_in("namespace", namespaces.iter().map(|n| n.id.as_str()));
    let mut found: HashMap<String, Vec<AssociationRow>> = HashMap::new();
    for row in tx.select_sorted::<AssociationRow>(ids, &[("name", Dir::Asc)], None)? {
        found.entry(row.namespace.clone()).or_default().push(row);
    }
    Ok(found)
}

fn without_name(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.remove("name");
    }
    schema
}

pub fn object_row(namespace: &str, body: &ObjectBody, now: Timestamp) -> Result<ObjectRow> {
    Ok(ObjectRow {
        id: base::new_id(),
        namespace: namespace.to_string(),
        name: body.name.clone(),
        description: body.description.clone(),
        required: serde_json::to_string(&body.required)?,
        properties: serde_json::to_string(&body.properties)?,
        created_at: now,
        updated_at: now,
    })
}

pub fn property_row(namespace: &str, name: &str, schema: &Value, now: Timestamp) -> PropertyRow {
    PropertyRow {
        id: base::new_id(),
        namespace: namespace.to_string(),
        name: name.to_string(),
        json_schema: without_name(schema).to_string(),
        created_at: now,
        updated_at: now,
    }
}

pub fn tag_row(namespace: &str, name: &str, now: Timestamp) -> TagRow {
    TagRow {
        id: base::new_id(),
        namespace: namespace.to_string(),
        name: name.to_string(),
        created_at: now,
        updated_at: now,
    }
}

/// Says that a namespace is about a type of resource, which comes into being if nobody spoke of it before.
pub fn associate(
    tx: &mut Tx,
    namespace: &str,
    body: &AssociationBody,
    protected: bool,
    now: Timestamp,
) -> Result<AssociationRow> {
    if !tx.exists::<ResourceTypeRow>(eq("name", &body.name))? {
        let row = ResourceTypeRow {
            name: body.name.clone(),
            protected,
            created_at: now,
            updated_at: now,
        };
        // Somebody else may speak of it at this moment.
        tx.upsert(&row, &["name"])?;
    }
    let row = AssociationRow {
        namespace: namespace.to_string(),
        name: body.name.clone(),
        prefix: body.prefix.clone(),
        properties_target: body.properties_target.clone(),
        created_at: now,
        updated_at: now,
    };
    tx.insert(&row)?;
    Ok(row)
}

/// A namespace with all that its body says is in it.
pub fn insert(
    tx: &mut Tx,
    body: &NamespaceBody,
    owner: &str,
    visibility: MetadefVisibility,
    now: Timestamp,
) -> Result<NamespaceRow> {
    let row = NamespaceRow {
        id: base::new_id(),
        namespace: body.namespace.clone(),
        display_name: body.display_name.clone(),
        description: body.description.clone(),
        visibility,
        owner: Some(body.owner.clone().unwrap_or_else(|| owner.to_string())),
        protected: body.protected.unwrap_or(false),
        created_at: now,
        updated_at: now,
    };
    tx.insert(&row)?;
    for association in &body.resource_type_associations {
        associate(tx, &row.id, association, row.protected, now)?;
    }
    let objects = body.objects.iter().map(|o| object_row(&row.id, o, now));
    tx.insert_all(&objects.collect::<Result<Vec<_>>>()?)?;
    let properties = body.properties.iter();
    let properties = properties.map(|(name, schema)| property_row(&row.id, name, schema, now));
    tx.insert_all(&properties.collect::<Vec<_>>())?;
    let mut names = HashSet::new();
    let tags = body
        .tags
        .iter()
        .filter(|tag| names.insert(tag.name.as_str()));
    let tags = tags.map(|tag| tag_row(&row.id, &tag.name, now));
    tx.insert_all(&tags.collect::<Vec<_>>())?;
    Ok(row)
}

/// Removes a namespace and what is in it.
pub fn remove(tx: &mut Tx, namespace: &NamespaceRow) -> Result<()> {
    let inside = || eq("namespace", &namespace.id);
    tx.delete::<ObjectRow>(inside())?;
    tx.delete::<PropertyRow>(inside())?;
    tx.delete::<TagRow>(inside())?;
    tx.delete::<AssociationRow>(inside())?;
    tx.delete::<NamespaceRow>(eq("id", &namespace.id)).map(drop)
}

/// Properties as their callers see them, by name.
pub fn properties(rows: &[PropertyRow]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for row in rows {
        map.insert(row.name.clone(), serde_json::from_str(&row.json_schema)?);
    }
    Ok(map)
}
