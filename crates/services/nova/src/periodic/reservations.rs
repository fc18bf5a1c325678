//! Volumes that a request reserved before its process died, or its caller hung up, are given back; those that it made
//! are deleted.

use crate::db::block_devices;
use crate::db::reservations::{self, ReservationRow};
use crate::{Nova, volume};
use async_trait::async_trait;
use base::Result;
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Longer than any request needs between its reservation and its row; one that needs longer is refused.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Reservations(pub(super) Arc<Nova>);

#[async_trait]
impl Reconciler for Reservations {
    fn name(&self) -> &str {
        "nova volume reservations"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn run(&self) -> Result<Report> {
        let then = self.0.clock.now().minus(PATIENCE);
        let rows = self
            .0
            .db
            .read(move |tx| reservations::older(tx, then))
            .await?;
        for row in &rows {
            end(&self.0, row.clone()).await?;
        }
        Ok(Report {
            examined: rows.len() as u64,
            changed: rows.len() as u64,
        })
    }
}

async fn end(nova: &Nova, row: ReservationRow) -> Result<()> {
    let (volume, instance, made) = (row.volume_id.clone(), row.instance_id.clone(), row.made);
    // A request that is only slow finds its reservation given up, and gives its attachment back by itself.
    let kept = nova
        .db
        .write(move |tx| {
            // First: from here on nobody closes it, so that what is found next is all there will be.
            reservations::give_up(tx, &row.id)?;
            let device = block_devices::find(tx, &row.instance_id, &row.volume_id)?;
            Ok(device.map(|d| d.attachment_id))
        })
        .await?;
    // Two requests for the same pair: one of them made the row, and only its attachment is good.
    let attachment = kept.clone().flatten();
    volume::release_all(&nova.sdk, &volume, &instance, attachment.as_deref()).await?;
    if made && kept.is_none() && !volume::discard(&nova.sdk, &volume).await? {
        // Still being made: the next look.
        return Ok(());
    }
    tracing::warn!(
        volume.id = volume,
        server.id = instance,
        "a reservation that nobody finished was given back"
    );
    nova.db
        .write(move |tx| reservations::forget(tx, &instance, &volume))
        .await
        .map(|_| ())
}
