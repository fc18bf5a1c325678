//! The control plane's own services say that they live (`openstack compute service list`).

use crate::Nova;
use crate::db::services;
use async_trait::async_trait;
use base::Result;
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Reports nova-conductor and nova-scheduler of this process.
pub(super) struct Heartbeat {
    pub(super) nova: Arc<Nova>,
    pub(super) host: String,
}

#[async_trait]
impl Reconciler for Heartbeat {
    fn name(&self) -> &str {
        "nova heartbeat"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn run(&self) -> Result<Report> {
        let (host, now) = (self.host.clone(), self.nova.clock.now());
        self.nova
            .db
            .write(move |tx| {
                services::report(tx, &host, "nova-conductor", "conductor", now)?;
                services::report(tx, &host, "nova-scheduler", "scheduler", now)?;
                Ok(())
            })
            .await?;
        Ok(Report {
            examined: 2,
            changed: 0,
        })
    }
}
