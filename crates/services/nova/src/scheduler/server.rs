//! The scheduler on the bus: who serves it (nova-scheduler), and how the conductor asks.

use super::hosts::Hosts;
use super::{Destination, HAS_ALLOCATIONS, RequestSpec, release, select_destination};
use crate::Nova;
use crate::db::instances;
use crate::flows::wanted;
use crate::instance::status::{TaskState, VmState};
use async_trait::async_trait;
use base::{Error, Kind, Result};
use nova_types::scheduler::{SchedulerApi, SchedulerClient};
use oslo_context::RequestContext;
use std::sync::Arc;
use std::time::Duration;

/// A decision takes milliseconds; who does not answer by then is dead, and another scheduler is asked.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

/// The scheduler's RPC.
pub(crate) struct Manager {
    nova: Arc<Nova>,
    hosts: Hosts,
}

impl Manager {
    pub(crate) fn new(nova: Arc<Nova>) -> Manager {
        Manager {
            nova,
            hosts: Hosts::default(),
        }
    }
}

/// How an instance stands to a choice of its host.
enum Standing {
    /// It waits for one.
    Waits,
    /// It has one.
    Placed,
    /// It needs none any more.
    Over,
}

async fn standing(nova: &Nova, id: &str) -> Result<Standing> {
    let id = id.to_string();
    let row = nova
        .db
        .read(move |tx| instances::find_power(tx, &id))
        .await?;
    Ok(match row {
        Some(i) if i.host.is_some() => Standing::Placed,
        Some(i) if i.vm_state != VmState::Building => Standing::Over,
        Some(i) if i.task_state == Some(TaskState::Deleting) => Standing::Over,
        Some(_) => Standing::Waits,
        None => Standing::Over,
    })
}

fn late(id: &str) -> Error {
    Error::conflict(format!("Instance {id} does not wait for a host any more."))
}

#[async_trait]
impl SchedulerApi for Manager {
    async fn select_destinations(
        &self,
        ctx: &RequestContext,
        spec_obj: RequestSpec,
    ) -> Result<Destination> {
        let (nova, id) = (&self.nova, spec_obj.instance_id.clone());
        // Messages wait in queues while no scheduler is there, and their senders do not.
        if !matches!(standing(nova, &id).await?, Standing::Waits) {
            return Err(late(&id));
        }
        let chosen = select_destination(nova, &self.hosts, &spec_obj, &ctx.request_id).await?;
        // It may have been given up meanwhile, with nobody left to release what was claimed after that.
        if matches!(standing(nova, &id).await?, Standing::Over) {
            release(nova, &id, &ctx.request_id).await?;
            return Err(late(&id));
        }
        Ok(chosen)
    }
}

/// Asks a scheduler, whichever answers; waits `[nova] scheduler_wait` seconds for one that does.
pub(crate) async fn select(
    nova: &Nova,
    spec: RequestSpec,
    request_id: &str,
) -> Result<Destination> {
    let patience = PATIENCE.min(nova.bus.options().call_timeout);
    let schedulers = SchedulerClient::new(&nova.bus).timeout(patience);
    let ctx = RequestContext::internal_for(request_id);
    let limit = Duration::from_secs(nova.conf.scheduler_wait);
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let outcome = schedulers.select_destinations(&ctx, spec.clone()).await;
        let error = match outcome {
            Err(e) if e.error_class() == Some(HAS_ALLOCATIONS) => {
                release(nova, &spec.instance_id, request_id).await?;
                e
            }
            Err(e) if unheard(&e) => e,
            other => return other,
        };
        if tokio::time::Instant::now() >= deadline {
            let words = format!("No nova-scheduler answered within {limit:?}.");
            return Err(Error::bad_request(words)
                .class("NoSchedulerAnswered")
                .log(error.log_message()));
        }
        tracing::debug!(server.id = spec.instance_id, "asking again: {error}");
        wanted(nova, &spec.instance_id).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody was there, or nobody answered: not a scheduler whose own neighbours are away.
fn unheard(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
        && matches!(
            error.error_class(),
            Some("MessageUndeliverable" | "MessagingTimeout")
        )
}
