//! Delete: the guest, its volumes, its ports, its claim, then the row. Every step forgives what is gone already.

use super::give_up;
use crate::Nova;
use crate::db::{actions, addresses, instances};
use crate::instance::status::VmState;
use crate::notifications::About;
use crate::{network, scheduler};
use base::{Cell, Error, Kind, Result};
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The state of a delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeleteServer {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
}

impl Flow for DeleteServer {
    const NAME: &'static str = "delete_server";
    type Deps = Nova;

    fn steps() -> Vec<Step<DeleteServer>> {
        vec![
            Step::new("destroy", |f, n| Box::pin(destroy(f, n))).retries(5),
            Step::new("volumes", |f, n| Box::pin(volumes(f, n))).retries(20),
            Step::new("ports", |f, n| Box::pin(ports(f, n))).retries(20),
            Step::new("allocations", |f, n| Box::pin(allocations(f, n))).retries(20),
            Step::new("forget", |f, n| Box::pin(forget(f, n))).retries(20),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // The task is `deleting`, which `give_up` leaves to its owner: us.
            let id = self.instance_id.clone();
            nova.db
                .write(move |tx| {
                    instances::update(tx, &id, &[("task_state", instances::task(None))])
                })
                .await?;
            give_up(&nova, self, &error, Some(VmState::Error)).await
        })
    }
}

async fn instance(flow: &DeleteServer, nova: &Nova) -> Result<Option<instances::InstanceRow>> {
    let id = flow.instance_id.clone();
    nova.db.read(move |tx| instances::find(tx, &id)).await
}

async fn destroy(flow: &mut DeleteServer, nova: Arc<Nova>) -> Result<()> {
    let Some(row) = instance(flow, &nova).await? else {
        return Ok(());
    };
    let Some(host) = row.host else {
        return Ok(());
    };
    let name = host.clone();
    let (now, down) = (nova.clock.now(), nova.down_after());
    let up = nova
        .db
        .read(move |tx| {
            Ok(crate::db::services::find(tx, &name, "nova-compute")?
                .is_some_and(|s| s.is_up(now, down)))
        })
        .await?;
    if !up {
        // As upstream: a server on a dead host is deleted at once; the host removes the guest when it is back.
        tracing::warn!(
            server.id = flow.instance_id,
            host,
            "the host is down, its guest is left to the host's own clean-up"
        );
        return Ok(());
    }
    let ctx = RequestContext::internal_for(&flow.request_id);
    let compute = nova.compute(&host).timeout(Duration::from_secs(180));
    let (teller, about) = (&nova.teller, About::flow(flow));
    teller.shutdown(&nova, about.clone(), false).await?;
    match compute
        .destroy_instance(&ctx, flow.instance_id.clone(), true)
        .await
    {
        Err(e) if e.kind() != Kind::NotFound => return Err(e),
        _ => {}
    }
    teller.shutdown(&nova, about, true).await
}

async fn volumes(flow: &mut DeleteServer, nova: Arc<Nova>) -> Result<()> {
    let Some(instance) = instance(flow, &nova).await? else {
        return Ok(());
    };
    super::boot::release_volumes(&nova, &instance.id, &instance.project_id, &flow.request_id).await
}

async fn ports(flow: &mut DeleteServer, nova: Arc<Nova>) -> Result<()> {
    let Some(instance) = instance(flow, &nova).await? else {
        return Ok(());
    };
    let sdk = nova.sdk.for_request(&flow.request_id);
    let kept: Vec<&String> = instance
        .network_info
        .0
        .iter()
        .filter(|p| !p.created_by_nova)
        .map(|p| &p.id)
        .collect();
    for port in network::ports_of(&sdk, &instance.id).await? {
        if kept.contains(&&port.id) {
            network::unbind_port(&sdk, &port.id).await?;
        } else {
            network::delete_port(&sdk, &port.id).await?;
        }
    }
    Ok(())
}

async fn allocations(flow: &mut DeleteServer, nova: Arc<Nova>) -> Result<()> {
    scheduler::release(&nova, &flow.instance_id, &flow.request_id).await
}

async fn forget(flow: &mut DeleteServer, nova: Arc<Nova>) -> Result<()> {
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    let (teller, about) = (nova.teller.clone(), About::flow(flow));
    nova.db
        .write(move |tx| {
            let set = [
                ("vm_state", VmState::Deleted.to_cell()),
                ("task_state", instances::task(None)),
                ("power_state", 0i64.to_cell()),
                ("terminated_at", Some(now).to_cell()),
                ("deleted_at", Some(now).to_cell()),
                ("updated_at", Some(now).to_cell()),
            ];
            instances::update(tx, &id, &set)?;
            addresses::forget(tx, &id)?;
            teller.ended(tx, &about, None)?;
            actions::finish(tx, &id, &request_id, now, None)
        })
        .await?;
    tracing::info!(server.id = flow.instance_id, "deleted");
    Ok(())
}
