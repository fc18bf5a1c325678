//! What each cache holds, and what it shall hold.

use super::ImageRow;
use base::{Dir, Result, Timestamp};
use glance_types::ImageStatus;
use oslo_db::{Cond, Tx, all, eq, set};

oslo_db::table! {
    /// A whole copy in the folder of one cache, which is named by its `node`.
    pub struct CachedRow in "cached_images" {
        pub node: String, pub image: String, pub file: String,
        /// Where the cache's glance answers, if it says so.
        pub url: Option<String>,
        pub size: i64, pub hits: i64, pub last_accessed: Timestamp, pub last_modified: Timestamp,
    }

    /// An image that somebody wants there.
    pub struct QueueRow in "cache_queue" { pub node: String, pub image: String, pub queued_at: Timestamp }
}

pub fn of(node: &str, image: &str) -> Cond {
    all([eq("node", node), eq("image", image)])
}

/// What a cache holds, the least recently used first.
pub fn held(tx: &mut Tx, node: &str) -> Result<Vec<CachedRow>> {
    let order = [("last_accessed", Dir::Asc), ("image", Dir::Asc)];
    tx.select_sorted(eq("node", node), &order, None)
}

/// What a cache shall hold, in the order in which it was asked for.
pub fn queued(tx: &mut Tx, node: &str) -> Result<Vec<QueueRow>> {
    let order = [("queued_at", Dir::Asc), ("image", Dir::Asc)];
    tx.select_sorted(eq("node", node), &order, None)
}

/// The copy of an image, counted as used.
pub fn used(tx: &mut Tx, node: &str, image: &str, now: Timestamp) -> Result<Option<CachedRow>> {
    let Some(row) = tx.find_for_update::<CachedRow>(of(node, image))? else {
        return Ok(None);
    };
    let values = [set("hits", row.hits + 1), set("last_accessed", now)];
    tx.update::<CachedRow>(of(node, image), &values)?;
    Ok(Some(row))
}

/// Makes a complete file the copy of an image that is still there; gives the file that was the copy before.
pub fn hold(tx: &mut Tx, row: &CachedRow) -> Result<Held> {
    let image = tx.find_for_update::<ImageRow>(eq("id", &row.image))?;
    tx.delete::<QueueRow>(of(&row.node, &row.image))?;
    if image.is_none_or(|i| i.status != ImageStatus::Active) {
        return Ok(Held::Unwanted);
    }
    let before = tx.find_for_update::<CachedRow>(of(&row.node, &row.image))?;
    tx.delete::<CachedRow>(of(&row.node, &row.image))?;
    tx.insert(row)?;
    Ok(Held::Kept(before.map(|before| before.file)))
}

pub enum Held {
    /// The image is gone meanwhile.
    Unwanted,
    Kept(Option<String>),
}
