//! Console tickets that are over are removed.

use crate::Nova;
use crate::db::console_tokens::ConsoleTokenRow;
use async_trait::async_trait;
use base::Result;
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct ExpireConsoleTokens(pub(super) Arc<Nova>);

#[async_trait]
impl Reconciler for ExpireConsoleTokens {
    fn name(&self) -> &str {
        "nova expire console tokens"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let now = self.0.clock.now();
        let changed = self
            .0
            .db
            .write(move |tx| tx.delete::<ConsoleTokenRow>(oslo_db::lt("expires_at", now)))
            .await?;
        Ok(Report {
            examined: changed,
            changed,
        })
    }
}
