//! An import: bytes from staging, the web or another store come into stores. Wherever it is cut it goes on, or leaves
//! the image `queued` and says in the task, and in the image's properties, what did not work.

use crate::Glance;
use crate::db::images::drop_locations;
use crate::db::{ImageRow, LocationRow, LocationStatus, PropertyRow, TaskRow};
use crate::import::{FAILED, IMPORTING};
use crate::upload::{self, Facts, gone, judge, location, pour};
use base::{Error, Result};
use futures::future::BoxFuture;
use glance_types::{ImageStatus, TaskStatus};
use oslo_db::{Tx, all, cell, eq, is_null, set};
use oslo_taskflow::{Flow, Step};
use sdk::fetch;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

base::str_enum! {
    /// Where the bytes come from.
    pub enum Method {
        /// They were staged.
        GlanceDirect = "glance-direct",
        /// An address on the web.
        WebDownload = "web-download",
        /// Another store.
        CopyImage = "copy-image",
        /// They stay where they are, on the web; nobody can ask an import for this.
        Location = "location",
    }
}

/// What somebody says of data that is on the web.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    pub os_hash_algo: String,
    pub os_hash_value: String,
}

/// Digits of the hashes that data on the web may be known by.
pub const HASHES: [(&str, usize); 4] = [
    ("sha224", 56),
    ("sha256", 64),
    ("sha384", 96),
    ("sha512", 128),
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportImage {
    pub task: String,
    pub image: String,
    pub request_id: String,
    pub method: Method,
    pub uri: Option<String>,
    /// The name of the file, in staging and in the stores.
    pub file: String,
    pub stores: Vec<String>,
    pub all_must_succeed: bool,
    /// What was learnt of the bytes; nothing of those that are copied.
    pub facts: Option<Facts>,
    /// What the bytes must be.
    pub claim: Option<Claim>,
    /// Stores that did not take it.
    pub failed: Vec<String>,
}

impl Flow for ImportImage {
    const NAME: &'static str = "import_image";
    type Deps = Glance;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("fetch", |flow, glance| Box::pin(fetch_data(flow, glance)))
                .undo(|flow, glance| Box::pin(forget_data(flow, glance)))
                .retries(3),
            Step::new("store", |flow, glance| Box::pin(store(flow, glance)))
                .undo(|flow, glance| Box::pin(unstore(flow, glance)))
                .retries(3),
            Step::new("finish", |flow, glance| Box::pin(finish(flow, glance))).retries(3),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.image
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, glance: Arc<Glance>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { fail(self, &glance, error).await })
    }
}

/// The image, as long as it is there.
async fn row(glance: &Glance, id: &str) -> Result<ImageRow> {
    let cond = all([eq("id", id), is_null("deleted_at")]);
    let found = glance
        .db
        .read(move |tx| tx.find::<ImageRow>(cond.clone()))
        .await?;
    found.ok_or_else(|| gone(id))
}

async fn fetch_data(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    let (task, now) = (flow.task.clone(), glance.clock.now());
    let write = move |tx: &mut Tx| {
        let values = [
            set("status", TaskStatus::Processing),
            set("updated_at", now),
        ];
        tx.update::<TaskRow>(eq("id", &task), &values)
    };
    glance.db.write(write).await?;
    let row = row(&glance, &flow.image).await?;
    match flow.method {
        Method::CopyImage => return Ok(()),
        Method::GlanceDirect => {
            let facts = row.staged_facts.as_deref();
            let facts = facts.ok_or_else(|| Error::internal("a staged image without facts"))?;
            flow.facts = Some(serde_json::from_str(facts)?);
        }
        Method::WebDownload | Method::Location => {
            let uri = flow.uri.clone().unwrap_or_default();
            let body = fetch(&uri, &glance.web).await?;
            let staging = glance.stores.staging.clone();
            let id = flow.image.clone();
            // Nobody wants the bytes of an image that was deleted meanwhile.
            let alive = || -> BoxFuture<'_, Result<()>> {
                let (glance, id) = (Arc::clone(&glance), id.clone());
                Box::pin(async move { self::row(&glance, &id).await.map(drop) })
            };
            let facts = pour(&glance, &row, staging.part(&flow.file), body, &alive).await?;
            let name = flow.file.clone();
            tokio::task::spawn_blocking(move || staging.keep(&name))
                .await
                .map_err(Error::internal)??;
            flow.facts = Some(facts);
        }
    }
    if let (Some(facts), Some(claim)) = (&mut flow.facts, &flow.claim) {
        let path = glance.stores.staging.path(&flow.file);
        verify(path, facts, claim).await?;
    }
    match &flow.facts {
        Some(facts) => judge(&glance, facts),
        None => Ok(()),
    }
}

/// The hash that was claimed is the one that is kept, if it is true.
async fn verify(path: PathBuf, facts: &mut Facts, claim: &Claim) -> Result<()> {
    if claim.os_hash_algo != facts.algo {
        let algo = claim.os_hash_algo.clone();
        let hashed = tokio::task::spawn_blocking(move || hash_file(&path, &algo)).await;
        facts.hash = hashed.map_err(Error::internal)??;
        facts.algo = claim.os_hash_algo.clone();
    }
    if facts.hash.eq_ignore_ascii_case(&claim.os_hash_value) {
        return Ok(());
    }
    Err(Error::bad_request(
        "The data at the location does not have the hash that validation_data says.",
    ))
}

fn hash_file(path: &Path, algo: &str) -> Result<String> {
    use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
    fn of<D: Digest + std::io::Write>(path: &Path) -> Result<String> {
        let mut hash = D::new();
        std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
        Ok(upload::hex(&hash.finalize()))
    }
    match algo {
        "sha224" => of::<Sha224>(path),
        "sha256" => of::<Sha256>(path),
        "sha384" => of::<Sha384>(path),
        _ => of::<Sha512>(path),
    }
}

async fn forget_data(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    let (staging, name) = (glance.stores.staging.clone(), flow.file.clone());
    tokio::task::spawn_blocking(move || staging.remove(&name))
        .await
        .map_err(Error::internal)?
}

/// Where the bytes are now.
async fn source(flow: &ImportImage, glance: &Glance) -> Result<PathBuf> {
    if flow.method != Method::CopyImage {
        return Ok(glance.stores.staging.path(&flow.file));
    }
    let cond = all([
        eq("image", &flow.image),
        eq("status", LocationStatus::Active),
    ]);
    let copies = glance
        .db
        .read(move |tx| tx.select::<LocationRow>(cond.clone()))
        .await?;
    let path = |copy: &LocationRow| {
        let store = glance.stores.find(&copy.store)?.writable().ok()?;
        Some(store.path(copy.file.as_deref()?))
    };
    // What this import has made already is as good as what it came from.
    copies.iter().find_map(path).ok_or_else(|| {
        Error::conflict("None of the image's copies is in a store that can be copied from.")
    })
}

async fn store(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    if flow.method == Method::Location {
        return Ok(());
    }
    let from = source(flow, &glance).await?;
    let mut filled = 0;
    flow.failed.clear();
    for (at, name) in flow.stores.clone().into_iter().enumerate() {
        let left = flow.stores[at + 1..].join(",");
        match fill(flow, &glance, &name, from.clone(), &left).await {
            Ok(()) => filled += 1,
            Err(e) if flow.all_must_succeed || e.kind() == base::Kind::Gone => return Err(e),
            Err(e) => {
                tracing::warn!(image.id = %flow.image, store = name, "a store did not take an import: {e:?}");
                flow.failed.push(name);
                let failed = flow.failed.join(",");
                let (id, left) = (flow.image.clone(), left);
                let write = move |tx: &mut Tx| tell(tx, &id, &left, &failed);
                glance.db.write(write).await?;
            }
        }
    }
    match filled {
        0 => Err(Error::unavailable("No store took the image.")),
        _ => Ok(()),
    }
}

/// Says on the image how far the import is.
fn tell(tx: &mut Tx, image: &str, left: &str, failed: &str) -> Result<()> {
    for (name, value) in [(IMPORTING, left), (FAILED, failed)] {
        let cond = all([eq("image", image), eq("name", name)]);
        tx.update::<PropertyRow>(cond, &[set("value", value)])?;
    }
    Ok(())
}

/// Brings the bytes into one store.
async fn fill(
    flow: &ImportImage,
    glance: &Glance,
    name: &str,
    from: PathBuf,
    left: &str,
) -> Result<()> {
    let cond = all([
        eq("image", &flow.image),
        eq("store", name),
        eq("file", &flow.file),
        eq("status", LocationStatus::Active),
    ]);
    if glance
        .db
        .read(move |tx| tx.exists::<LocationRow>(cond.clone()))
        .await?
    {
        return Ok(());
    }
    let folder = glance.stores.chosen(name)?.writable()?.clone();
    let file = flow.file.clone();
    tokio::task::spawn_blocking(move || folder.take(&from, &file))
        .await
        .map_err(Error::internal)??;
    let now = glance.clock.now();
    let location = location(&flow.image, name, &flow.file, now);
    let (id, left, failed) = (flow.image.clone(), left.to_string(), flow.failed.join(","));
    // Usable as soon as one store has it, unless all must.
    let early = (!flow.all_must_succeed)
        .then(|| flow.facts.clone())
        .flatten();
    let write = move |tx: &mut Tx| {
        let there = all([eq("id", &id), is_null("deleted_at")]);
        if tx.find_for_update::<ImageRow>(there)?.is_none() {
            return Err(gone(&id));
        }
        tx.insert(&location)?;
        if let Some(facts) = &early {
            activate(tx, &id, facts, now)?;
        }
        tell(tx, &id, &left, &failed)
    };
    glance.db.write(write).await
}

fn activate(tx: &mut Tx, id: &str, facts: &Facts, now: base::Timestamp) -> Result<()> {
    let mut values = facts.columns();
    values.extend([
        ("staged", cell(None::<String>)),
        ("staged_facts", cell(None::<String>)),
        set("updated_at", now),
    ]);
    let from = [ImageStatus::Importing];
    let to = ImageStatus::Active;
    tx.swap::<ImageRow, _>(eq("id", id), "status", &from, to, &values)
        .map(drop)
}

async fn unstore(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    // COMPAT: a location that turned out wrong stays beside its queued image, as upstream leaves it.
    if flow.method == Method::Location {
        return Ok(());
    }
    let cond = all([eq("image", &flow.image), eq("file", &flow.file)]);
    let write = move |tx: &mut Tx| drop_locations(tx, cond.clone());
    glance.db.write(write).await?;
    // A file whose row was never written is only known by its name.
    for (_, folder) in glance.stores.writable() {
        let (folder, name) = (folder.clone(), flow.file.clone());
        tokio::task::spawn_blocking(move || folder.remove(&name))
            .await
            .map_err(Error::internal)??;
    }
    glance.poke_files();
    Ok(())
}

async fn finish(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    let (flow_now, now) = (flow.clone(), glance.clock.now());
    let expires = now.plus(Duration::from_secs(glance.conf.task_time_to_live * 3600));
    let write = move |tx: &mut Tx| {
        let flow = &flow_now;
        let there = all([eq("id", &flow.image), is_null("deleted_at")]);
        if tx.find_for_update::<ImageRow>(there)?.is_none() {
            return Err(gone(&flow.image));
        }
        if let Some(facts) = &flow.facts {
            activate(tx, &flow.image, facts, now)?;
        }
        tell(tx, &flow.image, "", &flow.failed.join(","))?;
        let values = [
            set("status", TaskStatus::Success),
            set("result", json!({"image_id": flow.image}).to_string()),
            set("expires_at", expires),
            set("updated_at", now),
        ];
        tx.update::<TaskRow>(eq("id", &flow.task), &values)
            .map(drop)
    };
    glance.db.write(write).await?;
    tracing::info!(image.id = %flow.image, "image imported");
    forget_data(flow, glance).await
}

/// The last word: the image can be imported again, and everybody can read why it was not.
async fn fail(flow: &ImportImage, glance: &Glance, error: Error) -> Result<()> {
    let words = match error.kind() {
        base::Kind::Internal => "Task failed due to Internal Error".to_string(),
        _ => error.message().to_string(),
    };
    let (flow, now) = (flow.clone(), glance.clock.now());
    let expires = now.plus(Duration::from_secs(glance.conf.task_time_to_live * 3600));
    let (image, file) = (flow.image.clone(), flow.file.clone());
    let write = move |tx: &mut Tx| {
        let values = [
            ("staged", cell(None::<String>)),
            ("staged_facts", cell(None::<String>)),
            ("size", cell(None::<i64>)),
            set("updated_at", now),
        ];
        let from = [ImageStatus::Importing];
        let to = ImageStatus::Queued;
        tx.swap::<ImageRow, _>(eq("id", &flow.image), "status", &from, to, &values)?;
        tell(tx, &flow.image, "", &flow.stores.join(","))?;
        let values = [
            set("status", TaskStatus::Failure),
            set("message", &words),
            set("expires_at", expires),
            set("updated_at", now),
        ];
        tx.update::<TaskRow>(eq("id", &flow.task), &values)
    };
    glance.db.write(write).await?;
    tracing::warn!(image.id = %image, "an import failed: {error:?}");
    upload::remove_file(glance, &file).await
}
