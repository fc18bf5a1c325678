//! Files of deleted images are removed, and files that no image knows.

use crate::Glance;
use crate::db::ImageRow;
use async_trait::async_trait;
use base::{Error, Result};
use glance_types::ImageStatus;
use oslo_db::{Tx, all, any, cell, eq, is_in, not_null};
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
        let deleted = glance
            .db
            .read(|tx| {
                let gone = is_in("status", [ImageStatus::Deleted, ImageStatus::PendingDelete]);
                tx.select::<ImageRow>(all([gone, not_null("file")]))
            })
            .await?;
        let mut report = Report {
            examined: deleted.len() as u64,
            changed: 0,
        };
        for row in deleted {
            remove_deleted(&glance, &row).await?;
            report.changed += 1;
        }
        report.changed += strays(&glance).await?;
        Ok(report)
    }
}

/// Removes the file of a deleted image, and then what the row says of it.
pub async fn remove_deleted(glance: &Glance, row: &ImageRow) -> Result<()> {
    let Some(file) = row.file.clone() else {
        return Ok(());
    };
    let store = glance.store.clone();
    tokio::task::spawn_blocking(move || store.remove(&file))
        .await
        .map_err(Error::internal)??;
    let id = row.id.clone();
    glance
        .db
        .write(move |tx| {
            let values = [
                ("file", cell(None::<String>)),
                ("status", cell(ImageStatus::Deleted)),
            ];
            tx.update::<ImageRow>(eq("id", &id), &values)
        })
        .await
        .map(drop)
}

async fn strays(glance: &Glance) -> Result<u64> {
    let store = glance.store.clone();
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
            let cond = any([is_in("file", wanted.iter()), is_in("upload", wanted.iter())]);
            let rows = tx.select::<ImageRow>(cond)?;
            Ok(rows
                .into_iter()
                .flat_map(|r| [r.file, r.upload])
                .flatten()
                .collect())
        };
        let known: HashSet<String> = glance.db.read(known).await?;
        for name in chunk.iter().filter(|n| !known.contains(*n)) {
            let (store, name) = (glance.store.clone(), name.clone());
            let gone = tokio::task::spawn_blocking(move || store.remove(&name)).await;
            gone.map_err(Error::internal)??;
            removed += 1;
        }
    }
    Ok(removed)
}
