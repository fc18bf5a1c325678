//! What is done with an import's bytes before they reach a store (`image_import_plugins`): unpacked, converted; and what
//! is written on its image. Every file that comes of it has a name that follows from the one before, so that a step that
//! runs again writes over what it wrote, and its undo knows what to remove.

use crate::Glance;
use crate::db::{ImageRow, PropertyRow};
use crate::flows::{ImportImage, Method, row, to_staging};
use crate::image::attributes::{self, GLANCE_OWN};
use crate::limits;
use crate::pass::Pass;
use crate::stores::Store;
use crate::unpack;
use crate::upload::{Facts, hex, judge, too_large};
use base::{Error, Kind, Result};
use futures::StreamExt;
use oslo_db::{Tx, set};
use oslo_http::{Body, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::mpsc;

base::str_enum! {
    /// Upstream's plugins.
    pub enum Plugin {
        /// Does nothing.
        NoOp = "no_op",
        /// Unpacks gzip, and zip with one file.
        Decompress = "image_decompression",
        /// Makes it what `image_conversion_output_format` says.
        Convert = "image_conversion",
        /// Sets `inject_metadata_properties`.
        Inject = "inject_image_metadata",
    }
}

/// Formats that a conversion makes.
pub const OUTPUTS: [&str; 3] = ["qcow2", "raw", "vmdk"];
/// Formats that stay what they are: a CD, and parts of a machine image.
const KEPT: [&str; 4] = ["iso", "ami", "ari", "aki"];
/// What plugins make of a file.
const MADE: [&str; 2] = ["unpacked", "converted"];

impl Plugin {
    /// Reads the configuration, in words for the operator.
    pub fn all(conf: &crate::Conf) -> Result<Vec<Plugin>> {
        let bad = |words: String| Err(Error::bad_request(format!("[glance] {words}")));
        let output = conf.image_conversion_output_format.as_str();
        if !OUTPUTS.contains(&output) {
            return bad(format!(
                "image_conversion_output_format: {output}; there are {}",
                OUTPUTS.join(", ")
            ));
        }
        for name in conf.inject_metadata_properties.keys() {
            if attributes::is_attribute(name) || name.starts_with(GLANCE_OWN) {
                return bad(format!(
                    "inject_metadata_properties: {name} is no custom property"
                ));
            }
        }
        let plugins = conf.image_import_plugins.iter();
        let parsed = plugins.map(|name| Plugin::parse(name).map_err(|_| name));
        match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(plugins) => Ok(plugins),
            Err(name) => bad(format!("image_import_plugins: there is no {name}")),
        }
    }
}

/// What becomes of an image with its data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Became {
    pub container_format: Option<String>,
    pub disk_format: Option<String>,
    pub properties: BTreeMap<String, String>,
}

impl Became {
    /// The columns that tell of it.
    pub fn columns(&self) -> Vec<(&'static str, base::CellValue)> {
        let formats = [
            ("container_format", &self.container_format),
            ("disk_format", &self.disk_format),
        ];
        let set = |(name, value): (_, &Option<String>)| Some(set(name, value.clone()?));
        formats.into_iter().filter_map(set).collect()
    }

    pub fn save_properties(&self, tx: &mut Tx, image: &str) -> Result<()> {
        for (name, value) in &self.properties {
            let row = PropertyRow {
                image: image.to_string(),
                name: name.clone(),
                value: value.clone(),
            };
            tx.upsert(&row, &["image", "name"])?;
        }
        Ok(())
    }

    /// The row as it will be.
    pub fn apply(&self, row: &mut ImageRow) {
        if self.container_format.is_some() {
            row.container_format = self.container_format.clone();
        }
        if self.disk_format.is_some() {
            row.disk_format = self.disk_format.clone();
        }
    }
}

/// Bytes on their way through the plugins.
struct Work {
    row: ImageRow,
    file: String,
    facts: Facts,
    became: Became,
    spent: Vec<String>,
}

impl Work {
    fn claimed(&self) -> &str {
        self.row.disk_format.as_deref().unwrap_or_default()
    }

    /// The bytes are in another file now.
    fn turned(&mut self, file: String, facts: Facts) {
        self.spent.push(std::mem::replace(&mut self.file, file));
        self.facts = facts;
    }
}

/// The step of an import.
pub async fn transform(flow: &mut ImportImage, glance: Arc<Glance>) -> Result<()> {
    if matches!(flow.method, Method::CopyImage | Method::Location) {
        return Ok(());
    }
    let facts = flow.facts.clone();
    let mut work = Work {
        row: row(&glance, &flow.image).await?,
        file: flow.file.clone(),
        facts: facts.ok_or_else(|| Error::internal("an import without facts"))?,
        became: flow.became.clone(),
        spent: Vec::new(),
    };
    work.became.apply(&mut work.row);
    for plugin in &glance.plugins {
        match plugin {
            Plugin::NoOp => tracing::debug!(image.id = %flow.image, "a plugin that does nothing"),
            Plugin::Decompress => decompress(&mut work, &glance).await?,
            Plugin::Convert => convert(&mut work, &glance).await?,
            Plugin::Inject if flow.inject => {
                let properties = glance.conf.inject_metadata_properties.clone();
                work.became.properties.extend(properties);
            }
            Plugin::Inject => {}
        }
    }
    judge(&glance, &work.facts)?;
    if let Some(signature) = &flow.signature {
        // Of what will be downloaded, which plugins may have made of what came.
        let path = glance.stores.staging.file(&work.file);
        signature.verify_file(&flow.image, path).await?;
    }
    flow.file = work.file;
    flow.facts = Some(work.facts);
    flow.became = work.became;
    flow.spent.extend(work.spent);
    Ok(())
}

/// What a file becomes has a name like all that we give: `<image>.<32 hexadecimal digits>`.
fn made(file: &str, what: &str) -> String {
    let image = file.split('.').next().unwrap_or_default();
    let digits = hex(&Sha256::digest(format!("{file} {what}")));
    format!("{image}.{}", &digits[..32])
}

/// Names in staging that an import may have left beside its present file.
pub fn leftovers(flow: &ImportImage) -> Vec<String> {
    let mut names = flow.spent.clone();
    for what in MADE {
        let first = made(&flow.file, what);
        names.extend(MADE.map(|then| made(&first, then)));
        names.push(first);
    }
    names
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

/// Unpacks what is packed, unless that is what the image shall be.
async fn decompress(work: &mut Work, glance: &Arc<Glance>) -> Result<()> {
    if work.row.container_format.as_deref() == Some("compressed") {
        return Ok(());
    }
    let refused = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::InvalidData
        | std::io::ErrorKind::InvalidInput
        | std::io::ErrorKind::UnexpectedEof => {
            Error::bad_request(format!("The image cannot be decompressed: {e}"))
        }
        _ => e.into(),
    };
    let path = glance.stores.staging.file(&work.file);
    let opened = blocking(move || unpack::open(std::fs::File::open(path)?).map_err(refused));
    let Some(mut inside) = opened.await? else {
        return Ok(());
    };
    let (sender, mut receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    let reading = blocking(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match inside.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    let piece = Bytes::copy_from_slice(&buffer[..n]);
                    if sender.blocking_send(Ok(piece)).is_err() {
                        // Whoever writes has given up, and says why.
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let words = std::io::Error::other("the archive is broken");
                    let _ = sender.blocking_send(Err(words));
                    return Err(refused(e));
                }
            }
        }
    });
    let pieces = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let file = made(&work.file, MADE[0]);
    let owner = work.row.owner.clone().unwrap_or_default();
    let cap = limits::cap(glance, &owner, None).await?;
    let writing = to_staging(glance, &work.row, &file, Body::stream(pieces, None), cap);
    let (read, written) = tokio::join!(reading, writing);
    read?;
    work.turned(file, written?);
    Ok(())
}

/// Makes the disk what this cloud wants its disks to be. What stands in a container stays as it is.
async fn convert(work: &mut Work, glance: &Arc<Glance>) -> Result<()> {
    let to = glance.conf.image_conversion_output_format.clone();
    let from = work.claimed().to_string();
    let bare = work.row.container_format.as_deref() == Some("bare");
    let Some(verdict) = work.facts.verdict.clone().filter(|_| bare) else {
        return Ok(());
    };
    // Before a program opens it, whatever require_image_format_match says.
    let why = match verdict.problems.as_slice() {
        [] if verdict.agrees => None,
        [] => Some(format!(
            "it was said to be {from} and is {}",
            verdict.format
        )),
        problems => Some(format!("it is not safe: {}", problems.join("; "))),
    };
    if let Some(why) = why {
        let words = format!("The image cannot be converted: {why}");
        return Err(Error::new(Kind::UnsupportedMediaType, words));
    }
    if from == to || KEPT.contains(&from.as_str()) {
        return Ok(());
    }
    let owner = work.row.owner.clone().unwrap_or_default();
    let cap = limits::cap(glance, &owner, None).await?;
    if verdict.virtual_size > Some(cap) {
        return Err(too_large());
    }
    let staging = &glance.stores.staging;
    let file = made(&work.file, MADE[1]);
    let (source, target) = (staging.file(&work.file), staging.file(&file));
    let turn = glance.converting.acquire().await.map_err(Error::internal)?;
    let made = glance
        .converter
        .convert(&source, &target, &verdict.format, &to, cap);
    made.await.map_err(|e| match e.kind() {
        Kind::Internal => Error::bad_request(format!(
            "The image could not be converted from {from} to {to}."
        ))
        .log(e.log_message()),
        _ => e,
    })?;
    drop(turn);
    let facts = learn(glance, &file, &to).await?;
    work.turned(file, facts);
    work.row.disk_format = Some(to.clone());
    work.became.disk_format = Some(to);
    Ok(())
}

/// What there is to learn of a file in staging that a program wrote; it is durable then.
async fn learn(glance: &Glance, file: &str, claimed: &str) -> Result<Facts> {
    let staging = &glance.stores.staging;
    let path = staging.file(file);
    let size = blocking(move || {
        let file = std::fs::File::open(path)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    });
    let body = staging.read(file, 0, size.await?).await?;
    let (disk, container) = (claimed.to_string(), "bare".to_string());
    let mut pass = Pass::begin((glance.inspectors)(), disk, container, None);
    let mut pieces = body.into_stream();
    while let Some(piece) = pieces.next().await {
        pass.feed(piece?).await?;
    }
    pass.finish().await
}
