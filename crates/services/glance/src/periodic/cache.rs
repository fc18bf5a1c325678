//! The cache gets what is queued for it, and loses what it must: what does not fit, and what a crash left.

use crate::Glance;
use crate::api::data::open;
use crate::db::cache::{self, QueueRow, of};
use crate::db::images::gather;
use crate::db::{ImageRow, cache::CachedRow};
use async_trait::async_trait;
use base::Result;
use glance_types::ImageStatus;
use oslo_db::{Tx, eq};
use oslo_service::{Reconciler, Report};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub struct Caching(Weak<Glance>);

impl Caching {
    pub fn new(glance: &Arc<Glance>) -> Caching {
        Caching(Arc::downgrade(glance))
    }
}

#[async_trait]
impl Reconciler for Caching {
    fn name(&self) -> &str {
        "glance cache"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self) -> Result<Report> {
        let Some(glance) = self.0.upgrade() else {
            return Ok(Report::default());
        };
        let Some(cache) = &glance.cache else {
            return Ok(Report::default());
        };
        let mut report = Report::default();
        let node = cache.node.clone();
        let queued = glance.db.read(move |tx| cache::queued(tx, &node)).await?;
        for row in queued {
            report.examined += 1;
            match fetch(&glance, &row.image).await {
                Ok(()) => report.changed += 1,
                Err(e) => {
                    tracing::warn!(image.id = %row.image, "a queued image cannot be cached: {e:?}");
                }
            }
            // Whoever still wants it asks again: what cannot be had does not wait for ever.
            let (node, image) = (row.node, row.image);
            let done = move |tx: &mut Tx| tx.delete::<QueueRow>(of(&node, &image));
            glance.db.write(done).await?;
        }
        report.changed += cache.clean(&glance).await?;
        report.changed += cache.prune(&glance).await?.files;
        Ok(report)
    }
}

/// Fetches one image, if it is wanted and not here.
async fn fetch(glance: &Arc<Glance>, image: &str) -> Result<()> {
    let Some(cache) = &glance.cache else {
        return Ok(());
    };
    let (node, id) = (cache.node.clone(), image.to_string());
    let find = move |tx: &mut Tx| {
        let wanted = tx.exists::<QueueRow>(of(&node, &id))?;
        let here = tx.exists::<CachedRow>(of(&node, &id))?;
        let row = tx.find::<ImageRow>(eq("id", &id))?;
        let row = row.filter(|row| row.status == ImageStatus::Active && wanted && !here);
        gather(tx, row.into_iter().collect())
    };
    let Some(image) = glance.db.read(find).await?.pop() else {
        return Ok(());
    };
    let size = image.row.size.unwrap_or_default() as u64;
    if size > cache.max {
        tracing::warn!(image.id = %image.row.id, "a queued image is larger than the whole cache");
        return Ok(());
    }
    match open(glance, &image, 0, size).await? {
        Some(body) => cache.fill(glance, &image.row, body).await,
        None => Ok(()),
    }
}
