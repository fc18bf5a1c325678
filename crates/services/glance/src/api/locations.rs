//! `/v2/images/{id}/locations`: where the copies of an image are, for services; and data that stays on the web.

use super::views;
use crate::Glance;
use crate::db::images::{get, get_for_update};
use crate::flows::{Claim, HASHES};
use crate::import::{Import, submit, task_row};
use crate::limits::Limits;
use crate::stores::StoreType;
use base::{Error, Result};
use glance_types::TaskType;
use oslo_db::Tx;
use oslo_http::{Reply, Req};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
struct Validation {
    os_hash_algo: Option<String>,
    os_hash_value: Option<String>,
}

#[derive(Deserialize)]
struct LocationBody {
    url: String,
    validation_data: Option<Validation>,
}

/// What is claimed of the data: nothing, or a hash we can compute, with as many digits as it has.
fn claim(validation: Option<Validation>) -> Result<Option<Claim>> {
    let Some(validation) = validation else {
        return Ok(None);
    };
    let (algo, value) = match (validation.os_hash_algo, validation.os_hash_value) {
        (None, None) => return Ok(None),
        (Some(algo), Some(value)) => (algo, value),
        _ => {
            return Err(Error::bad_request(
                "validation_data needs both os_hash_algo and os_hash_value.",
            ));
        }
    };
    let known = HASHES.iter().find(|(name, _)| *name == algo);
    let (_, digits) = known
        .ok_or_else(|| Error::bad_request(format!("os_hash_algo: '{algo}' is not supported.")))?;
    if value.len() != *digits || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::bad_request(format!(
            "os_hash_value: invalid size or digits for {algo}; {digits} hexadecimal digits are expected."
        )));
    }
    Ok(Some(Claim {
        os_hash_algo: algo,
        os_hash_value: value,
    }))
}

/// The store that reads such addresses; `file`, `filesystem` and the like are nobody's to name.
pub fn reader<'a>(glance: &'a Glance, url: &str) -> Result<&'a str> {
    let scheme = url.split(':').next().unwrap_or_default();
    let store = glance.stores.all().iter();
    let mut store = store.filter(|b| b.kind == StoreType::Http);
    match (scheme, store.next()) {
        ("http" | "https", Some(store)) => {
            glance.web.check(url)?;
            Ok(&store.id)
        }
        _ => Err(Error::bad_request(format!("Invalid location: {url}"))),
    }
}

pub async fn add(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let body: LocationBody = req.parse()?;
    let store = reader(&glance, &body.url)?;
    let import = Import::location(&body.url, claim(body.validation_data)?, store);
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let (policy, state) = (Arc::clone(req.policy()), Arc::clone(&glance));
    let input = json!({"image_id": id, "loc_url": body.url, "validation_data": import.claim});
    let now = glance.clock.now();
    let task = task_row(&ctx, TaskType::LocationImport, &id, &input, now);
    let limits = Limits::none();
    let write = move |tx: &mut Tx| {
        let mut image = get_for_update(tx, &ctx, &id)?;
        policy.enforce("add_image_location", &ctx, &image.target())?;
        submit(tx, &state, &ctx, &mut image, &import, &task, &limits)
    };
    glance.db.write(write).await?;
    glance.engine.wake();
    Ok(Reply::empty(202))
}

pub async fn list(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("fetch_image_location", &image.target())?;
    Reply::ok(&views::places(&image, &glance.stores))
}
