//! The image cache: whole copies of images in a folder of this controller, so that what is far away is fetched once.
//!
//! A copy is made beside the download that asked for it, or because somebody queued the image. What it holds is in the
//! database, by the folder's own name; its file is complete before its row is written, and its row is gone before its
//! file. Files without rows are what a crash left, and go when they are as old as `image_cache_stall_time`.

use crate::Glance;
use crate::db::ImageRow;
use crate::db::cache::{self, CachedRow, Held, QueueRow, of};
use crate::stores::{Folder, Incoming, Store, pump};
use crate::{Conf, upload};
use base::{Error, Result, Timestamp};
use futures::StreamExt;
use futures::stream::BoxStream;
use md5::{Digest, Md5};
use oslo_db::{Tx, eq};
use oslo_http::{Body, Bytes};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The file in the folder that says its name.
const NAME: &str = "node";

pub struct Cache {
    folder: Folder,
    /// The folder's own name.
    pub node: String,
    pub url: Option<String>,
    pub max: u64,
    stall: Duration,
    filling: Mutex<HashSet<String>>,
}

/// Keeps two copies of an image from being made at once.
struct Filling {
    glance: Arc<Glance>,
    image: String,
}

impl Drop for Filling {
    fn drop(&mut self) {
        if let Some(cache) = &self.glance.cache {
            let mut filling = cache.filling.lock().unwrap_or_else(PoisonError::into_inner);
            filling.remove(&self.image);
        }
    }
}

/// What was removed to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pruned {
    pub files: u64,
    pub bytes: u64,
}

fn name_of(folder: &Path) -> Result<String> {
    let file = folder.join(NAME);
    match std::fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_string()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let name = base::new_id();
    let new = folder.join(format!("{NAME}.{name}"));
    std::fs::write(&new, &name)?;
    // Of several processes that come at once one names the folder.
    let linked = std::fs::hard_link(&new, &file);
    std::fs::remove_file(&new)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e.into()),
        _ => Ok(std::fs::read_to_string(&file)?.trim().to_string()),
    }
}

impl Cache {
    /// The cache, if there shall be one.
    pub fn open(conf: &Conf) -> Result<Option<Cache>> {
        let Some(folder) = &conf.image_cache_dir else {
            return Ok(None);
        };
        let opened = Folder::open(folder)?;
        Ok(Some(Cache {
            folder: opened,
            node: name_of(folder)?,
            url: conf.worker_self_reference_url.clone(),
            max: conf.image_cache_max_size,
            stall: Duration::from_secs(conf.image_cache_stall_time),
            filling: Mutex::default(),
        }))
    }

    /// A part of an image, if a copy is here.
    pub async fn read(
        &self,
        glance: &Glance,
        image: &str,
        from: u64,
        length: u64,
    ) -> Result<Option<Body>> {
        let (node, id, now) = (self.node.clone(), image.to_string(), glance.clock.now());
        let used = move |tx: &mut Tx| cache::used(tx, &node, &id, now);
        let Some(row) = glance.db.write(used).await? else {
            return Ok(None);
        };
        // What cannot be read here is read where it came from.
        match self.folder.read(&row.file, from, length).await {
            Ok(body) => Ok(Some(body)),
            Err(e) => {
                tracing::warn!(image.id = image, "a cached image cannot be read: {e:?}");
                self.forget(glance, image).await?;
                Ok(None)
            }
        }
    }

    fn begin(&self, glance: &Arc<Glance>, image: &str) -> Option<Filling> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.insert(image.to_string()).then(|| Filling {
            glance: Arc::clone(glance),
            image: image.to_string(),
        })
    }

    /// The same body, which on its way to the caller leaves a copy here.
    pub async fn tee(&self, glance: &Arc<Glance>, row: &ImageRow, body: Body) -> Body {
        let size = row.size.unwrap_or_default() as u64;
        if size > self.max || size == 0 {
            return body;
        }
        let Some(filling) = self.begin(glance, &row.id) else {
            return body;
        };
        let file = format!("{}.{}", row.id, base::new_hex_id());
        let incoming = match self.folder.begin(&file, Some(size)).await {
            Ok(incoming) => incoming,
            Err(e) => {
                tracing::warn!(image.id = %row.id, "an image cannot be cached: {e:?}");
                return body;
            }
        };
        let length = body.length();
        let copy = Copying {
            filling,
            incoming,
            file,
            row: row.clone(),
            bytes: 0,
        };
        let tee = Tee {
            pieces: body.into_stream(),
            copy: Some(copy),
        };
        Body::stream(futures::stream::unfold(tee, Tee::next), length)
    }

    /// Fetches an image that is not here.
    pub async fn fill(&self, glance: &Arc<Glance>, row: &ImageRow, body: Body) -> Result<()> {
        let size = row.size.unwrap_or_default() as u64;
        let Some(filling) = self.begin(glance, &row.id) else {
            return Ok(());
        };
        let file = format!("{}.{}", row.id, base::new_hex_id());
        let mut incoming = self.folder.begin(&file, Some(size)).await?;
        if let Err(e) = pump(body, &mut *incoming, size).await {
            incoming.forget().await;
            return Err(e);
        }
        let copied = keep(&filling, incoming, &file, row).await;
        if copied.is_err() {
            self.folder.remove(&file).await?;
        }
        copied
    }

    /// Forgets an image and what is queued of it; says whether there was anything.
    pub async fn forget(&self, glance: &Glance, image: &str) -> Result<bool> {
        let (node, id) = (self.node.clone(), image.to_string());
        let forget = move |tx: &mut Tx| {
            let row = tx.find_for_update::<CachedRow>(of(&node, &id))?;
            tx.delete::<CachedRow>(of(&node, &id))?;
            let queued = tx.delete::<QueueRow>(of(&node, &id))?;
            Ok((row, queued > 0))
        };
        let (row, queued) = glance.db.write(forget).await?;
        if let Some(row) = &row {
            self.folder.remove(&row.file).await?;
        }
        Ok(queued || row.is_some())
    }

    /// Forgets all images.
    pub async fn clear(&self, glance: &Glance) -> Result<()> {
        let node = self.node.clone();
        let clear = move |tx: &mut Tx| {
            let rows = cache::held(tx, &node)?;
            tx.delete::<CachedRow>(eq("node", &node))?;
            Ok(rows)
        };
        for row in glance.db.write(clear).await? {
            self.folder.remove(&row.file).await?;
        }
        Ok(())
    }

    /// Forgets what is queued.
    pub async fn clear_queue(&self, glance: &Glance) -> Result<()> {
        let node = self.node.clone();
        let clear = move |tx: &mut Tx| tx.delete::<QueueRow>(eq("node", &node));
        glance.db.write(clear).await.map(drop)
    }

    /// Makes room: the least recently used go until what is left fits.
    pub async fn prune(&self, glance: &Glance) -> Result<Pruned> {
        let (node, max) = (self.node.clone(), self.max);
        let prune = move |tx: &mut Tx| {
            let mut rows = cache::held(tx, &node)?;
            let mut left: u64 = rows.iter().map(|row| row.size as u64).sum();
            let keep = rows.iter().position(|row| {
                let fits = left <= max;
                left = left.saturating_sub(if fits { 0 } else { row.size as u64 });
                fits
            });
            rows.truncate(keep.unwrap_or(rows.len()));
            for row in &rows {
                tx.delete::<CachedRow>(of(&node, &row.image))?;
            }
            Ok(rows)
        };
        let gone = glance.db.write(prune).await?;
        for row in &gone {
            self.folder.remove(&row.file).await?;
        }
        Ok(Pruned {
            files: gone.len() as u64,
            bytes: gone.iter().map(|row| row.size as u64).sum(),
        })
    }

    /// Removes what a crash left: files that no row knows, once they are old; rows without a file or an image.
    pub async fn clean(&self, glance: &Glance) -> Result<u64> {
        // Files first: a row that comes meanwhile has a file that is older than this look at the rows.
        let files = self.folder.names("").await?;
        let node = self.node.clone();
        let rows = glance.db.read(move |tx| cache::held(tx, &node)).await?;
        let known: HashSet<&str> = rows.iter().map(|row| row.file.as_str()).collect();
        let there: HashSet<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
        let mut removed = 0;
        let now = Timestamp::now();
        for (file, at) in &files {
            let named = file == NAME || known.contains(file.as_str());
            if !named && now.since(*at) >= self.stall {
                self.folder.remove(file).await?;
                removed += 1;
            }
        }
        let ids: Vec<String> = rows.iter().map(|row| row.image.clone()).collect();
        let live = move |tx: &mut Tx| {
            let mut live = HashSet::new();
            for some in ids.chunks(500) {
                let cond = oslo_db::all([
                    oslo_db::is_in("id", some.iter().map(String::as_str)),
                    oslo_db::is_null("deleted_at"),
                ]);
                live.extend(tx.select::<ImageRow>(cond)?.into_iter().map(|row| row.id));
            }
            Ok(live)
        };
        let live: HashSet<String> = glance.db.read(live).await?;
        for row in &rows {
            let lost = !there.contains(row.file.as_str()) && !self.folder.file(&row.file).exists();
            if lost || !live.contains(&row.image) {
                self.forget(glance, &row.image).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A copy under way beside a download.
struct Copying {
    filling: Filling,
    incoming: Box<dyn Incoming>,
    file: String,
    row: ImageRow,
    bytes: u64,
}

struct Tee {
    pieces: BoxStream<'static, std::io::Result<Bytes>>,
    copy: Option<Copying>,
}

impl Tee {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Tee)> {
        let piece = self.pieces.next().await;
        let Some(copy) = &mut self.copy else {
            return piece.map(|piece| (piece, self));
        };
        match &piece {
            Some(Ok(bytes)) => {
                copy.bytes += bytes.len() as u64;
                if let Err(e) = copy.incoming.write(bytes.clone()).await {
                    tracing::warn!(image.id = %copy.row.id, "an image cannot be cached: {e:?}");
                    self.copy = None;
                } else if copy.bytes >= copy.row.size.unwrap_or_default() as u64
                    && let Some(copy) = self.copy.take()
                {
                    // The caller does not wait for it.
                    tokio::spawn(copy.finish());
                }
            }
            // It broke off, or is shorter than it should be.
            _ => self.copy = None,
        }
        piece.map(|piece| (piece, self))
    }
}

impl Copying {
    async fn finish(mut self) {
        let kept = match self.incoming.end().await {
            Ok(()) => keep(&self.filling, self.incoming, &self.file, &self.row).await,
            Err(e) => Err(e),
        };
        if let Err(e) = kept {
            tracing::warn!(image.id = %self.row.id, "an image was not cached: {e:?}");
            if let Some(cache) = &self.filling.glance.cache {
                // What stays of it is found by `clean`.
                let _ = cache.folder.remove(&self.file).await;
            }
        }
    }
}

/// Makes what arrived the copy of its image, if it is what the image is.
async fn keep(
    filling: &Filling,
    incoming: Box<dyn Incoming>,
    file: &str,
    row: &ImageRow,
) -> Result<()> {
    let glance = &filling.glance;
    let Some(cache) = &glance.cache else {
        return Ok(());
    };
    incoming.keep(None).await?;
    let path = cache.folder.file(file);
    let hashed = tokio::task::spawn_blocking(move || -> std::io::Result<(u64, String)> {
        let mut md5 = Md5::new();
        let bytes = std::io::copy(&mut std::fs::File::open(path)?, &mut md5)?;
        Ok((bytes, upload::hex(&md5.finalize())))
    });
    let (bytes, md5) = hashed.await.map_err(Error::internal)??;
    if row.size != Some(bytes as i64) || row.checksum.as_ref().is_some_and(|sum| *sum != md5) {
        return Err(Error::internal("the data of an image is not what it was"));
    }
    let now = glance.clock.now();
    let cached = CachedRow {
        node: cache.node.clone(),
        image: row.id.clone(),
        file: file.to_string(),
        url: cache.url.clone(),
        size: bytes as i64,
        hits: 0,
        last_accessed: now,
        last_modified: now,
    };
    match glance.db.write(move |tx| cache::hold(tx, &cached)).await? {
        Held::Unwanted => cache.folder.remove(file).await?,
        Held::Kept(Some(before)) => cache.folder.remove(&before).await?,
        Held::Kept(None) => {}
    }
    cache.prune(glance).await.map(drop)
}
