//! Namespaces.

use super::{objects, properties, resource_types, tags};
use crate::Glance;
use crate::db::metadefs::{
    self, AssociationRow, NamespaceRow, ObjectRow, PropertyRow, TagRow, associations, insert,
    visible, within,
};
use crate::metadef::{NamespaceBody, schema};
use base::{Error, Result};
use glance_types::MetadefVisibility;
use oslo_db::{Tx, all, eq, in_rows, is_in, set};
use oslo_http::{PagingRules, Reply, Req, parse_paging};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SCHEMA: &str = "/v2/schemas/metadefs/namespace";
const SORT_KEYS: &[(&str, &str)] = &[
    ("created_at", "created_at"),
    ("display_name", "display_name"),
    ("id", "id"),
    ("namespace", "namespace"),
    ("updated_at", "updated_at"),
    ("visibility", "visibility"),
];

#[derive(Serialize)]
struct NamespaceView {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    visibility: MetadefVisibility,
    protected: bool,
    owner: Option<String>,
    created_at: String,
    updated_at: String,
    schema: &'static str,
    #[serde(rename = "self")]
    own: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_type_associations: Vec<resource_types::AssociationView>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objects: Vec<objects::ObjectView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<tags::TagView>,
}

fn link(name: &str) -> String {
    format!("/v2/metadefs/namespaces/{name}")
}

fn view(row: &NamespaceRow) -> NamespaceView {
    NamespaceView {
        namespace: row.namespace.clone(),
        display_name: row.display_name.clone(),
        description: row.description.clone(),
        visibility: row.visibility,
        protected: row.protected,
        owner: row.owner.clone(),
        created_at: row.created_at.iso_z(),
        updated_at: row.updated_at.iso_z(),
        schema: SCHEMA,
        own: link(&row.namespace),
        resource_type_associations: Vec::new(),
        properties: Map::new(),
        objects: Vec::new(),
        tags: Vec::new(),
    }
}

fn full_view(tx: &mut Tx, row: &NamespaceRow) -> Result<NamespaceView> {
    let mut full = view(row);
    let associations: Vec<AssociationRow> = within(tx, row)?;
    full.resource_type_associations = associations.iter().map(resource_types::view).collect();
    full.properties = metadefs::properties(&within::<PropertyRow>(tx, row)?)?;
    let objects = within::<ObjectRow>(tx, row)?;
    let objects = objects.iter().map(|o| objects::view(row, o));
    full.objects = objects.collect::<Result<_>>()?;
    full.tags = within::<TagRow>(tx, row)?.iter().map(tags::brief).collect();
    Ok(full)
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    req.enforce(
        "get_metadef_namespaces",
        &json!({"project_id": req.ctx.project_id}),
    )?;
    let rules = PagingRules {
        tie: "namespace",
        default_limit: Some(glance.conf.limit_param_default),
        max_limit: glance.conf.api_limit_max,
        default_sort: &[("created_at", base::Dir::Desc)],
        ..PagingRules::new(SORT_KEYS)
    };
    let paging = parse_paging(&req.query, &rules)?;
    let mut conds = vec![visible(&req.ctx)];
    if let Some(word) = req.query.get("visibility") {
        let wanted = MetadefVisibility::parse(word)
            .map_err(|_| Error::bad_request(format!("Invalid visibility value: {word}")))?;
        conds.push(eq("visibility", wanted));
    }
    if let Some(owner) = req.query.get("owner") {
        conds.push(eq("owner", owner));
    }
    if let Some(types) = req.query.get("resource_types") {
        let named = is_in("name", types.split(',').map(str::trim));
        conds.push(in_rows::<AssociationRow>("id", "namespace", named));
    }
    let (cond, ctx) = (all(conds), Arc::clone(&req.ctx));
    let read = move |tx: &mut Tx| {
        if let Some(marker) = &paging.marker {
            metadefs::get(tx, &ctx, marker)?;
        }
        let page = tx.page_by_key::<NamespaceRow>("namespace", cond.clone(), &paging)?;
        let associations = associations(tx, &page.items)?;
        Ok((page, associations))
    };
    let (page, associations) = glance.db.read(read).await?;
    let views = page.items.iter().map(|row| {
        let mut view = view(row);
        let own = associations.get(&row.id).map_or(&[][..], Vec::as_slice);
        view.resource_type_associations = own.iter().map(resource_types::view).collect();
        view
    });
    let views: Vec<_> = views.collect();
    let link = |query: String| match query.as_str() {
        "" => "/v2/metadefs/namespaces".to_string(),
        query => format!("/v2/metadefs/namespaces?{query}"),
    };
    let mut body = json!({
        "namespaces": views,
        "first": link(req.query.with(&[], &["marker"])),
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    if let Some(last) = page.items.last().filter(|_| page.more) {
        body["next"] = json!(link(req.query.with(&[("marker", &last.namespace)], &[])));
    }
    Reply::ok(&body)
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: NamespaceBody = schema::parse(req.json.as_ref(), "metadef_namespace", "namespace")?;
    schema::check_names(&body)?;
    let project = req.ctx.project().to_string();
    let owner = body.owner.clone().unwrap_or_else(|| project.clone());
    req.enforce(
        "add_metadef_namespace",
        &json!({"project_id": owner, "owner": owner}),
    )?;
    let visibility = body.visibility.unwrap_or(MetadefVisibility::Private);
    let (now, name) = (glance.clock.now(), body.namespace.clone());
    let write = move |tx: &mut Tx| {
        let row = insert(tx, &body, &project, visibility, now)?;
        full_view(tx, &row)
    };
    let view = glance.db.write(write).await.map_err(super::taken(format!(
        "The metadata definition namespace={name} already exists."
    )))?;
    tracing::info!(namespace = %name, "metadata definitions created");
    let location = format!(
        "{}{}",
        req.base_url,
        link(&oslo_http::percent_encode(&name))
    );
    Ok(Reply::json(201, &view)?.header("location", location))
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let mut view = super::read(&glance, &req, "get_metadef_namespace", full_view).await?;
    if let Some(wanted) = req.query.get("resource_type") {
        let own = &view.resource_type_associations;
        let prefix = own.iter().find(|a| a.name == wanted);
        if let Some(prefix) = prefix.and_then(|a| a.prefix.clone()) {
            add_prefix(&mut view, &prefix);
        }
    }
    Reply::ok(&view)
}

/// Property names as they stand on a resource of one type.
fn add_prefix(view: &mut NamespaceView, prefix: &str) {
    let prefixed = |map: Map<String, Value>| -> Map<String, Value> {
        map.into_iter()
            .map(|(name, schema)| (format!("{prefix}{name}"), schema))
            .collect()
    };
    view.properties = prefixed(std::mem::take(&mut view.properties));
    for object in &mut view.objects {
        object.properties = prefixed(std::mem::take(&mut object.properties));
        for name in &mut object.required {
            *name = format!("{prefix}{name}");
        }
    }
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: NamespaceBody = schema::parse(req.json.as_ref(), "metadef_namespace", "namespace")?;
    let (project, now) = (req.ctx.project_id.clone(), glance.clock.now());
    let name = body.namespace.clone();
    let write = move |tx: &mut Tx, old: &NamespaceRow| {
        let row = NamespaceRow {
            namespace: body.namespace.clone(),
            display_name: body.display_name.clone(),
            description: body.description.clone(),
            // What is left out goes back to what it is in a new namespace.
            visibility: body.visibility.unwrap_or(MetadefVisibility::Private),
            protected: body.protected.unwrap_or(false),
            owner: body.owner.clone().or_else(|| project.clone()),
            updated_at: now,
            ..old.clone()
        };
        let values = [
            set("namespace", &row.namespace),
            set("display_name", row.display_name.clone()),
            set("description", row.description.clone()),
            set("visibility", row.visibility),
            set("protected", row.protected),
            set("owner", row.owner.clone()),
            set("updated_at", now),
        ];
        tx.update::<NamespaceRow>(eq("id", &row.id), &values)?;
        Ok(view(&row))
    };
    let changed = super::write(&glance, &req, "modify_metadef_namespace", write).await;
    let view = changed.map_err(super::taken(format!(
        "The metadata definition namespace={name} already exists."
    )))?;
    Reply::ok(&view)
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let write = |tx: &mut Tx, row: &NamespaceRow| {
        if row.protected {
            return Err(Error::forbidden(format!(
                "Metadata definition namespace {} is protected and cannot be deleted.",
                row.namespace
            )));
        }
        metadefs::remove(tx, row)
    };
    super::write(&glance, &req, "delete_metadef_namespace", write).await?;
    tracing::info!(
        namespace = req.param("namespace"),
        "metadata definitions deleted"
    );
    Ok(Reply::empty(204))
}

/// All objects of a namespace.
pub async fn delete_objects(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    clear::<ObjectRow>(glance, req, "delete_metadef_namespace").await
}

/// All properties of a namespace.
pub async fn delete_properties(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    clear::<properties::Row>(glance, req, "delete_metadef_namespace").await
}

/// All tags of a namespace.
pub async fn delete_tags(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    clear::<TagRow>(glance, req, "delete_metadef_tags").await
}

async fn clear<T: oslo_db::Table>(
    glance: Arc<Glance>,
    req: Req,
    rule: &'static str,
) -> Result<Reply> {
    let write = |tx: &mut Tx, row: &NamespaceRow| {
        super::refuse_protected(row, || format!("namespace {}", row.namespace))?;
        tx.delete::<T>(eq("namespace", &row.id))
    };
    super::write(&glance, &req, rule, write).await?;
    Ok(Reply::empty(204))
}
