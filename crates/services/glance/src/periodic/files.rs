//! Files of dropped copies are removed, and files that no image knows.

use crate::Glance;
use crate::db::{ImageRow, LocationRow, LocationStatus, TaskRow};
use crate::stores::Store;
use async_trait::async_trait;
use base::{Result, Timestamp};
use glance_types::{ImageStatus, TaskStatus};
use oslo_db::{Tx, all, eq, everything, in_rows, is_in, not, set};
use oslo_service::{Reconciler, Report};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How the names of files begin, which are those of images, in so many turns. Each search looks at one: to read what is there
/// and ask whose it is takes long where there are many.
const TURNS: [[&str; 3]; 8] = [
    ["0", "1", "2"],
    ["3", "4", "5"],
    ["6", "7", "8"],
    ["9", "a", "A"],
    ["b", "B", "F"],
    ["c", "C", "E"],
    ["d", "D", ""],
    ["e", "f", ""],
];
/// So many searches look at everything.
pub const SEARCHES: usize = TURNS.len();

/// A stray file this old belongs to nobody who is still about to say so.
const STRAY_AGE: Duration = Duration::from_secs(3600);

pub struct Files {
    glance: Weak<Glance>,
    turn: AtomicUsize,
}

impl Files {
    pub fn new(glance: &Arc<Glance>) -> Files {
        Files {
            glance: Arc::downgrade(glance),
            // A process that never lives long begins with another turn each time.
            turn: AtomicUsize::new(Timestamp::now().0 as usize % SEARCHES),
        }
    }
}

#[async_trait]
impl Reconciler for Files {
    fn name(&self) -> &str {
        "glance files"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self) -> Result<Report> {
        let Some(glance) = self.glance.upgrade() else {
            return Ok(Report::default());
        };
        let pending = eq("status", LocationStatus::PendingDelete);
        let dropped = glance
            .db
            .read(move |tx| tx.select::<LocationRow>(pending.clone()))
            .await?;
        let mut report = Report {
            examined: dropped.len() as u64,
            changed: 0,
        };
        // A store that cannot be reached does not keep the others waiting.
        let mut outcome = Ok(());
        for location in dropped {
            match remove(&glance, &location).await {
                Ok(()) => report.changed += 1,
                failed => outcome = outcome.and(failed),
            }
        }
        for image in bare(&glance).await? {
            forget_deleted(&glance, &image).await?;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % SEARCHES;
        match strays(&glance, &TURNS[turn]).await {
            Ok((examined, removed)) => {
                report.examined += examined;
                report.changed += removed;
            }
            Err(e) => outcome = outcome.and(Err(e)),
        }
        outcome.map(|()| report)
    }
}

/// Removes what is left of an image's copies that were dropped; now, not when the reconciler comes round.
pub async fn remove_dropped(glance: &Glance, image: &str) -> Result<()> {
    let cond = all([
        eq("image", image),
        eq("status", LocationStatus::PendingDelete),
    ]);
    let dropped = glance
        .db
        .read(move |tx| tx.select::<LocationRow>(cond.clone()))
        .await?;
    for location in dropped {
        remove(glance, &location).await?;
    }
    forget_deleted(glance, image).await
}

/// Removes the file of a copy, and then what the row says of it.
async fn remove(glance: &Glance, location: &LocationRow) -> Result<()> {
    let store = glance.stores.find(&location.store);
    let store = store.and_then(|s| s.writable().ok());
    match (store, &location.file) {
        (Some(store), Some(file)) => store.remove(file).await?,
        (None, Some(_)) => {
            // The store was taken out of the configuration; it may come back.
            tracing::warn!(
                store = location.store,
                "a copy cannot be removed: the store is not enabled"
            );
            return Ok(());
        }
        (_, None) => {}
    }
    let id = location.id.clone();
    let write = move |tx: &mut Tx| tx.delete::<LocationRow>(eq("id", &id));
    glance.db.write(write).await.map(drop)
}

/// Deleted images that have no copies any more.
async fn bare(glance: &Glance) -> Result<Vec<String>> {
    let stored = in_rows::<LocationRow>("id", "image", everything());
    let bare = all([eq("status", ImageStatus::PendingDelete), not(stored)]);
    let read = move |tx: &mut Tx| tx.select::<ImageRow>(bare.clone());
    let rows = glance.db.read(read).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// A deleted image without copies is deleted for good.
async fn forget_deleted(glance: &Glance, image: &str) -> Result<()> {
    let image = image.to_string();
    let write = move |tx: &mut Tx| {
        if tx.exists::<LocationRow>(eq("image", &image))? {
            return Ok(());
        }
        let pending = all([eq("id", &image), eq("status", ImageStatus::PendingDelete)]);
        let values = [set("status", ImageStatus::Deleted)];
        tx.update::<ImageRow>(pending, &values).map(drop)
    };
    glance.db.write(write).await
}

/// Whose file it is.
fn image_of(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// What no row knows, in every store: how much was looked at, and how much was removed.
async fn strays(glance: &Glance, turn: &[&str]) -> Result<(u64, u64)> {
    // What is on its way is little.
    let (mut examined, mut removed) = strays_of(glance, &glance.stores.staging, "").await?;
    let mut outcome = Ok(());
    for (_, store) in glance.stores.writable() {
        for prefix in turn.iter().filter(|prefix| !prefix.is_empty()) {
            match strays_of(glance, &**store, prefix).await {
                Ok((more, gone)) => (examined, removed) = (examined + more, removed + gone),
                Err(e) => outcome = outcome.and(Err(e)),
            }
        }
    }
    outcome.map(|()| (examined, removed))
}

/// Whether a name is one that we give: `<image>.<upload>`. A bucket may hold what others put there.
fn is_ours(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    name.split_once('.').is_some_and(|(image, upload)| {
        image.len() == 36 && upload.len() == 32 && hex(image) && hex(upload)
    })
}

async fn strays_of(glance: &Glance, store: &dyn Store, prefix: &str) -> Result<(u64, u64)> {
    let names = store.names(prefix).await?;
    let examined = names.len() as u64;
    let now = Timestamp::now();
    let old = |name: &str, at: Timestamp| now.since(at) > STRAY_AGE && is_ours(name);
    let old: Vec<String> = names
        .into_iter()
        .filter(|(name, at)| old(name, *at))
        .map(|(name, _)| name)
        .collect();
    let mut removed = 0;
    for chunk in old.chunks(500) {
        let wanted = chunk.to_vec();
        let known = move |tx: &mut Tx| {
            let names = || wanted.iter().map(String::as_str);
            let stored = tx.select::<LocationRow>(is_in("file", names()))?;
            let mut known: HashSet<String> = stored.into_iter().filter_map(|l| l.file).collect();
            let rest: HashSet<&str> = names()
                .filter(|n| !known.contains(*n))
                .map(image_of)
                .collect();
            if rest.is_empty() {
                return Ok(known);
            }
            // Of what has no row, which is little, the images say whether it is on its way.
            let rows = tx.select::<ImageRow>(is_in("id", rest))?;
            known.extend(
                rows.into_iter()
                    .flat_map(|r| [r.upload, r.staged])
                    .flatten(),
            );
            // An import at work may touch any file of its image.
            let at_work = is_in("status", [TaskStatus::Pending, TaskStatus::Processing]);
            let images = is_in("image_id", names().map(image_of));
            let tasks = tx.select::<TaskRow>(all([at_work, images]))?;
            let importing: HashSet<String> = tasks.into_iter().filter_map(|t| t.image_id).collect();
            known.extend(
                names()
                    .filter(|name| importing.contains(image_of(name)))
                    .map(str::to_string),
            );
            Ok(known)
        };
        let known: HashSet<String> = glance.db.read(known).await?;
        for name in chunk.iter().filter(|n| !known.contains(*n)) {
            store.remove(name).await?;
            removed += 1;
        }
    }
    Ok((examined, removed))
}
