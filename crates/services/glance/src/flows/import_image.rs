//! An import: bytes from staging, the web or another store come into stores. Wherever it is cut it goes on, or leaves
//! the image `queued` and says in the task, and in the image's properties, what did not work.

use crate::Glance;
use crate::db::images::drop_locations;
use crate::db::{ImageRow, LocationRow, LocationStatus, PropertyRow, TaskRow};
use crate::import::{FAILED, IMPORTING};
use crate::limits;
use crate::plugins::{Became, leftovers, transform};
use crate::signature::{Signature, digest_of};
use crate::stores::{Store, copy};
use crate::upload::{self, Facts, gone, judge, location, pour, released, renew};
use base::{Error, Result};
use futures::future::BoxFuture;
use glance_types::{ImageStatus, TaskStatus};
use oslo_db::{Tx, all, cell, eq, is_null, set};
use oslo_http::Body;
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
        /// The image service of another region.
        GlanceDownload = "glance-download",
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
    /// What the image becomes with its data.
    #[serde(default)]
    pub became: Became,
    /// Files in staging that became others.
    #[serde(default)]
    pub spent: Vec<String>,
    /// Whether properties are injected: some roles' imports are left alone.
    #[serde(default)]
    pub inject: bool,
    /// The image's owner.
    #[serde(default)]
    pub owner: String,
    /// What the data that is stored must be signed with.
    #[serde(default)]
    pub signature: Option<Signature>,
}

impl ImportImage {
    /// What a task is about, as far as its end needs to know.
    pub fn of_task(task: &TaskRow, image: &str, file: &str) -> ImportImage {
        ImportImage {
            task: task.id.clone(),
            image: image.to_string(),
            request_id: task.request_id.clone().unwrap_or_default(),
            method: Method::GlanceDownload,
            uri: None,
            file: file.to_string(),
            stores: Vec::new(),
            all_must_succeed: true,
            facts: None,
            claim: None,
            failed: Vec::new(),
            became: Became::default(),
            spent: Vec::new(),
            inject: false,
            owner: String::new(),
            signature: None,
        }
    }
}

impl Flow for ImportImage {
    const NAME: &'static str = "import_image";
    type Deps = Glance;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("fetch", |flow, glance| Box::pin(fetch_data(flow, glance)))
                .undo(|flow, glance| Box::pin(forget_data(flow, glance)))
                .retries(3),
            Step::new("transform", |flow, glance| {
                Box::pin(transform(flow, glance))
            })
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

    fn share(&self) -> &str {
        &self.owner
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, glance: Arc<Glance>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { fail(self, &glance, error).await })
    }
}

/// The image, as long as it is there.
pub async fn row(glance: &Glance, id: &str) -> Result<ImageRow> {
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
        // It was fetched by the process that had the token.
        Method::GlanceDownload => {}
        Method::WebDownload | Method::Location => {
            let uri = flow.uri.clone().unwrap_or_default();
            let body = fetch(&uri, &glance.web).await?;
            if flow.method == Method::Location && !believe(flow, &glance, body.length()).await? {
                return Ok(());
            }
            let owner = row.owner.as_deref().unwrap_or_default();
            let cap = limits::cap(&glance, owner, body.length()).await?;
            flow.facts = Some(to_staging(&glance, &row, &flow.file, body, cap).await?);
        }
    }
    if let (Some(facts), Some(claim)) = (&mut flow.facts, &flow.claim) {
        let path = glance.stores.staging.file(&flow.file);
        verify(path, facts, claim).await?;
    }
    match (&flow.facts, flow.method) {
        // The others are judged when they are what they shall be.
        (Some(facts), Method::Location) => judge(&glance, facts),
        _ => Ok(()),
    }
}

/// An image of whose data nothing was claimed is usable before the data have been read to the end, and so is one whose
/// data shall not be read: upstream's ways. Says whether they shall be.
async fn believe(flow: &ImportImage, glance: &Glance, size: Option<u64>) -> Result<bool> {
    let read = glance.conf.do_secure_hash;
    if read && flow.claim.is_some() {
        return Ok(true);
    }
    let mut values = vec![
        set("size", size.and_then(|size| i64::try_from(size).ok())),
        set("updated_at", glance.clock.now()),
    ];
    match &flow.claim {
        Some(claim) => values.extend([
            set("os_hash_algo", &claim.os_hash_algo),
            set("os_hash_value", &claim.os_hash_value),
        ]),
        None if read => values.push(set("os_hash_algo", "sha512")),
        None => {}
    }
    let id = flow.image.clone();
    let write = move |tx: &mut Tx| {
        let from = [ImageStatus::Importing];
        let to = ImageStatus::Active;
        tx.swap::<ImageRow, _>(eq("id", &id), "status", &from, to, &values)
    };
    glance.db.write(write).await?;
    Ok(read)
}

/// What an image is during its import. That of data on the web may be usable already.
fn during(flow: &ImportImage) -> Vec<ImageStatus> {
    match flow.method {
        Method::Location => vec![ImageStatus::Importing, ImageStatus::Active],
        _ => vec![ImageStatus::Importing],
    }
}

/// Brings bytes into staging, as long as their image is there.
pub async fn to_staging(
    glance: &Arc<Glance>,
    row: &ImageRow,
    file: &str,
    body: Body,
    cap: u64,
) -> Result<Facts> {
    // Nobody wants the bytes of an image that was deleted meanwhile.
    let alive = || -> BoxFuture<'_, Result<()>> {
        let held = row.upload.is_some();
        Box::pin(async move {
            match held {
                true => renew(glance, &row.id, file).await,
                false => self::row(glance, &row.id).await.map(drop),
            }
        })
    };
    let staging = &glance.stores.staging;
    let mut incoming = staging.begin(file, body.length()).await?;
    match pour(glance, row, &mut *incoming, body, cap, None, &alive).await {
        Ok(facts) => {
            incoming.keep(Some(&facts.checksum)).await?;
            Ok(facts)
        }
        Err(e) => {
            incoming.forget().await;
            Err(e)
        }
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
    use sha2::{Sha224, Sha256, Sha384, Sha512};
    let file = &mut std::fs::File::open(path)?;
    match algo {
        "sha224" => digest_of::<Sha224>(file),
        "sha256" => digest_of::<Sha256>(file),
        "sha384" => digest_of::<Sha384>(file),
        _ => digest_of::<Sha512>(file),
    }
}

async fn forget_data(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    forget_files(flow, &glance).await
}

/// Removes what an import has in staging.
async fn forget_files(flow: &ImportImage, glance: &Glance) -> Result<()> {
    if flow.method == Method::CopyImage {
        return Ok(());
    }
    let staging = &glance.stores.staging;
    for name in leftovers(flow) {
        staging.remove(&name).await?;
    }
    staging.remove(&flow.file).await
}

/// Where the bytes are now.
struct Source {
    store: Arc<dyn Store>,
    file: String,
    size: u64,
    md5: Option<String>,
}

async fn source(flow: &ImportImage, glance: &Glance) -> Result<Source> {
    if flow.method != Method::CopyImage {
        let facts = flow.facts.as_ref();
        let facts = facts.ok_or_else(|| Error::internal("an import without facts"))?;
        return Ok(Source {
            store: Arc::new(glance.stores.staging.clone()),
            file: flow.file.clone(),
            size: facts.size,
            md5: Some(facts.checksum.clone()),
        });
    }
    let row = row(glance, &flow.image).await?;
    let cond = all([
        eq("image", &flow.image),
        eq("status", LocationStatus::Active),
    ]);
    let copies = glance
        .db
        .read(move |tx| tx.select::<LocationRow>(cond.clone()))
        .await?;
    // Of several, the one that would be read. What this import has made already is as good as what it came from.
    let weight = |copy: &&LocationRow| glance.stores.find(&copy.store).map_or(0, |s| s.weight);
    let source = |copy: &LocationRow| {
        let store = glance.stores.find(&copy.store)?.writable().ok()?;
        Some(Source {
            store: Arc::clone(store),
            file: copy.file.clone()?,
            size: row.size? as u64,
            md5: row.checksum.clone(),
        })
    };
    let mut copies: Vec<&LocationRow> = copies.iter().collect();
    copies.sort_by_key(|copy| std::cmp::Reverse(weight(copy)));
    copies.into_iter().find_map(source).ok_or_else(|| {
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
        match fill(flow, &glance, &name, &from, &left).await {
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

/// Says on the image how far the import is, not while somebody else changes its properties.
fn tell(tx: &mut Tx, image: &str, left: &str, failed: &str) -> Result<()> {
    tx.find_for_update::<ImageRow>(eq("id", image))?;
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
    from: &Source,
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
    let to = glance.stores.chosen(name)?.writable()?;
    let md5 = from.md5.as_deref();
    copy(&*from.store, &from.file, &**to, &flow.file, from.size, md5).await?;
    let now = glance.clock.now();
    let location = location(&flow.image, name, &flow.file, now);
    let (id, left, failed) = (flow.image.clone(), left.to_string(), flow.failed.join(","));
    // Usable as soon as one store has it, unless all must.
    let early = (!flow.all_must_succeed).then(|| flow.clone());
    let (quota, size) = (glance.quota, from.size);
    let write = move |tx: &mut Tx| {
        let there = all([eq("id", &id), is_null("deleted_at")]);
        let Some(row) = tx.find_for_update::<ImageRow>(there)? else {
            return Err(gone(&id));
        };
        let owner = row.owner.as_deref().unwrap_or_default();
        limits::keep_quota(tx, quota, owner, size)?;
        tx.insert(&location)?;
        if let Some(flow) = &early {
            activate(tx, flow, now)?;
        }
        tell(tx, &id, &left, &failed)
    };
    glance.db.write(write).await
}

/// Makes the image what came of its data; nothing of one that is copied, or active already.
fn activate(tx: &mut Tx, flow: &ImportImage, now: base::Timestamp) -> Result<()> {
    let Some(facts) = &flow.facts else {
        return Ok(());
    };
    let mut values = facts.columns();
    values.extend(flow.became.columns());
    values.extend([
        ("staged", cell(None::<String>)),
        ("staged_facts", cell(None::<String>)),
        set("updated_at", now),
    ]);
    let from = during(flow);
    let to = ImageStatus::Active;
    match tx.swap::<ImageRow, _>(eq("id", &flow.image), "status", &from, to, &values)? {
        true => flow.became.save_properties(tx, &flow.image),
        false => Ok(()),
    }
}

async fn unstore(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    // COMPAT: a location that turned out wrong stays beside its queued image, as upstream leaves it.
    if flow.method == Method::Location {
        return Ok(());
    }
    let (id, file) = (flow.image.clone(), flow.file.clone());
    let write = move |tx: &mut Tx| drop_made(tx, &id, &file);
    let kept: Vec<String> = glance.db.write(write).await?;
    // A file whose row was never written is only known by its name.
    for name in flow.stores.iter().filter(|s| !kept.contains(s)) {
        // A store that was taken out of the configuration meanwhile keeps what it has.
        if let Ok(store) = glance.stores.chosen(name).and_then(|b| b.writable()) {
            store.remove(&flow.file).await?;
        }
    }
    glance.poke_files();
    Ok(())
}

/// Drops the copies that an import made, and gives the stores of those that stay: an image that can be read keeps
/// its data. Another copy, from which this one was made, may be gone meanwhile, and then this is the last one.
fn drop_made(tx: &mut Tx, image: &str, file: &str) -> Result<Vec<String>> {
    let row = tx.find_for_update::<ImageRow>(eq("id", image))?;
    let readable = [ImageStatus::Active, ImageStatus::Deactivated];
    let readable = row.is_some_and(|row| readable.contains(&row.status));
    let active = all([eq("image", image), eq("status", LocationStatus::Active)]);
    let copies = tx.select::<LocationRow>(active)?;
    let (made, others): (Vec<_>, Vec<_>) = copies
        .into_iter()
        .partition(|copy| copy.file.as_deref() == Some(file));
    if readable && others.is_empty() {
        return Ok(made.into_iter().map(|copy| copy.store).collect());
    }
    drop_locations(tx, all([eq("image", image), eq("file", file)]))?;
    Ok(vec![])
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
        activate(tx, flow, now)?;
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
    // The image is there, whatever becomes of this: the reconciler finds it too.
    if let Err(e) = forget_files(flow, &glance).await {
        tracing::warn!(image.id = %flow.image, "what an import has in staging could not be removed yet: {e:?}");
    }
    Ok(())
}

/// The last word: the image can be imported again, and everybody can read why it was not.
pub async fn fail(flow: &ImportImage, glance: &Glance, error: Error) -> Result<()> {
    let words = match error.kind() {
        base::Kind::Internal => "Task failed due to Internal Error".to_string(),
        _ => error.message().to_string(),
    };
    let (flow, now) = (flow.clone(), glance.clock.now());
    let expires = now.plus(Duration::from_secs(glance.conf.task_time_to_live * 3600));
    let ended = flow.clone();
    let write = move |tx: &mut Tx| {
        let mut values = vec![
            ("staged", cell(None::<String>)),
            ("staged_facts", cell(None::<String>)),
            ("size", cell(None::<i64>)),
            ("os_hash_algo", cell(None::<String>)),
        ];
        values.extend(released(now));
        tx.find_for_update::<ImageRow>(eq("id", &flow.image))?;
        let stays = all([eq("file", &flow.file), eq("status", LocationStatus::Active)]);
        let stays = tx.exists::<LocationRow>(stays)?;
        let task = tx.find_for_update::<TaskRow>(eq("id", &flow.task))?;
        let at_work = [TaskStatus::Pending, TaskStatus::Processing];
        if task.is_some_and(|task| !at_work.contains(&task.status)) {
            // It was said before; by now the image may be another import's.
            return Ok(stays);
        }
        let from = during(&flow);
        let to = ImageStatus::Queued;
        tx.swap::<ImageRow, _>(eq("id", &flow.image), "status", &from, to, &values)?;
        tell(tx, &flow.image, "", &flow.stores.join(","))?;
        let values = [
            set("status", TaskStatus::Failure),
            set("message", &words),
            set("expires_at", expires),
            set("updated_at", now),
        ];
        tx.update::<TaskRow>(eq("id", &flow.task), &values)?;
        Ok(stays)
    };
    let stays = glance.db.write(write).await?;
    tracing::warn!(image.id = %ended.image, "an import failed: {error:?}");
    let mut removed = forget_files(&ended, glance).await;
    if !stays {
        removed = removed.and(upload::remove_file(glance, &ended.file).await);
    }
    if let Err(e) = removed {
        // All that had to be said is said; the reconciler finds the files.
        tracing::warn!(image.id = %ended.image, "what a failed import left could not be removed yet: {e:?}");
    }
    Ok(())
}
