//! Traits, and traits of a provider.

use super::{dated, json_accepted};
use crate::db::{ProviderRow, ProviderTraitRow, TraitRow};
use crate::{Placement, names, provider};
use base::{Error, Result};
use oslo_db::{Tx, eq, everything, is_in, prefix};
use oslo_http::{Reply, Req};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

fn not_found(name: &str) -> Error {
    Error::not_found(format!("No such trait(s): {name}."))
}

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let cond = match req.query.get("name") {
        None => everything(),
        Some(text) => match text.split_once(':') {
            Some(("in", list)) => is_in("name", list.split(',').collect::<Vec<_>>()),
            Some(("startswith", start)) => prefix("name", start),
            _ => {
                return Err(Error::bad_request(format!(
                    "Badly formatted name parameter. Expected name query string parameter in form: \
                     ?name=[in|startswith]:[name1,name2|prefix]. Got: \"{text}\""
                )));
            }
        },
    };
    let associated = match req
        .query
        .get("associated")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => {
            return Err(Error::bad_request(format!(
                "The query parameter \"associated\" only accepts \"true\" or \"false\". Got: {other}"
            )));
        }
    };
    let read = move |tx: &mut Tx| {
        let rows = tx.select::<TraitRow>(cond.clone())?;
        let used: BTreeSet<String> = match associated {
            None => BTreeSet::new(),
            Some(_) => tx
                .select::<ProviderTraitRow>(everything())?
                .into_iter()
                .map(|r| r.r#trait)
                .collect(),
        };
        let keep = |r: &TraitRow| associated.is_none_or(|want| used.contains(&r.name) == want);
        Ok(rows.into_iter().filter(keep).collect::<Vec<_>>())
    };
    let mut rows = placement.db.read(read).await?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let at = rows
        .iter()
        .map(|r| r.updated_at)
        .max()
        .unwrap_or_else(|| placement.clock.now());
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    Ok(dated(Reply::ok(&json!({"traits": names}))?, &req, at))
}

pub async fn show(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = req.param("name").to_string();
    let read = move |tx: &mut Tx| {
        tx.find::<TraitRow>(eq("name", &name))?
            .ok_or_else(|| not_found(&name))
    };
    let row = placement.db.read(read).await?;
    Ok(dated(Reply::empty(204), &req, row.updated_at))
}

pub async fn ensure(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = req.param("name").to_string();
    if !names::is_custom(&name) || name.len() > 255 {
        return Err(Error::bad_request(
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \
             \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\"",
        ));
    }
    let (row, new) = placement
        .write(move |tx, change| {
            if let Some(row) = tx.find::<TraitRow>(eq("name", &name))? {
                return Ok((row, false));
            }
            let row = TraitRow {
                name: name.clone(),
                updated_at: change.now,
            };
            tx.insert(&row)?;
            Ok((row, true))
        })
        .await?;
    let location = format!("{}/traits/{}", req.base_url, row.name);
    let reply = Reply::empty(if new { 201 } else { 204 }).header("location", location);
    Ok(dated(reply, &req, row.updated_at))
}

pub async fn delete(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let name = req.param("name").to_string();
    placement
        .write(move |tx, _| {
            if !tx.exists::<TraitRow>(eq("name", &name))? {
                return Err(not_found(&name));
            }
            if !name.starts_with("CUSTOM_") {
                return Err(Error::bad_request(format!(
                    "Cannot delete standard trait {name}."
                )));
            }
            if tx.exists::<ProviderTraitRow>(eq("trait", &name))? {
                return Err(Error::conflict(format!(
                    "The trait {name} is in use by a resource provider."
                )));
            }
            tx.delete::<TraitRow>(eq("name", &name))
        })
        .await?;
    Ok(Reply::empty(204))
}

fn provider_reply(req: &Req, provider: &ProviderRow, traits: &BTreeSet<String>) -> Result<Reply> {
    let body = json!({
        "traits": traits,
        "resource_provider_generation": provider.generation,
    });
    Ok(dated(Reply::ok(&body)?, req, provider.updated_at))
}

pub async fn of_provider(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let id = req.param("uuid").to_string();
    let read = move |tx: &mut Tx| {
        let rows = tx.select::<ProviderTraitRow>(eq("provider", &id))?;
        Ok((
            provider::get(tx, &id)?,
            rows.into_iter().map(|r| r.r#trait).collect(),
        ))
    };
    let (provider, traits) = placement.db.read(read).await?;
    provider_reply(&req, &provider, &traits)
}

#[derive(Deserialize)]
struct TraitsReplace {
    traits: BTreeSet<String>,
    resource_provider_generation: i64,
}

pub async fn replace(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let wanted: TraitsReplace = req.parse()?;
    let id = req.param("uuid").to_string();
    let traits = wanted.traits.clone();
    let provider = placement
        .write(move |tx, change| {
            let mut provider = provider::get(tx, &id)?;
            if provider.generation != wanted.resource_provider_generation {
                return Err(Error::conflict(
                    "Resource provider's generation already changed. Please update the generation and try again.",
                )
                .class(provider::CONCURRENT));
            }
            let known = tx.select::<TraitRow>(is_in("name", wanted.traits.iter()))?;
            let known: BTreeSet<String> = known.into_iter().map(|t| t.name).collect();
            let missing: Vec<&str> = wanted.traits.difference(&known).map(String::as_str).collect();
            if !missing.is_empty() {
                return Err(Error::bad_request(format!("No such trait(s): {}", missing.join(", "))));
            }
            tx.delete::<ProviderTraitRow>(eq("provider", &id))?;
            let row = |t: &String| ProviderTraitRow { provider: id.clone(), r#trait: t.clone() };
            tx.insert_all(&wanted.traits.iter().map(row).collect::<Vec<_>>())?;
            provider.generation = provider::bump(tx, change, &provider)?;
            Ok(provider)
        })
        .await?;
    provider_reply(&req, &provider, &traits)
}

pub async fn clear(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    let id = req.param("uuid").to_string();
    placement
        .write(move |tx, change| {
            let provider = provider::get(tx, &id)?;
            tx.delete::<ProviderTraitRow>(eq("provider", &id))?;
            provider::bump(tx, change, &provider)
        })
        .await?;
    Ok(Reply::empty(204))
}
