//! Attach and detach, whatever it is: connect at the neighbour, plug into the guest, tell the neighbour; and back.

use super::{event, finish, give_up, host_of, wanted};
use crate::Nova;
use crate::db::instances::{self, InstanceRow};
use base::{Error, Result};
use nova_types::rpc::ComputeClient;
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use sdk::Sdk;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;

/// What can be plugged into a living server. Every part may be asked twice, and forgives what is done or gone already.
pub trait Device: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The flow that attaches.
    const ATTACH: &'static str;
    /// The flow that detaches.
    const DETACH: &'static str;
    /// How the action log calls the host's part.
    const ATTACHED: &'static str;

    /// Makes the neighbour ready for the server's host, and the server's rows say so.
    fn connect(
        &self,
        nova: &Nova,
        sdk: &Sdk,
        instance: &InstanceRow,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives the guest the device.
    fn plug(
        &self,
        nova: &Nova,
        ctx: &RequestContext,
        instance: &InstanceRow,
        compute: &ComputeClient,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Tells the neighbour that the guest has it.
    fn complete(
        &self,
        nova: &Nova,
        sdk: &Sdk,
        instance: &InstanceRow,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes the device from the guest.
    fn unplug(
        &self,
        ctx: &RequestContext,
        instance_id: &str,
        compute: &ComputeClient,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives the device back to the neighbour, and the server's rows forget it.
    fn release(
        &self,
        nova: &Nova,
        sdk: &Sdk,
        instance_id: &str,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// The state of an attach.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "D: Device")]
pub struct Attach<D> {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// What is attached.
    #[serde(flatten)]
    pub device: D,
}

impl<D: Device> Flow for Attach<D> {
    const NAME: &'static str = D::ATTACH;
    type Deps = Nova;

    fn steps() -> Vec<Step<Attach<D>>> {
        vec![
            Step::new("connect", |f, n| Box::pin(connect(f, n)))
                .undo(|f, n| Box::pin(disconnect(f, n)))
                .retries(3),
            Step::new("attach", |f, n| Box::pin(plug(f, n)))
                .undo(|f, n| Box::pin(pull(f, n)))
                .retries(2),
            Step::new("complete", |f, n| Box::pin(complete(f, n))).retries(10),
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
            let id = &self.instance_id;
            tracing::warn!(server.id = id, "{} failed: {error}", D::ATTACH);
            finish(&nova, self, Some(&error)).await
        })
    }
}

async fn connect<D: Device>(flow: &mut Attach<D>, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let sdk = nova.sdk.for_request(&flow.request_id);
    flow.device.connect(&nova, &sdk, &instance).await
}

async fn plug<D: Device>(flow: &mut Attach<D>, nova: Arc<Nova>) -> Result<()> {
    let started = nova.clock.now();
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = host_of(&instance)?.to_string();
    let ctx = RequestContext::internal_for(&flow.request_id);
    let compute = nova.compute(&host);
    flow.device.plug(&nova, &ctx, &instance, &compute).await?;
    let (id, request) = (&flow.instance_id, &flow.request_id);
    event(&nova, id, request, D::ATTACHED, Some(host), started).await
}

async fn disconnect<D: Device>(flow: &mut Attach<D>, nova: Arc<Nova>) -> Result<()> {
    release(&flow.device, &flow.instance_id, &flow.request_id, nova).await
}

async fn pull<D: Device>(flow: &mut Attach<D>, nova: Arc<Nova>) -> Result<()> {
    unplug(&flow.device, &flow.instance_id, &flow.request_id, nova).await
}

async fn complete<D: Device>(flow: &mut Attach<D>, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let sdk = nova.sdk.for_request(&flow.request_id);
    flow.device.complete(&nova, &sdk, &instance).await?;
    finish(&nova, flow, None).await
}

/// The state of a detach.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "D: Device")]
pub struct Detach<D> {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// What is detached.
    #[serde(flatten)]
    pub device: D,
}

impl<D: Device> Flow for Detach<D> {
    const NAME: &'static str = D::DETACH;
    type Deps = Nova;

    fn steps() -> Vec<Step<Detach<D>>> {
        vec![
            Step::new("detach", |f, n| Box::pin(take(f, n))).retries(3),
            Step::new("release", |f, n| Box::pin(let_go(f, n))).retries(20),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { give_up(&nova, self, &error, None).await })
    }
}

async fn take<D: Device>(flow: &mut Detach<D>, nova: Arc<Nova>) -> Result<()> {
    unplug(&flow.device, &flow.instance_id, &flow.request_id, nova).await
}

async fn let_go<D: Device>(flow: &mut Detach<D>, nova: Arc<Nova>) -> Result<()> {
    let (id, request) = (&flow.instance_id, &flow.request_id);
    release(&flow.device, id, request, Arc::clone(&nova)).await?;
    finish(&nova, flow, None).await
}

async fn release<D: Device>(
    device: &D,
    instance_id: &str,
    request_id: &str,
    nova: Arc<Nova>,
) -> Result<()> {
    let sdk = nova.sdk.for_request(request_id);
    device.release(&nova, &sdk, instance_id).await
}

async fn unplug<D: Device>(
    device: &D,
    instance_id: &str,
    request_id: &str,
    nova: Arc<Nova>,
) -> Result<()> {
    let id = instance_id.to_string();
    let instance = nova.db.read(move |tx| instances::find(tx, &id)).await?;
    let Some(host) = instance.and_then(|i| i.host) else {
        return Ok(());
    };
    let ctx = RequestContext::internal_for(request_id);
    match device.unplug(&ctx, instance_id, &nova.compute(&host)).await {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}
