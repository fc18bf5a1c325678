//! Volume to objects: what differs from the parent, and for a full backup what differs from nothing but zeros.

use super::format::{
    Algorithm, BLOCK, Blocks, HASH, HASHES, LARGEST, Metadata, hashes_name, metadata_name,
    object_name, pack, regions, unpack,
};
use super::store::{BackupStore, damaged};
use base::{Error, Result};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};

/// Bytes that are read and hashed at once: some blocks, of the same object of hashes.
const WINDOW: u64 = 256 * BLOCK as u64;
static ZEROS: [u8; BLOCK] = [0; BLOCK];
static HASH_OF_ZEROS: LazyLock<[u8; HASH]> = LazyLock::new(|| Sha256::digest(ZEROS).into());

/// Where objects go.
pub struct Place<'a> {
    /// The store.
    pub store: &'a dyn BackupStore,
    /// Its container.
    pub container: &'a str,
    /// How the names begin.
    pub prefix: &'a str,
}

/// What is done, and how.
pub struct Plan<'a> {
    /// The description, of nothing yet.
    pub metadata: Metadata,
    /// What the backup adds to: its description and its place.
    pub parent: Option<(Metadata, Place<'a>)>,
    /// Bytes of blocks in an object, about.
    pub chunk: u64,
}

/// Some blocks of the volume: their hashes, and those that are to be kept.
struct Window {
    hashes: Vec<u8>,
    changed: Vec<(u64, Vec<u8>)>,
}

/// Whether there is nothing but a hole. Filesystems that know no holes say that all is data.
fn is_hole(file: &File, at: u64, length: u64) -> Result<bool> {
    match lseek(file, at as i64, Whence::SeekData) {
        Ok(data) => Ok(data as u64 >= at + length),
        Err(Errno::ENXIO) => Ok(true),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

/// `known`: the hashes of the same blocks in the parent; blocks that it does not have were zeros.
fn look(file: &File, at: u64, length: u64, known: &[u8]) -> Result<Window> {
    let mut window = Window {
        hashes: Vec::new(),
        changed: Vec::new(),
    };
    let hole = is_hole(file, at, length)?;
    let mut bytes = vec![0; if hole { 0 } else { length as usize }];
    file.read_exact_at(&mut bytes, at)?;
    let blocks = length.div_ceil(BLOCK as u64) as usize;
    for number in 0..blocks {
        let start = number * BLOCK;
        let end = (start + BLOCK).min(length as usize);
        let block = if hole {
            &ZEROS[..end - start]
        } else {
            &bytes[start..end]
        };
        let hash: [u8; HASH] = match block == ZEROS {
            true => *HASH_OF_ZEROS,
            false => Sha256::digest(block).into(),
        };
        let before = known
            .get(number * HASH..(number + 1) * HASH)
            .unwrap_or(&*HASH_OF_ZEROS);
        if hash != before {
            window.changed.push((at + start as u64, block.to_vec()));
        }
        window.hashes.extend_from_slice(&hash);
    }
    Ok(window)
}

/// The description of a backup.
pub async fn read_metadata(place: &Place<'_>) -> Result<Metadata> {
    let name = metadata_name(place.prefix);
    let bytes = place
        .store
        .get(place.container, &name, super::format::LARGEST_METADATA);
    Metadata::parse(&name, &bytes.await?)
}

async fn hashes_of(parent: &(Metadata, Place<'_>), region: u64) -> Result<Vec<u8>> {
    let (metadata, place) = parent;
    let Some(object) = metadata.hashes.get(region as usize) else {
        return Ok(Vec::new());
    };
    let name = hashes_name(place.prefix, region as usize + 1);
    let stored = place.store.get(place.container, &name, LARGEST).await?;
    let (object, algorithm, of) = (object.clone(), metadata.compression, name.clone());
    let hashes = off(move || unpack(&of, &object, algorithm, stored)).await?;
    if hashes.len() % HASH != 0 {
        return Err(damaged(&name, "half a hash"));
    }
    Ok(hashes)
}

async fn off<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

struct Writer<'a> {
    place: &'a Place<'a>,
    metadata: Metadata,
    blocks: Blocks,
}

impl Writer<'_> {
    fn algorithm(&self) -> Algorithm {
        self.metadata.compression
    }

    async fn flush(&mut self) -> Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let (blocks, algorithm) = (std::mem::take(&mut self.blocks), self.algorithm());
        let (object, stored) = off(move || pack(blocks.encode(), algorithm)).await?;
        self.metadata.objects.push(object);
        let name = object_name(self.place.prefix, self.metadata.objects.len());
        self.place
            .store
            .put(self.place.container, &name, stored)
            .await
    }

    async fn keep_hashes(&mut self, hashes: Vec<u8>) -> Result<()> {
        let algorithm = self.algorithm();
        let (object, stored) = off(move || pack(hashes, algorithm)).await?;
        self.metadata.hashes.push(object);
        let name = hashes_name(self.place.prefix, self.metadata.hashes.len());
        self.place
            .store
            .put(self.place.container, &name, stored)
            .await
    }
}

/// Keeps the volume; its description, which comes last, says that all is there.
pub async fn write(file: File, place: &Place<'_>, plan: Plan<'_>) -> Result<Metadata> {
    let file = Arc::new(file);
    let size = plan.metadata.size;
    let mut writer = Writer {
        place,
        metadata: plan.metadata,
        blocks: Blocks::default(),
    };
    let region_bytes = HASHES * BLOCK as u64;
    for region in 0..regions(size) {
        let known = match &plan.parent {
            Some(parent) => Arc::new(hashes_of(parent, region).await?),
            None => Arc::default(),
        };
        let (mut at, end) = (region * region_bytes, size.min((region + 1) * region_bytes));
        let (from, mut hashes) = (at, Vec::new());
        while at < end {
            let length = WINDOW.min(end - at);
            let (file, known) = (Arc::clone(&file), Arc::clone(&known));
            let skip = ((at - from) / BLOCK as u64) as usize * HASH;
            let window =
                off(move || look(&file, at, length, known.get(skip..).unwrap_or_default())).await?;
            hashes.extend_from_slice(&window.hashes);
            for (place, bytes) in &window.changed {
                writer.blocks.push(*place, bytes);
            }
            if writer.blocks.len() as u64 >= plan.chunk {
                writer.flush().await?;
            }
            at += length;
        }
        writer.keep_hashes(hashes).await?;
    }
    writer.flush().await?;
    let name = metadata_name(place.prefix);
    let described = serde_json::to_vec(&writer.metadata)?;
    place.store.put(place.container, &name, described).await?;
    Ok(writer.metadata)
}
