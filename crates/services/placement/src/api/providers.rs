//! Resource providers.

use super::{dated, json_accepted};
use crate::Placement;
use crate::candidates::params::{self, Qualities};
use crate::candidates::search::{has_traits, in_aggregates, lacks};
use crate::db::{ClassRow, ProviderRow, TraitRow};
use crate::index::Index;
use crate::provider::{self, tree};
use base::{Error, Result, id};
use oslo_db::{Tx, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    generation: i64,
    parent: Option<&'a str>,
    root: &'a str,
}

fn links(req: &Req, id: &str) -> Value {
    let kinds: [(&str, u16); 6] = [
        ("self", 0),
        ("inventories", 0),
        ("usages", 0),
        ("aggregates", 1),
        ("traits", 6),
        ("allocations", 11),
    ];
    let link = |rel: &str| match rel {
        "self" => json!({"rel": rel, "href": format!("/resource_providers/{id}")}),
        _ => json!({"rel": rel, "href": format!("/resource_providers/{id}/{rel}")}),
    };
    kinds
        .iter()
        .filter(|(_, since)| req.at_least(1, *since))
        .map(|(rel, _)| link(rel))
        .collect()
}

fn view(req: &Req, p: &Shown<'_>) -> Value {
    let mut map = Map::new();
    map.insert("uuid".into(), p.id.into());
    map.insert("name".into(), p.name.into());
    map.insert("generation".into(), p.generation.into());
    map.insert("links".into(), links(req, p.id));
    if req.at_least(1, 14) {
        map.insert("parent_provider_uuid".into(), p.parent.into());
        map.insert("root_provider_uuid".into(), p.root.into());
    }
    Value::Object(map)
}

fn view_row(req: &Req, row: &ProviderRow) -> Value {
    let shown = Shown {
        id: &row.id,
        name: &row.name,
        generation: row.generation,
        parent: row.parent.as_deref(),
        root: &row.root,
    };
    view(req, &shown)
}

/// The filters of a listing.
struct Wanted {
    name: Option<String>,
    uuid: Option<String>,
    in_tree: Option<String>,
    resources: BTreeMap<String, i64>,
    qualities: Qualities,
}

impl Wanted {
    fn parse(req: &Req) -> Result<Wanted> {
        let query = &req.query;
        let mut qualities = Qualities::default();
        params::member_of(req, query.all("member_of"), &mut qualities)?;
        for value in params::required_values(req, query, "required") {
            params::required(req, value, &mut qualities)?;
        }
        let both = qualities.contradictions();
        if !both.is_empty() {
            return Err(Error::bad_request(format!(
                "Conflicting required and forbidden traits found in the following traits keys: required: ({})",
                both.join(", ")
            )));
        }
        Ok(Wanted {
            name: query.get("name").map(str::to_string),
            uuid: query.get("uuid").map(id::parse_uuid).transpose()?,
            in_tree: query.get("in_tree").map(id::parse_uuid).transpose()?,
            resources: query
                .get("resources")
                .map(params::resources)
                .transpose()?
                .unwrap_or_default(),
            qualities,
        })
    }
}

/// 400 for traits and classes that nobody defined.
pub fn check_names(
    tx: &mut Tx,
    traits: &BTreeSet<String>,
    classes: &BTreeSet<String>,
) -> Result<()> {
    let mut have = BTreeSet::new();
    if !traits.is_empty() {
        let rows = tx.select::<TraitRow>(is_in("name", traits.iter()))?;
        have.extend(rows.into_iter().map(|t| t.name));
    }
    let missing: Vec<&str> = traits.difference(&have).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Error::bad_request(format!(
            "No such trait(s): {}.",
            missing.join(", ")
        )));
    }
    let rows = tx.select::<ClassRow>(is_in("name", classes.iter()))?;
    let have: BTreeSet<String> = rows.into_iter().map(|c| c.name).collect();
    match classes.difference(&have).next() {
        Some(missing) => Err(Error::bad_request(format!(
            "Invalid resource class in resources parameter: No such resource class {missing}."
        ))),
        None => Ok(()),
    }
}

fn select<'a>(index: &'a Index, wanted: &Wanted) -> Vec<&'a crate::index::Provider> {
    let root = wanted
        .in_tree
        .as_ref()
        .map(|id| index.get(id).map(|p| p.root.as_str()));
    let mut found: Vec<&crate::index::Provider> = index
        .all()
        .map(|p| p.as_ref())
        .filter(|p| wanted.name.as_ref().is_none_or(|n| *n == p.name))
        .filter(|p| wanted.uuid.as_ref().is_none_or(|u| *u == p.id))
        .filter(|p| root.is_none_or(|r| r == Some(p.root.as_str())))
        .filter(|p| wanted.resources.iter().all(|(c, n)| p.fits(c, *n)))
        .filter(|p| has_traits(p, &wanted.qualities.required))
        .filter(|p| lacks(p, &wanted.qualities.forbidden))
        .filter(|p| in_aggregates(p, &wanted.qualities))
        .collect();
    found.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
    found
}

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let wanted = Wanted::parse(&req)?;
    let traits: BTreeSet<String> = wanted.qualities.trait_names().cloned().collect();
    let classes: BTreeSet<String> = wanted.resources.keys().cloned().collect();
    if !traits.is_empty() || !classes.is_empty() {
        placement
            .db
            .read(move |tx| check_names(tx, &traits, &classes))
            .await?;
    }
    placement.refresh().await?;
    placement.look(|index| {
        let found = select(index, &wanted);
        let newest = found.iter().map(|p| p.updated_at).max();
        let views: Vec<Value> = found
            .iter()
            .map(|p| {
                let shown = Shown {
                    id: &p.id,
                    name: &p.name,
                    generation: p.generation,
                    parent: p.parent.as_deref(),
                    root: &p.root,
                };
                view(&req, &shown)
            })
            .collect();
        let reply = Reply::ok(&json!({"resource_providers": views}))?;
        Ok(dated(
            reply,
            &req,
            newest.unwrap_or_else(|| placement.clock.now()),
        ))
    })
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let row = placement.db.read(move |tx| provider::get(tx, &id)).await?;
    Ok(dated(
        Reply::ok(&view_row(&req, &row))?,
        &req,
        row.updated_at,
    ))
}

#[derive(serde::Deserialize)]
struct ProviderCreate {
    name: String,
    uuid: Option<String>,
    parent_provider_uuid: Option<String>,
}

pub async fn create(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let body: ProviderCreate = req.parse()?;
    let id = body
        .uuid
        .as_deref()
        .map(id::parse_uuid)
        .transpose()?
        .unwrap_or_else(base::new_id);
    let parent = body
        .parent_provider_uuid
        .as_deref()
        .map(id::parse_uuid)
        .transpose()?;
    let name = body.name;
    let row = placement
        .write(move |tx, change| tree::create(tx, change, &id, &name, parent.as_deref()))
        .await?;
    let location = format!("{}/resource_providers/{}", req.base_url, row.id);
    if !req.at_least(1, 20) {
        return Ok(Reply::empty(201).header("location", location));
    }
    let reply = Reply::ok(&view_row(&req, &row))?.header("location", location);
    Ok(dated(reply, &req, row.updated_at))
}

pub async fn update(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let id = req.param("uuid").to_string();
    let body = req.json.clone().unwrap_or_default();
    let name = body["name"].as_str().unwrap_or_default().to_string();
    let parent: Option<Option<String>> = match body.get("parent_provider_uuid") {
        None => None,
        Some(value) => Some(value.as_str().map(id::parse_uuid).transpose()?),
    };
    let free = req.at_least(1, 37);
    let row = placement
        .write(move |tx, change| {
            let parent = parent.as_ref().map(|p| p.as_deref());
            tree::update(tx, change, &id, &name, parent, free)
        })
        .await?;
    Ok(dated(
        Reply::ok(&view_row(&req, &row))?,
        &req,
        row.updated_at,
    ))
}

pub async fn delete(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let id = req.param("uuid").to_string();
    placement
        .write(move |tx, change| tree::delete(tx, change, &id))
        .await?;
    Ok(Reply::empty(204))
}
