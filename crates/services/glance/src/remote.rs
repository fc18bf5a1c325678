//! glance-download: an image of another region, fetched with its caller's token.
//!
//! The token is nowhere but in the memory of the process that was asked. So the fetch is no step of a durable flow: it
//! is held by a lease like an upload, and a flow goes on once the bytes are in staging. If the process dies before, the
//! image is queued again and the task says why.

use crate::Glance;
use crate::db::{ImageRow, PropertyRow, TaskRow};
use crate::flows::{ImportImage, fail, row, to_staging};
use crate::image::attributes;
use crate::import::IMPORTING;
use crate::limits;
use crate::upload::{self, Token, gone, held, released};
use base::{Error, Result, id};
use glance_types::{Image, ImageStatus, TaskStatus};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, is_in, set};
use oslo_http::percent_encode;
use sdk::{Caller, get_at};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which image, and where.
#[derive(Clone, Debug)]
pub struct Remote {
    pub region: String,
    pub image: String,
    pub interface: String,
}

impl Remote {
    /// Reads what an import's method says.
    pub fn parse(
        region: Option<String>,
        image: Option<String>,
        interface: Option<String>,
    ) -> Result<Remote> {
        let needed = |name: &str, value: Option<String>| {
            value.ok_or_else(|| {
                Error::bad_request(format!(
                    "'{name}' needs to be set for glance-download import method"
                ))
            })
        };
        let region = needed("glance_region", region)?;
        let image = needed("glance_image_id", image)?;
        if !id::is_uuid_like(&image) {
            return Err(Error::bad_request(format!(
                "Remote image id does not look like a UUID: {image}"
            )));
        }
        Ok(Remote {
            region,
            image,
            interface: interface.unwrap_or_else(|| "public".to_string()),
        })
    }
}

/// Fetches what an import was accepted for, and lets its flow go on.
pub fn start(glance: &Arc<Glance>, flow: ImportImage, remote: Remote, ctx: Arc<RequestContext>) {
    let token = Token::new(glance, &flow.file);
    let glance = Arc::clone(glance);
    tokio::spawn(async move {
        let mut flow = flow;
        if let Err(e) = fetch(&glance, &mut flow, &remote, &ctx).await
            && let Err(e) = fail(&flow, &glance, e).await
        {
            // The reconciler, whom the token's end wakes, tries again.
            tracing::warn!(image.id = %flow.image, "a failed import could not be ended yet: {e:?}");
        }
        drop(token);
    });
}

async fn endpoint(glance: &Glance, remote: &Remote, ctx: &RequestContext) -> Result<String> {
    let endpoints = glance.sdk.endpoints(Caller::User(ctx), "image").await?;
    let wanted = endpoints
        .into_iter()
        .find(|e| e.region.eq_ignore_ascii_case(&remote.region) && e.interface == remote.interface);
    let url = wanted.map(|e| e.url).ok_or_else(|| {
        Error::not_found(format!(
            "{} glance endpoint not found with {} interface.",
            remote.region, remote.interface
        ))
    })?;
    // Both ways to write it in a catalog are in use.
    let url = url.trim_end_matches('/');
    Ok(url.strip_suffix("/v2").unwrap_or(url).to_string())
}

async fn fetch(
    glance: &Arc<Glance>,
    flow: &mut ImportImage,
    remote: &Remote,
    ctx: &RequestContext,
) -> Result<()> {
    let (task, now) = (flow.task.clone(), glance.clock.now());
    let write = move |tx: &mut Tx| {
        let values = [
            set("status", TaskStatus::Processing),
            set("updated_at", now),
        ];
        tx.update::<TaskRow>(eq("id", &task), &values)
    };
    glance.db.write(write).await?;
    let token = ctx.token.as_ref();
    let token = token.ok_or_else(|| Error::internal("an import by nobody's token"))?;
    let endpoint = endpoint(glance, remote, ctx).await?;
    let ca = glance.conf.auth_ca_cert.as_deref();
    let path = format!("/v2/images/{}", percent_encode(&remote.image));
    let record = get_at("image", &endpoint, ca, token, &path, "*/*").await?;
    let record: Image = serde_json::from_slice(&record.collect(16 << 20).await?)
        .map_err(|e| Error::unavailable("The other region's answer is no image.").log(e))?;
    let size = check(&record)?;
    let mut row = row(glance, &flow.image).await?;
    let owner = row.owner.clone().unwrap_or_default();
    let cap = limits::cap(glance, &owner, Some(size)).await?;
    flow.became.container_format = record.container_format.clone();
    flow.became.disk_format = record.disk_format.clone();
    flow.became.apply(&mut row);
    flow.became.properties = properties(glance, &record);
    let body = get_at(
        "image",
        &endpoint,
        ca,
        token,
        &format!("{path}/file"),
        "*/*",
    )
    .await?;
    let facts = to_staging(glance, &row, &flow.file, body, cap).await?;
    let same = |said: &Option<String>, is: &str| said.as_ref().is_none_or(|said| said == is);
    let hash_is_comparable = record.os_hash_algo.as_deref() == Some(facts.algo.as_str());
    if facts.size != size
        || !same(&record.checksum, &facts.checksum)
        || hash_is_comparable && !same(&record.os_hash_value, &facts.hash)
    {
        return Err(Error::bad_request(format!(
            "What came from {} is not what its record says: {} of {size} bytes, or another hash.",
            remote.region, facts.size
        )));
    }
    flow.facts = Some(facts);
    let (engine, ready, now) = (glance.engine.clone(), flow.clone(), glance.clock.now());
    let write = move |tx: &mut Tx| {
        let held = held(&ready.image, &ready.file);
        if tx.update::<ImageRow>(held, &released(now))? == 0 {
            return Err(gone(&ready.image));
        }
        engine.submit(tx, &ready).map(drop)
    };
    glance.db.write(write).await?;
    glance.engine.wake();
    Ok(())
}

/// The size of an image that can be fetched.
fn check(record: &Image) -> Result<u64> {
    if record.status != ImageStatus::Active {
        return Err(Error::bad_request(format!(
            "Source image status should be active instead of {}",
            record.status
        )));
    }
    record
        .size
        .ok_or_else(|| Error::bad_request("The source image has no size."))
}

/// What comes along with the bytes.
fn properties(glance: &Glance, record: &Image) -> BTreeMap<String, String> {
    let wanted = &glance.conf.glance_download_extra_properties;
    let mut properties = record.properties();
    properties.retain(|name, _| {
        wanted.iter().any(|start| name.starts_with(start)) && !attributes::is_attribute(name)
    });
    properties
}

/// Ends an import whose process died while it fetched.
pub async fn abandon(glance: &Glance, row: &ImageRow) -> Result<()> {
    let (Some(file), image) = (row.upload.clone(), row.id.clone()) else {
        return Ok(());
    };
    let find = move |tx: &mut Tx| {
        let at_work = is_in("status", [TaskStatus::Pending, TaskStatus::Processing]);
        let task = tx.find::<TaskRow>(all([eq("image_id", &image), at_work]))?;
        let stores = all([eq("image", &image), eq("name", IMPORTING)]);
        Ok((task, tx.find::<PropertyRow>(stores)?))
    };
    let (task, stores) = glance.db.read(find).await?;
    let Some(task) = task else {
        return upload::abandon(glance, &row.id, &file).await;
    };
    let stores = stores.map(|p| p.value).unwrap_or_default();
    let flow = ImportImage {
        stores: stores.split(',').map(str::to_string).collect(),
        ..ImportImage::of_task(&task, &row.id, &file)
    };
    let words = "The process that fetched the image ended before it was there.";
    fail(&flow, glance, Error::unavailable(words)).await
}
