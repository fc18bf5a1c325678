//! Images that are `saving`, `uploading` or `importing` though nobody receives their data any more go back to `queued`.

use crate::db::ImageRow;
use crate::{Glance, remote, upload};
use async_trait::async_trait;
use base::Result;
use glance_types::ImageStatus;
use oslo_db::{all, is_in, not_null};
use oslo_service::{Reconciler, Report};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub struct Uploads(Weak<Glance>);

impl Uploads {
    pub fn new(glance: &Arc<Glance>) -> Uploads {
        Uploads(Arc::downgrade(glance))
    }
}

#[async_trait]
impl Reconciler for Uploads {
    fn name(&self) -> &str {
        "glance uploads"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let Some(glance) = self.0.upgrade() else {
            return Ok(Report::default());
        };
        let saving = glance
            .db
            .read(|tx| {
                let moving = is_in("status", upload::RECEIVING);
                tx.select::<ImageRow>(all([moving, not_null("upload")]))
            })
            .await?;
        let mut report = Report {
            examined: saving.len() as u64,
            changed: 0,
        };
        for row in saving {
            let Some(upload) = &row.upload else { continue };
            let ours = row.upload_owner.as_deref() == Some(glance.process.as_str());
            let lapsed = row
                .upload_lease
                .is_none_or(|until| until < glance.clock.now());
            let dead = if ours {
                !glance.live.contains(upload)
            } else {
                lapsed
            };
            if dead {
                match row.status {
                    ImageStatus::Importing => remote::abandon(&glance, &row).await?,
                    _ => upload::abandon(&glance, &row.id, upload).await?,
                }
                tracing::info!(image.id = %row.id, "an upload died; the image is queued again");
                report.changed += 1;
            }
        }
        Ok(report)
    }
}
