//! Tasks that ended long ago are forgotten.

use crate::Glance;
use crate::db::TaskRow;
use async_trait::async_trait;
use base::Result;
use oslo_db::lt;
use oslo_service::{Reconciler, Report};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub struct Tasks(Weak<Glance>);

impl Tasks {
    pub fn new(glance: &Arc<Glance>) -> Tasks {
        Tasks(Arc::downgrade(glance))
    }
}

#[async_trait]
impl Reconciler for Tasks {
    fn name(&self) -> &str {
        "glance tasks"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self) -> Result<Report> {
        let Some(glance) = self.0.upgrade() else {
            return Ok(Report::default());
        };
        let now = glance.clock.now();
        let gone = glance
            .db
            .write(move |tx| tx.delete::<TaskRow>(lt("expires_at", now)))
            .await?;
        Ok(Report {
            examined: gone,
            changed: gone,
        })
    }
}
