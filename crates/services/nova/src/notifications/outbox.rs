//! Notifications that wait to be sent: rows, so that none is lost with a process or while the broker is away.

use crate::Nova;
use async_trait::async_trait;
use base::{Dir, Error, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, everything, is_in};
use oslo_messaging::{Notification, Priority};
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

oslo_db::table! {
    /// A notification on its way.
    struct OutboxRow in "notification_outbox" {
        id: String,
        priority: Priority,
        body: String,
        created_at: Timestamp,
    }
}

/// How many are read, sent and forgotten at a time; after a crash so many may be sent again.
const BATCH: u64 = 50;

/// Writes one into the transaction that does what it tells of.
pub(super) fn put(
    tx: &mut Tx,
    last: &AtomicI64,
    ctx: &RequestContext,
    notification: &Notification,
) -> Result<()> {
    // Later than any that this process wrote before: what it tells comes in order.
    let now = Timestamp::now().0;
    let next = |last: i64| now.max(last + 1);
    let before = last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
    let body = String::from_utf8(notification.encode(ctx)?);
    tx.insert(&OutboxRow {
        id: notification.message_id.clone(),
        priority: notification.priority,
        body: body.map_err(|e| Error::internal(e.to_string()))?,
        created_at: Timestamp(next(before.unwrap_or_default())),
    })
}

/// Sends what waits, in order; one conductor at a time.
pub(crate) struct Deliver(pub(crate) Arc<Nova>);

impl Deliver {
    /// Sends some; how many of how many.
    async fn some(&self) -> Result<(usize, usize)> {
        let nova = &self.0;
        let order = [("created_at", Dir::Asc), ("id", Dir::Asc)];
        let read = nova
            .db
            .read(move |tx| tx.select_sorted::<OutboxRow>(everything(), &order, Some(BATCH)));
        let rows = read.await?;
        let mut sent = Vec::new();
        let mut outcome = Ok(());
        for row in &rows {
            outcome = self.send(row).await;
            if outcome.is_err() {
                break;
            }
            sent.push(row.id.clone());
        }
        let counts = (sent.len(), rows.len());
        if !sent.is_empty() {
            let forget = move |tx: &mut Tx| tx.delete::<OutboxRow>(is_in("id", sent.clone()));
            nova.db.write(forget).await?;
        }
        outcome.map(|()| counts)
    }

    async fn send(&self, row: &OutboxRow) -> Result<()> {
        for topic in &self.0.conf.versioned_notifications_topics {
            let body = row.body.clone().into_bytes();
            self.0.bus.notify("nova", topic, row.priority, body).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reconciler for Deliver {
    fn name(&self) -> &str {
        "nova deliver notifications"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn run(&self) -> Result<Report> {
        let mut examined = 0;
        loop {
            let (sent, waiting) = self.some().await?;
            examined += sent as u64;
            if (waiting as u64) < BATCH {
                // Nothing was wrong and is mended: they were sent.
                return Ok(Report {
                    examined,
                    changed: 0,
                });
            }
        }
    }
}
