//! An upload: bytes go into a store, and in the same pass through what learns of them ([`crate::pass`]).
//!
//! The row is `saving` meanwhile (`uploading`, if the data shall wait for an import), with the upload's token and a lease.
//! However the upload ends, the row leaves that: here, or by the reconciler if the caller vanished with the request or
//! the process died ([`crate::periodic`]).

use crate::Glance;
use crate::db::images::drop_locations;
use crate::db::{ImageRow, LocationRow, LocationStatus};
use crate::inspect::Verdict;
use crate::limits::{self, Limited, Limits, mebibytes};
use crate::pass::Pass;
use crate::signature::Signature;
use crate::stores::{Incoming, Store};
use base::{Error, Kind, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use glance_types::ImageStatus;
use oslo_db::{Tx, all, cell, eq, is_in, set};
use oslo_http::Body;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For so long an upload is believed to live without a sign.
pub const LEASE: Duration = Duration::from_secs(120);
const RENEW: Duration = Duration::from_secs(30);

/// Uploads that this process receives now.
#[derive(Default)]
pub struct Live(Mutex<HashSet<String>>);

impl Live {
    pub fn contains(&self, upload: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(upload)
    }
}

/// An upload lives as long as this; when it is dropped, the reconciler looks at what is left of it.
pub struct Token {
    glance: Arc<Glance>,
    upload: String,
}

impl Token {
    pub fn new(glance: &Arc<Glance>, upload: &str) -> Token {
        let mut live = glance.live.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.insert(upload.to_string());
        Token {
            glance: Arc::clone(glance),
            upload: upload.to_string(),
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut live = self
            .glance
            .live
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        live.remove(&self.upload);
        drop(live);
        self.glance.poke_uploads();
    }
}

/// What was learnt of the bytes on their way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub size: u64,
    /// md5.
    pub checksum: String,
    /// `sha512`, unless somebody who knows the data named another one.
    pub algo: String,
    pub hash: String,
    /// The hash that the data is said to be signed by.
    #[serde(default)]
    pub signed: Option<String>,
    pub verdict: Option<Verdict>,
}

impl Facts {
    /// The columns that tell of them.
    pub fn columns(&self) -> Vec<(&'static str, base::CellValue)> {
        let virtual_size = self.verdict.as_ref().and_then(|v| v.virtual_size);
        vec![
            set("size", self.size as i64),
            set(
                "virtual_size",
                virtual_size.and_then(|v| i64::try_from(v).ok()),
            ),
            set("checksum", &self.checksum),
            set("os_hash_algo", &self.algo),
            set("os_hash_value", &self.hash),
        ]
    }
}

/// What an image is while somebody receives its data; `importing`, if that comes from another region.
pub const RECEIVING: [ImageStatus; 3] = [
    ImageStatus::Saving,
    ImageStatus::Uploading,
    ImageStatus::Importing,
];

/// The row with this upload in progress.
pub fn held(id: &str, upload: &str) -> oslo_db::Cond {
    all([
        eq("id", id),
        is_in("status", RECEIVING),
        eq("upload", upload),
    ])
}

/// Receives the data of a queued image into a store, if it is signed as its owner says.
pub async fn receive(
    glance: &Arc<Glance>,
    row: &ImageRow,
    body: Body,
    store: &str,
    signature: Option<Signature>,
) -> Result<()> {
    run(glance, row, body, Some(store), signature).await
}

/// Receives the data of a queued image that waits for its import.
pub async fn stage(glance: &Arc<Glance>, row: &ImageRow, body: Body) -> Result<()> {
    run(glance, row, body, None, None).await
}

async fn run(
    glance: &Arc<Glance>,
    row: &ImageRow,
    body: Body,
    store: Option<&str>,
    signature: Option<Signature>,
) -> Result<()> {
    let size = body.length();
    if size.is_some_and(|n| n > glance.conf.image_size_cap) {
        return Err(too_large());
    }
    let owner = row.owner.as_deref().unwrap_or_default();
    let limits = Limits::of(glance, owner).await?;
    let what = match store {
        Some(_) => Limited::SizeTotal,
        None => Limited::StageTotal,
    };
    limits.check_now(glance, what, mebibytes(size)).await?;
    let cap = match store {
        Some(_) => limits::cap(glance, owner, size).await?,
        None => glance.conf.image_size_cap,
    };
    let id = row.id.clone();
    let upload = format!("{id}.{}", base::new_hex_id());
    let target: Arc<dyn Store> = match store {
        Some(store) => Arc::clone(glance.stores.chosen(store)?.writable()?),
        None => Arc::new(glance.stores.staging.clone()),
    };
    let token = Token::new(glance, &upload);
    let status = match store {
        Some(_) => ImageStatus::Saving,
        None => ImageStatus::Uploading,
    };
    // As it is now that nobody changes its formats any more.
    let row = &begin(glance, &id, &upload, status, limits).await?;
    let alive = || renew(glance, &id, &upload);
    let signature = signature.as_ref();
    let outcome = match target.begin(&upload, size).await {
        Ok(mut incoming) => {
            match pour(glance, row, &mut *incoming, body, cap, signature, &alive).await {
                Ok(facts) => settle(glance, row, &upload, facts, store, incoming, &alive).await,
                Err(e) => {
                    incoming.forget().await;
                    Err(e)
                }
            }
        }
        Err(e) => Err(e),
    };
    if outcome.is_err()
        && let Err(e) = abandon(glance, &id, &upload).await
    {
        // The reconciler, whom the token's end wakes, tries again.
        tracing::warn!(image.id = %id, "what a broken upload left could not be removed yet: {e:?}");
    }
    drop(token);
    outcome
}

pub fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "Image exceeds the storage quota: its size, or that of the disk in it, is over image_size_cap or what user_storage_quota leaves.",
    )
}

async fn begin(
    glance: &Arc<Glance>,
    id: &str,
    upload: &str,
    to: ImageStatus,
    limits: Limits,
) -> Result<ImageRow> {
    let (id, upload) = (id.to_string(), upload.to_string());
    let (owner, now) = (glance.process.clone(), glance.clock.now());
    let begin = move |tx: &mut Tx| {
        let extra = [
            set("upload", &upload),
            set("upload_owner", &owner),
            set("upload_lease", now.plus(LEASE)),
            set("updated_at", now),
        ];
        let from = [ImageStatus::Queued];
        let begun = tx.swap::<ImageRow, _>(eq("id", &id), "status", &from, to, &extra)?;
        if !begun {
            return Ok(None);
        }
        limits.check(tx, Limited::CountUploading, 0)?;
        tx.find(eq("id", &id))
    };
    let begun = glance.db.write(begin).await?;
    begun.ok_or_else(|| Error::conflict(format!(
        "Image status transition from its present status to {to} is not allowed: data is uploaded once, to a queued image.",
    )))
}

/// Says that the upload still lives; an error if the image is gone.
pub fn renew<'a>(glance: &'a Glance, id: &'a str, upload: &'a str) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let (cond_id, cond_upload) = (id.to_string(), upload.to_string());
        let until = glance.clock.now().plus(LEASE);
        let renewed = glance
            .db
            .write(move |tx| {
                let values = [set("upload_lease", until)];
                tx.update::<ImageRow>(held(&cond_id, &cond_upload), &values)
            })
            .await?;
        if renewed == 0 { Err(gone(id)) } else { Ok(()) }
    })
}

/// Whoever sends the bytes is asked now and then whether anybody still wants them.
pub type Alive<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<()>> + Send + Sync);

/// Brings a body into a store, and learns what there is to learn of it in the same pass; whether it is signed, too.
pub async fn pour(
    glance: &Glance,
    row: &ImageRow,
    incoming: &mut dyn Incoming,
    body: Body,
    cap: u64,
    signature: Option<&Signature>,
    alive: Alive<'_>,
) -> Result<Facts> {
    let disk = row.disk_format.clone().unwrap_or_default();
    let container = row.container_format.clone().unwrap_or_default();
    let mut pass = Pass::begin(
        (glance.inspectors)(),
        disk,
        container,
        signature.map(|s| s.hash_method),
    );
    feed(body, incoming, &mut pass, cap, alive).await?;
    let ended = async { tokio::try_join!(incoming.end(), pass.finish()) };
    let ((), facts) = while_alive(ended, alive).await?;
    if let Some(signature) = signature {
        signature.verify(&row.id, facts.signed.as_deref().unwrap_or_default())?;
    }
    Ok(facts)
}

async fn feed(
    body: Body,
    incoming: &mut dyn Incoming,
    pass: &mut Pass,
    cap: u64,
    alive: Alive<'_>,
) -> Result<()> {
    let promised = body.length();
    let mut stream = body.into_stream();
    let mut renew = tokio::time::interval(RENEW);
    renew.tick().await;
    let mut size = 0u64;
    loop {
        tokio::select! {
            piece = stream.next() => {
                let Some(piece) = piece else { break };
                let piece = piece.map_err(|e| {
                    Error::bad_request("The upload broke off before its end.").log(e)
                })?;
                size += piece.len() as u64;
                if size > cap {
                    return Err(too_large());
                }
                incoming.write(piece.clone()).await?;
                pass.feed(piece).await?;
            }
            _ = renew.tick() => alive().await?,
        }
    }
    if promised.is_some_and(|promised| promised != size) {
        return Err(Error::bad_request("The upload broke off before its end."));
    }
    Ok(())
}

/// Waits for something that may take long, and says meanwhile that the upload lives.
async fn while_alive<T>(work: impl Future<Output = Result<T>>, alive: Alive<'_>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let mut renew = tokio::time::interval(RENEW);
    renew.tick().await;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = renew.tick() => alive().await?,
        }
    }
}

pub fn gone(id: &str) -> Error {
    Error::new(
        Kind::Gone,
        format!(
            "Image {id} could not be found after upload. The image may have been deleted during the upload."
        ),
    )
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 415 for content that is dangerous or not what its owner says; 413 for disks that nobody could store.
pub fn judge(glance: &Glance, facts: &Facts) -> Result<()> {
    let Some(verdict) = &facts.verdict else {
        return Ok(());
    };
    if !glance.conf.require_image_format_match {
        return Ok(());
    }
    let words = if !verdict.problems.is_empty() {
        format!("Image content is not safe: {}", verdict.problems.join("; "))
    } else if !verdict.agrees {
        format!(
            "Image content does not match disk_format or container_format: it is {}",
            verdict.format
        )
    } else if verdict.virtual_size > Some(glance.conf.image_size_cap) {
        // A few bytes that unfold to more than any image may have.
        return Err(too_large());
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::UnsupportedMediaType, words))
}

/// What ends an upload's hold on its row.
pub fn released(now: base::Timestamp) -> Vec<(&'static str, base::CellValue)> {
    vec![
        ("upload", cell(None::<String>)),
        ("upload_owner", cell(None::<String>)),
        ("upload_lease", cell(None::<i64>)),
        set("updated_at", now),
    ]
}

/// A copy of an image in a folder.
pub fn location(image: &str, store: &str, file: &str, now: base::Timestamp) -> LocationRow {
    LocationRow {
        id: base::new_id(),
        image: image.to_string(),
        store: store.to_string(),
        file: Some(file.to_string()),
        url: None,
        metadata: None,
        status: LocationStatus::Active,
        created_at: now,
    }
}

/// Keeps what arrived, if it is as it must be, and says so.
async fn settle(
    glance: &Arc<Glance>,
    row: &ImageRow,
    upload: &str,
    facts: Facts,
    store: Option<&str>,
    incoming: Box<dyn Incoming>,
    alive: Alive<'_>,
) -> Result<()> {
    // What waits for its import is judged then.
    let judged = store.map_or(Ok(()), |_| judge(glance, &facts));
    if let Err(e) = judged {
        incoming.forget().await;
        return Err(e);
    }
    while_alive(incoming.keep(Some(&facts.checksum)), alive).await?;
    match store {
        Some(store) => finish(glance, row, upload, facts, store).await,
        None => await_import(glance, &row.id, upload, facts).await,
    }
}

async fn finish(
    glance: &Arc<Glance>,
    row: &ImageRow,
    upload: &str,
    facts: Facts,
    store: &str,
) -> Result<()> {
    let id = row.id.as_str();
    let now = glance.clock.now();
    let mut values = vec![set("status", ImageStatus::Active)];
    values.extend(facts.columns());
    values.extend(released(now));
    let location = location(id, store, upload, now);
    let (held_id, held_upload) = (id.to_string(), upload.to_string());
    let (quota, owner, size) = (
        glance.quota,
        row.owner.clone().unwrap_or_default(),
        facts.size,
    );
    let write = move |tx: &mut Tx| {
        let done = tx.update::<ImageRow>(held(&held_id, &held_upload), &values)?;
        if done > 0 {
            // Whatever the image was said to be before.
            drop_locations(tx, eq("image", &held_id))?;
            limits::keep_quota(tx, quota, &owner, size)?;
            tx.insert(&location)?;
        }
        Ok(done)
    };
    let done = glance.db.write(write).await?;
    if done == 0 { Err(gone(id)) } else { Ok(()) }
}

async fn await_import(glance: &Arc<Glance>, id: &str, upload: &str, facts: Facts) -> Result<()> {
    let mut values = vec![
        set("size", facts.size as i64),
        set("staged", upload),
        set("staged_facts", serde_json::to_string(&facts)?),
    ];
    values.extend(released(glance.clock.now()));
    let (held_id, held_upload) = (id.to_string(), upload.to_string());
    let write = move |tx: &mut Tx| tx.update::<ImageRow>(held(&held_id, &held_upload), &values);
    let done = glance.db.write(write).await?;
    if done == 0 { Err(gone(id)) } else { Ok(()) }
}

/// Back to `queued`, with nothing stored. Does nothing if somebody else did it, or the image is gone.
pub async fn abandon(glance: &Glance, id: &str, upload: &str) -> Result<()> {
    let (held_id, held_upload, now) = (id.to_string(), upload.to_string(), glance.clock.now());
    let in_use = glance
        .db
        .write(move |tx| {
            let mut values = released(now);
            values.push(set("status", ImageStatus::Queued));
            tx.update::<ImageRow>(held(&held_id, &held_upload), &values)?;
            let stored = tx.exists::<LocationRow>(eq("file", &held_upload))?;
            let staged = all([eq("id", &held_id), eq("staged", &held_upload)]);
            Ok(stored || tx.exists::<ImageRow>(staged)?)
        })
        .await?;
    // A commit whose answer was lost may have made the file the image's after all.
    if in_use {
        return Ok(());
    }
    remove_file(glance, upload).await
}

/// Removes what has this name wherever it is. A store that cannot be reached does not keep the others from it.
pub async fn remove_file(glance: &Glance, name: &str) -> Result<()> {
    let mut outcome = glance.stores.staging.remove(name).await;
    for (_, store) in glance.stores.writable() {
        outcome = outcome.and(store.remove(name).await);
    }
    outcome
}
