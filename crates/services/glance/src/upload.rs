//! An upload: bytes go to a part file and the inspector on one thread, and through two hashes on one thread each.
//!
//! The row is `saving` meanwhile (`uploading`, if the data shall wait for an import), with the upload's token and a lease.
//! However the upload ends, the row leaves that: here, or by the reconciler if the caller vanished with the request or
//! the process died ([`crate::periodic`]).

use crate::Glance;
use crate::db::images::drop_locations;
use crate::db::{ImageRow, LocationRow, LocationStatus};
use crate::inspect::{ImageInspector, Verdict};
use base::{Error, Kind, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use glance_types::ImageStatus;
use md5::Md5;
use oslo_db::{Tx, all, cell, eq, is_in, set};
use oslo_http::{Body, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;
use tokio::sync::mpsc;

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
struct Token {
    glance: Arc<Glance>,
    upload: String,
}

impl Token {
    fn new(glance: &Arc<Glance>, upload: &str) -> Token {
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

enum Piece {
    Data(Bytes),
    End,
}

/// The row with this upload in progress.
pub fn held(id: &str, upload: &str) -> oslo_db::Cond {
    all([
        eq("id", id),
        is_in("status", [ImageStatus::Saving, ImageStatus::Uploading]),
        eq("upload", upload),
    ])
}

/// Receives the data of a queued image into a store.
pub async fn receive(glance: &Arc<Glance>, row: &ImageRow, body: Body, store: &str) -> Result<()> {
    run(glance, row, body, Some(store)).await
}

/// Receives the data of a queued image that waits for its import.
pub async fn stage(glance: &Arc<Glance>, row: &ImageRow, body: Body) -> Result<()> {
    run(glance, row, body, None).await
}

async fn run(glance: &Arc<Glance>, row: &ImageRow, body: Body, store: Option<&str>) -> Result<()> {
    if body
        .length()
        .is_some_and(|n| n > glance.conf.image_size_cap)
    {
        return Err(too_large());
    }
    let id = row.id.clone();
    let upload = format!("{id}.{}", base::new_hex_id());
    let folder = match store {
        Some(store) => glance.stores.chosen(store)?.writable()?,
        None => &glance.stores.staging,
    };
    let token = Token::new(glance, &upload);
    let status = match store {
        Some(_) => ImageStatus::Saving,
        None => ImageStatus::Uploading,
    };
    begin(glance, &id, &upload, status).await?;
    let alive = || renew(glance, &id, &upload);
    let outcome = pour(glance, row, folder.part(&upload), body, &alive).await;
    let outcome = match (outcome, store) {
        (Ok(facts), Some(store)) => finish(glance, &id, &upload, facts, store).await,
        (Ok(facts), None) => await_import(glance, &id, &upload, facts).await,
        (Err(e), _) => Err(e),
    };
    if outcome.is_err() {
        abandon(glance, &id, &upload).await?;
    }
    drop(token);
    outcome
}

fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "Image exceeds the storage quota: the size, or that of the disk in it, is over image_size_cap.",
    )
}

async fn begin(glance: &Arc<Glance>, id: &str, upload: &str, to: ImageStatus) -> Result<()> {
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
        tx.swap::<ImageRow, _>(eq("id", &id), "status", &from, to, &extra)
    };
    if glance.db.write(begin).await? {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "Image status transition from its present status to {to} is not allowed: data is uploaded once, to a queued image.",
    )))
}

/// Says that the upload still lives; an error if the image is gone.
fn renew<'a>(glance: &'a Glance, id: &'a str, upload: &'a str) -> BoxFuture<'a, Result<()>> {
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

/// Writes a body to a file, durably, and learns what there is to learn of it in the same pass.
pub async fn pour(
    glance: &Glance,
    row: &ImageRow,
    path: PathBuf,
    body: Body,
    alive: Alive<'_>,
) -> Result<Facts> {
    let inspected = row.container_format.as_deref() == Some("bare");
    let inspector = inspected.then(|| (glance.inspectors)());
    let claimed = row.disk_format.clone().unwrap_or_default();
    let (sender, receiver) = mpsc::channel(8);
    let writer = tokio::task::spawn_blocking(move || write(path, receiver, inspector, &claimed));
    let fed = feed(body, &sender, glance.conf.image_size_cap, alive).await;
    if fed.is_ok() {
        // A writer that has given up has dropped its end; its own error says more.
        let _ = sender.send(Piece::End).await;
    }
    drop(sender);
    let written = writer
        .await
        .map_err(|e| Error::internal(format!("upload thread: {e}")))?;
    match (fed, written) {
        (Err(e), _) => Err(e),
        (Ok(()), written) => written,
    }
}

async fn feed(body: Body, sender: &mpsc::Sender<Piece>, cap: u64, alive: Alive<'_>) -> Result<()> {
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
                if sender.send(Piece::Data(piece)).await.is_err() {
                    return Ok(());
                }
            }
            _ = renew.tick() => alive().await?,
        }
    }
    if promised.is_some_and(|promised| promised != size) {
        return Err(Error::bad_request("The upload broke off before its end."));
    }
    Ok(())
}

pub fn gone(id: &str) -> Error {
    Error::new(
        Kind::Gone,
        format!(
            "Image {id} could not be found after upload. The image may have been deleted during the upload."
        ),
    )
}

/// Runs on a thread of its own. Without an [`Piece::End`] the sender is gone, and so is the part.
fn write(
    path: PathBuf,
    pieces: mpsc::Receiver<Piece>,
    inspector: Option<Box<dyn ImageInspector>>,
    claimed: &str,
) -> Result<Facts> {
    std::thread::scope(|threads| {
        let hashes = (Hash::start::<Md5>(threads), Hash::start::<Sha512>(threads));
        write_and_hash(path, pieces, inspector, claimed, hashes)
    })
}

/// A hash on a thread of its own: each takes longer than everything else that is done with the bytes.
struct Hash<'t> {
    pieces: SyncSender<Bytes>,
    thread: ScopedJoinHandle<'t, String>,
}

impl<'t> Hash<'t> {
    fn start<D: Digest>(threads: &'t Scope<'t, '_>) -> Hash<'t> {
        let (pieces, taken) = sync_channel::<Bytes>(8);
        let work = move || {
            let mut hash = D::new();
            for bytes in taken {
                hash.update(&bytes);
            }
            hex(&hash.finalize())
        };
        Hash {
            pieces,
            thread: threads.spawn(work),
        }
    }

    fn update(&self, bytes: &Bytes) -> Result<()> {
        let ended = |_| Error::internal("a hash ended early");
        self.pieces.send(bytes.clone()).map_err(ended)
    }

    fn finish(self) -> Result<String> {
        drop(self.pieces);
        let panicked = |_| Error::internal("a hash panicked");
        self.thread.join().map_err(panicked)
    }
}

fn write_and_hash(
    path: PathBuf,
    mut pieces: mpsc::Receiver<Piece>,
    mut inspector: Option<Box<dyn ImageInspector>>,
    claimed: &str,
    (md5, sha512): (Hash<'_>, Hash<'_>),
) -> Result<Facts> {
    let broken = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => {
            Error::new(Kind::TooLarge, "Image storage media is full.").log(e)
        }
        _ => Error::from(e),
    };
    let mut file = std::fs::File::create(&path).map_err(broken)?;
    let mut size = 0u64;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(bytes)) => {
                md5.update(&bytes)?;
                sha512.update(&bytes)?;
                file.write_all(&bytes).map_err(broken)?;
                size += bytes.len() as u64;
                if let Some(inspector) = &mut inspector {
                    inspector.feed(&bytes);
                }
            }
            Some(Piece::End) => break,
            None => {
                drop(file);
                std::fs::remove_file(&path)?;
                return Err(Error::bad_request("The upload broke off before its end."));
            }
        }
    }
    file.sync_all().map_err(broken)?;
    Ok(Facts {
        size,
        checksum: md5.finish()?,
        algo: "sha512".to_string(),
        hash: sha512.finish()?,
        verdict: inspector.map(|i| i.finish(claimed)),
    })
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
            "Image content does not match disk_format: it is {}",
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
fn released(now: base::Timestamp) -> Vec<(&'static str, base::CellValue)> {
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
        status: LocationStatus::Active,
        created_at: now,
    }
}

async fn finish(
    glance: &Arc<Glance>,
    id: &str,
    upload: &str,
    facts: Facts,
    store: &str,
) -> Result<()> {
    judge(glance, &facts)?;
    let folder = glance.stores.chosen(store)?.writable()?.clone();
    let name = upload.to_string();
    tokio::task::spawn_blocking(move || folder.keep(&name))
        .await
        .map_err(Error::internal)??;
    let now = glance.clock.now();
    let mut values = vec![set("status", ImageStatus::Active)];
    values.extend(facts.columns());
    values.extend(released(now));
    let location = location(id, store, upload, now);
    let (held_id, held_upload) = (id.to_string(), upload.to_string());
    let write = move |tx: &mut Tx| {
        let done = tx.update::<ImageRow>(held(&held_id, &held_upload), &values)?;
        if done > 0 {
            // Whatever the image was said to be before.
            drop_locations(tx, eq("image", &held_id))?;
            tx.insert(&location)?;
        }
        Ok(done)
    };
    let done = glance.db.write(write).await?;
    if done == 0 { Err(gone(id)) } else { Ok(()) }
}

async fn await_import(glance: &Arc<Glance>, id: &str, upload: &str, facts: Facts) -> Result<()> {
    let (staging, name) = (glance.stores.staging.clone(), upload.to_string());
    tokio::task::spawn_blocking(move || staging.keep(&name))
        .await
        .map_err(Error::internal)??;
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
            Ok(stored || tx.exists::<ImageRow>(eq("staged", &held_upload))?)
        })
        .await?;
    // A commit whose answer was lost may have made the file the image's after all.
    if in_use {
        return Ok(());
    }
    remove_file(glance, upload).await
}

/// Removes a file of this name wherever it is.
pub async fn remove_file(glance: &Glance, name: &str) -> Result<()> {
    let mut folders = vec![glance.stores.staging.clone()];
    folders.extend(glance.stores.writable().map(|(_, store)| store.clone()));
    let name = name.to_string();
    tokio::task::spawn_blocking(move || folders.iter().try_for_each(|f| f.remove(&name)))
        .await
        .map_err(Error::internal)?
}
