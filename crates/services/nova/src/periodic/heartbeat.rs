//! The control plane's own services say that they live (`openstack compute service list`).

use crate::db::services;
use crate::{Nova, Parts};
use async_trait::async_trait;
use base::Result;
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Reports the parts of nova that are this process.
pub(super) struct Heartbeat {
    pub(super) nova: Arc<Nova>,
    pub(super) host: String,
    pub(super) parts: Parts,
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
        let all = [
            (self.parts.conductor, "nova-conductor", "conductor"),
            (self.parts.scheduler, "nova-scheduler", "scheduler"),
        ];
        let here: Vec<_> = all.into_iter().filter(|(here, ..)| *here).collect();
        let examined = here.len() as u64;
        self.nova
            .db
            .write(move |tx| {
                for (_, binary, topic) in &here {
                    services::report(tx, &host, binary, topic, now)?;
                }
                Ok(())
            })
            .await?;
        Ok(Report {
            examined,
            changed: 0,
        })
    }
}
