//! Objects to volume: zeros first, then what the full backup has, then what each incremental one has changed.

use super::format::{Blocks, LARGEST, Metadata, object_name, unpack};
use super::write::{Place, read_metadata};
use base::{Error, Result};
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PIECE: usize = 1 << 20;

async fn off<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

/// Zeros over so many bytes, by a hole where the filesystem has them.
fn clear(file: &File, size: u64) -> Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    if fallocate(file, flags, 0, size as i64).is_ok() {
        return Ok(());
    }
    let zeros = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = (PIECE as u64).min(size - at);
        file.write_all_at(&zeros[..length as usize], at)?;
        at += length;
    }
    Ok(())
}

/// Refuses a chain in which a part is missing, or one that is larger than the volume.
fn check(chain: &[(Metadata, Place<'_>)], room: u64) -> Result<()> {
    let mut before = None;
    for (metadata, place) in chain {
        if metadata.parent.as_deref() != before {
            return Err(
                Error::conflict("A backup that this one adds to is missing.").log(place.prefix),
            );
        }
        if metadata.size > room {
            return Err(Error::conflict("The backup is larger than the volume.").log(place.prefix));
        }
        before = Some(place.prefix);
    }
    Ok(())
}

/// Gives a file of `room` bytes the bytes of a backup. What is beyond the backup's size stays.
pub async fn restore(file: File, places: Vec<Place<'_>>, room: u64) -> Result<()> {
    let mut chain = Vec::new();
    for place in places {
        chain.push((read_metadata(&place).await?, place));
    }
    check(&chain, room)?;
    let size = chain.last().map_or(0, |(metadata, _)| metadata.size);
    let file = Arc::new(file);
    let target = Arc::clone(&file);
    off(move || clear(&target, size)).await?;
    for (metadata, place) in &chain {
        for (index, object) in metadata.objects.iter().enumerate() {
            let name = object_name(place.prefix, index + 1);
            // What cannot be made smaller becomes a little larger.
            let most = (object.length + object.length / 512 + 4096).min(LARGEST * 2);
            let stored = place.store.get(place.container, &name, most).await?;
            let (object, algorithm) = (object.clone(), metadata.compression);
            let (target, size) = (Arc::clone(&file), metadata.size);
            off(move || {
                let bytes = unpack(&name, &object, algorithm, stored)?;
                for (at, block) in Blocks::decode(&name, &bytes, size)? {
                    target.write_all_at(block, at)?;
                }
                Ok(())
            })
            .await?;
        }
    }
    off(move || Ok(file.sync_all()?)).await
}
