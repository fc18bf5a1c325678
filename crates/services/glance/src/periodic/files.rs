//! Files of dropped copies are removed, and files that no image knows.

use crate::Glance;
use crate::db::{ImageRow, LocationRow, LocationStatus, TaskRow};
use crate::stores::Store;
use async_trait::async_trait;
use base::{Error, Result};
use glance_types::{ImageStatus, TaskStatus};
use oslo_db::{Tx, all, any, eq, is_in, set};
use oslo_service::{Reconciler, Report};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

/// A stray file this old belongs to nobody who is still about to say so.
const STRAY_AGE: Duration = Duration::from_secs(3600);

pub struct Files(Weak<Glance>);

impl Files {
    pub fn new(glance: &Arc<Glance>) -> Files {
        Files(Arc::downgrade(glance))
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
        let Some(glance) = self.0.upgrade() else {
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
        for location in dropped {
            remove(&glance, &location).await?;
            report.changed += 1;
        }
        forget_deleted(&glance).await?;
        report.changed += strays(&glance).await?;
        Ok(report)
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
    forget_deleted(glance).await
}

/// Removes the file of a copy, and then what the row says of it.
async fn remove(glance: &Glance, location: &LocationRow) -> Result<()> {
    let store = glance.stores.find(&location.store);
    let folder = store.and_then(|s| s.writable().ok()).cloned();
    match (folder, location.file.clone()) {
        (Some(folder), Some(file)) => tokio::task::spawn_blocking(move || folder.remove(&file))
            .await
            .map_err(Error::internal)??,
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

/// A deleted image without copies is deleted for good.
async fn forget_deleted(glance: &Glance) -> Result<()> {
    let write = |tx: &mut Tx| {
        let pending = tx.select::<ImageRow>(eq("status", ImageStatus::PendingDelete))?;
        for row in pending {
            if !tx.exists::<LocationRow>(eq("image", &row.id))? {
                let values = [set("status", ImageStatus::Deleted)];
                tx.update::<ImageRow>(eq("id", &row.id), &values)?;
            }
        }
        Ok(())
    };
    glance.db.write(write).await
}

/// Whose file it is.
fn image_of(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// Files that no row knows, in every folder.
async fn strays(glance: &Glance) -> Result<u64> {
    let mut removed = strays_of(glance, &glance.stores.staging).await?;
    for (_, store) in glance.stores.writable() {
        removed += strays_of(glance, store).await?;
    }
    Ok(removed)
}

async fn strays_of(glance: &Glance, folder: &Store) -> Result<u64> {
    let store = folder.clone();
    let names = tokio::task::spawn_blocking(move || store.names())
        .await
        .map_err(Error::internal)??;
    let old = |at: &SystemTime| at.elapsed().is_ok_and(|age| age > STRAY_AGE);
    let old: Vec<String> = names
        .into_iter()
        .filter(|(_, at)| old(at))
        .map(|(name, _)| name)
        .collect();
    let mut removed = 0;
    for chunk in old.chunks(500) {
        let wanted = chunk.to_vec();
        let known = move |tx: &mut Tx| {
            let names = || wanted.iter().map(String::as_str);
            let stored = tx.select::<LocationRow>(is_in("file", names()))?;
            let mut known: HashSet<String> = stored.into_iter().filter_map(|l| l.file).collect();
            let cond = any([is_in("upload", names()), is_in("staged", names())]);
            let rows = tx.select::<ImageRow>(cond)?;
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
            let (store, name) = (folder.clone(), name.clone());
            let gone = tokio::task::spawn_blocking(move || store.remove(&name)).await;
            gone.map_err(Error::internal)??;
            removed += 1;
        }
    }
    Ok(removed)
}
