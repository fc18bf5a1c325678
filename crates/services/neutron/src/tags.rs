//! Tags: words on resources, and filters by them.

use crate::db::TagRow;
use crate::noun::{Body, Call, Noun, within};
use crate::{Neutron, crud, fault};
use base::{Error, Result};
use oslo_db::{Cond, Tx, all, any, eq, is_in, not};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The tags of each resource, sorted.
pub(crate) fn of<'a>(
    tx: &mut Tx,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<String>>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in tx.select::<TagRow>(is_in("resource_id", ids))? {
        found.entry(row.resource_id).or_default().push(row.tag);
    }
    found.values_mut().for_each(|tags| tags.sort());
    Ok(found)
}

pub(crate) fn replace(tx: &mut Tx, id: &str, tags: &[String]) -> Result<()> {
    forget(tx, id)?;
    let mut tags = tags.to_vec();
    tags.sort();
    tags.dedup();
    put(tx, id, &tags)
}

/// Adds tags that are not there yet.
pub(crate) fn put(tx: &mut Tx, id: &str, tags: &[String]) -> Result<()> {
    let row = |tag: &String| TagRow {
        resource_id: id.into(),
        tag: tag.clone(),
    };
    tx.insert_all(&tags.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn forget(tx: &mut Tx, id: &str) -> Result<()> {
    tx.delete::<TagRow>(eq("resource_id", id)).map(drop)
}

/// `tags`, `tags-any`, `not-tags`, `not-tags-any`; values are separated by commas too.
pub(crate) fn filter(name: &str, values: &[String]) -> Cond {
    let words: Vec<&str> = values
        .iter()
        .flat_map(|v| v.split(','))
        .filter(|w| !w.is_empty())
        .collect();
    let has = |word: &&str| within::<TagRow>("id", "resource_id", eq("tag", *word));
    let every = || all(words.iter().map(has));
    let some = || any(words.iter().map(has));
    match name {
        "tags-any" => some(),
        "not-tags" => not(every()),
        "not-tags-any" => not(some()),
        _ => every(),
    }
}

async fn change<N: Noun>(
    neutron: Arc<Neutron>,
    req: Req,
    edit: impl Fn(&mut Vec<String>) -> Result<()> + Send + Sync + 'static,
) -> Result<Vec<String>> {
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let action = if req.method == oslo_http::Method::DELETE {
        "delete"
    } else {
        "update"
    };
    neutron
        .change(&call, move |tx, call| {
            let (_, view) = crud::take::<N>(tx, call, &id)?;
            let rule = format!("{action}_{}:tags", N::MEMBER);
            if !call.policy.check(&rule, &call.ctx, &view) {
                return Err(fault::denied(&rule));
            }
            let mut tags = view.tags();
            edit(&mut tags)?;
            replace(tx, &id, &tags)?;
            Ok(tags)
        })
        .await
}

fn parse<N: Noun>(req: &Req) -> Result<Vec<String>> {
    let body: Body = req
        .json
        .as_ref()
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let tags = body
        .get("tags")
        .ok_or_else(|| Error::bad_request("Invalid tags body").class("InvalidInput"))?;
    crate::validate::check("type:list_of_tags", tags, &Value::Null)
        .map_err(fault::invalid_input)?;
    Ok(tags
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect())
}

pub(crate) async fn list<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let tags = neutron
        .db
        .read(move |tx| crud::load::<N>(tx, &call, &id).map(|(_, v)| v.fields.get("tags").cloned()))
        .await?;
    Reply::ok(&json!({"tags": tags.unwrap_or(json!([]))}))
}

pub(crate) async fn show<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let (id, tag) = (req.param("id").to_string(), req.param("tag").to_string());
    neutron
        .db
        .read(move |tx| {
            crud::load::<N>(tx, &call, &id)?;
            let found = tx.exists::<TagRow>(all([
                eq("resource_id", id.as_str()),
                eq("tag", tag.as_str()),
            ]))?;
            if found { Ok(()) } else { Err(missing(&tag)) }
        })
        .await?;
    Ok(Reply::empty(204))
}

fn missing(tag: &str) -> Error {
    Error::not_found(format!("Tag {tag} could not be found.")).class("TagNotFound")
}

pub(crate) async fn replace_all<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let wanted = parse::<N>(&req)?;
    let tags = change::<N>(neutron, req, move |tags| {
        *tags = wanted.clone();
        tags.sort();
        tags.dedup();
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"tags": tags}))
}

pub(crate) async fn add_many<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let wanted = parse::<N>(&req)?;
    change::<N>(neutron, req, move |tags| {
        tags.extend(wanted.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::empty(200))
}

pub(crate) async fn add<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let tag = req.param("tag").to_string();
    crate::validate::check("type:list_of_tags", &json!([tag]), &Value::Null)
        .map_err(fault::invalid_input)?;
    change::<N>(neutron, req, move |tags| {
        tags.push(tag.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::empty(201))
}

pub(crate) async fn remove<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let tag = req.param("tag").to_string();
    change::<N>(neutron, req, move |tags| {
        let at = tags
            .iter()
            .position(|t| *t == tag)
            .ok_or_else(|| missing(&tag))?;
        tags.remove(at);
        Ok(())
    })
    .await?;
    Ok(Reply::empty(204))
}

pub(crate) async fn remove_all<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    change::<N>(neutron, req, |tags| {
        tags.clear();
        Ok(())
    })
    .await?;
    Ok(Reply::empty(204))
}
