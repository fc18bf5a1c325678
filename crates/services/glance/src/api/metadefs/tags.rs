//! Tags of a namespace.

use crate::Glance;
use crate::db::metadefs::{NamespaceRow, TagRow, tag_row, within};
use crate::metadef::{TagBody, TagsBody, schema};
use base::{Error, Result};
use oslo_db::{Tx, all, eq, set};
use oslo_http::{Reply, Req, is_true};
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Serialize)]
pub struct TagView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
}

/// As it stands among others.
pub fn brief(row: &TagRow) -> TagView {
    TagView {
        name: row.name.clone(),
        created_at: None,
        updated_at: None,
    }
}

fn view(row: &TagRow) -> TagView {
    TagView {
        created_at: Some(row.created_at.iso_z()),
        updated_at: Some(row.updated_at.iso_z()),
        ..brief(row)
    }
}

fn find(tx: &mut Tx, namespace: &NamespaceRow, name: &str) -> Result<TagRow> {
    let row = tx.find::<TagRow>(all([eq("namespace", &namespace.id), eq("name", name)]))?;
    row.ok_or_else(|| {
        Error::not_found(format!(
            "The metadata definition tag with name={name} was not found in namespace={}.",
            namespace.namespace
        ))
    })
}

fn taken(name: &str, namespace: &str) -> impl FnOnce(Error) -> Error + use<> {
    super::taken(format!(
        "A metadata definition tag with name={name} already exists in namespace={namespace}."
    ))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let paging = super::paging(&glance, &req)?;
    let read = move |tx: &mut Tx, namespace: &NamespaceRow| {
        super::page::<TagRow>(tx, namespace, &paging, |row| row.id.clone())
    };
    let page = super::read(&glance, &req, "get_metadef_tags", read).await?;
    let views: Vec<_> = page.items.iter().map(brief).collect();
    let mut body = json!({"tags": views, "schema": "v2/schemas/metadefs/tags"});
    if let Some(last) = page.items.last().filter(|_| page.more) {
        let query = req.query.with(&[("marker", &last.name)], &[]);
        body["next"] = json!(format!("{}?{query}", req.path));
    }
    Reply::ok(&body)
}

/// Makes these the tags of the namespace; with `X-Openstack-Append` adds them to those it has.
pub async fn replace(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: TagsBody = schema::parse(req.json.as_ref(), "metadef_tags", "tags")?;
    let append = req.header("x-openstack-append").is_some_and(is_true);
    let mut names = HashSet::new();
    for tag in &body.tags {
        if !names.insert(&tag.name) {
            return Err(taken_word(&tag.name, req.param("namespace")));
        }
    }
    let now = glance.clock.now();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let mut have = HashSet::new();
        if append {
            let rows = within::<TagRow>(tx, namespace)?;
            have.extend(rows.into_iter().map(|row| row.name));
        } else {
            tx.delete::<TagRow>(eq("namespace", &namespace.id))?;
        }
        let new = body.tags.iter().filter(|tag| !have.contains(&tag.name));
        let rows: Vec<_> = new.map(|t| tag_row(&namespace.id, &t.name, now)).collect();
        tx.insert_all(&rows)?;
        within::<TagRow>(tx, namespace)
    };
    let rows = super::write(&glance, &req, "add_metadef_tags", write).await?;
    let views: Vec<_> = rows.iter().map(brief).collect();
    Reply::json(201, &json!({"tags": views}))
}

fn taken_word(name: &str, namespace: &str) -> Error {
    Error::conflict(format!(
        "A metadata definition tag with name={name} already exists in namespace={namespace}."
    ))
}

pub async fn create(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("tag_name").to_string();
    if name.chars().count() > 80 {
        return Err(Error::bad_request(format!(
            "Provided object does not match schema 'tag': '{name}' is too long: name"
        )));
    }
    let (now, new_name) = (glance.clock.now(), name.clone());
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = tag_row(&namespace.id, &new_name, now);
        tx.insert(&row)?;
        Ok(view(&row))
    };
    let made = super::write(&glance, &req, "add_metadef_tag", write).await;
    let view = made.map_err(taken(&name, req.param("namespace")))?;
    Reply::json(201, &view)
}

pub async fn show(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("tag_name").to_string();
    let read = move |tx: &mut Tx, namespace: &NamespaceRow| Ok(view(&find(tx, namespace, &name)?));
    let view = super::read(&glance, &req, "get_metadef_tag", read).await?;
    Reply::ok(&view)
}

pub async fn update(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: TagBody = schema::parse(req.json.as_ref(), "metadef_tag", "tag")?;
    let (now, name) = (glance.clock.now(), body.name.clone());
    let old_name = req.param("tag_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let old = find(tx, namespace, &old_name)?;
        let row = TagRow {
            name: body.name.clone(),
            updated_at: now,
            ..old
        };
        let values = [set("name", &row.name), set("updated_at", now)];
        tx.update::<TagRow>(eq("id", &row.id), &values)?;
        Ok(view(&row))
    };
    let changed = super::write(&glance, &req, "modify_metadef_tag", write).await;
    let view = changed.map_err(taken(&name, req.param("namespace")))?;
    Reply::ok(&view)
}

pub async fn delete(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let name = req.param("tag_name").to_string();
    let write = move |tx: &mut Tx, namespace: &NamespaceRow| {
        let row = find(tx, namespace, &name)?;
        super::refuse_protected(namespace, || format!("tag {name}"))?;
        tx.delete::<TagRow>(eq("id", &row.id))
    };
    super::write(&glance, &req, "delete_metadef_tag", write).await?;
    Ok(Reply::empty(204))
}
