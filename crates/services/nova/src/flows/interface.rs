//! Attach and detach a network card of a living server.

use super::{event, give_up, host_of, wanted};
use crate::Nova;
use crate::db::{actions, instances};
use crate::network::{self, NewPort, RequestedNetwork};
use base::{Cell, Error, Json, Result};
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// The state of an attach. The API waits for its end, as upstream's does, because the reply shows the port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttachInterface {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// The port: the user's, or one that the API made for this flow.
    pub port_id: String,
    /// Whether nova made it.
    pub made: bool,
    /// A device tag.
    pub tag: Option<String>,
}

impl Flow for AttachInterface {
    const NAME: &'static str = "attach_interface";
    type Deps = Nova;

    fn steps() -> Vec<Step<AttachInterface>> {
        vec![
            Step::new("bind", |f, n| Box::pin(bind(f, n)))
                .undo(|f, n| Box::pin(unbind(f, n)))
                .retries(3),
            Step::new("attach", |f, n| Box::pin(attach(f, n)))
                .undo(|f, n| Box::pin(unattach(f, n)))
                .retries(2),
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
            let (id, request_id, now, words) = (
                self.instance_id.clone(),
                self.request_id.clone(),
                nova.clock.now(),
                error.message().to_string(),
            );
            nova.db
                .write(move |tx| actions::finish(tx, &id, &request_id, now, Some(&words)))
                .await
        })
    }
}

/// Makes the port that an attach request wants, in the service's name but under the project's quota.
pub async fn make_port(
    nova: &Nova,
    instance: &instances::InstanceRow,
    wanted: &RequestedNetwork,
) -> Result<String> {
    let host = host_of(instance)?;
    let network_id = wanted
        .network_id
        .as_deref()
        .ok_or_else(|| Error::bad_request("No network was given."))?;
    let new = NewPort {
        instance_id: &instance.id,
        project_id: &instance.project_id,
        network_id,
        fixed_ip: wanted.fixed_ip.as_deref(),
        host,
        zone: instance.availability_zone.as_deref().unwrap_or(""),
        security_groups: &[],
    };
    network::create_port(&nova.sdk, &new).await.map(|p| p.id)
}

async fn bind(flow: &mut AttachInterface, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = host_of(&instance)?;
    let sdk = nova.sdk.for_request(&flow.request_id);
    let zone = instance.availability_zone.as_deref().unwrap_or("");
    let port = network::bind_port(&sdk, &flow.port_id, &flow.instance_id, host, zone).await?;
    if port.vif_type.as_deref() == Some("binding_failed") {
        return Err(
            Error::bad_request(format!("Binding failed for port {}.", port.id))
                .class("PortBindingFailed"),
        );
    }
    let made = if flow.made {
        vec![port.id.clone()]
    } else {
        Vec::new()
    };
    let tags: HashMap<String, String> = flow
        .tag
        .iter()
        .map(|t| (port.id.clone(), t.clone()))
        .collect();
    let described = network::describe(&sdk, &[port], &made, &tags).await?;
    change_ports(&nova, &flow.instance_id, &flow.port_id, described).await
}

/// Replaces what the row remembers of one port.
async fn change_ports(
    nova: &Nova,
    instance_id: &str,
    port_id: &str,
    with: Vec<instances::CachedPort>,
) -> Result<()> {
    let (id, port_id) = (instance_id.to_string(), port_id.to_string());
    nova.db
        .write(move |tx| {
            let Some(instance) = instances::find(tx, &id)? else {
                return Ok(());
            };
            let mut ports = instance.network_info.0;
            ports.retain(|p| p.id != port_id);
            ports.extend(with.iter().cloned());
            instances::update(tx, &id, &[("network_info", Json(ports).to_cell())])
        })
        .await
}

async fn unbind(flow: &mut AttachInterface, nova: Arc<Nova>) -> Result<()> {
    drop_port(
        &nova,
        &flow.instance_id,
        &flow.port_id,
        flow.made,
        &flow.request_id,
    )
    .await
}

async fn drop_port(
    nova: &Nova,
    instance_id: &str,
    port_id: &str,
    made: bool,
    request_id: &str,
) -> Result<()> {
    let sdk = nova.sdk.for_request(request_id);
    if made {
        network::delete_port(&sdk, port_id).await?;
    } else {
        network::unbind_port(&sdk, port_id).await?;
    }
    change_ports(nova, instance_id, port_id, Vec::new()).await
}

async fn attach(flow: &mut AttachInterface, nova: Arc<Nova>) -> Result<()> {
    let started = nova.clock.now();
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = host_of(&instance)?.to_string();
    let port = instance
        .network_info
        .0
        .iter()
        .find(|p| p.id == flow.port_id)
        .map(network::spec);
    let port = port.ok_or_else(|| Error::conflict("The port was withdrawn."))?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    nova.compute(&host)
        .attach_port(&ctx, flow.instance_id.clone(), port)
        .await?;
    event(
        &nova,
        &flow.instance_id,
        &flow.request_id,
        "compute_attach_interface",
        Some(host),
        started,
    )
    .await?;
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| actions::finish(tx, &id, &request_id, now, None))
        .await
}

async fn unattach(flow: &mut AttachInterface, nova: Arc<Nova>) -> Result<()> {
    take_from_guest(&nova, &flow.instance_id, &flow.port_id, &flow.request_id).await
}

async fn take_from_guest(
    nova: &Nova,
    instance_id: &str,
    port_id: &str,
    request_id: &str,
) -> Result<()> {
    let id = instance_id.to_string();
    let Some(host) = nova
        .db
        .read(move |tx| instances::find(tx, &id))
        .await?
        .and_then(|i| i.host)
    else {
        return Ok(());
    };
    let ctx = RequestContext::internal_for(request_id);
    match nova
        .compute(&host)
        .detach_port(&ctx, instance_id.to_string(), port_id.to_string())
        .await
    {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

/// The state of a detach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DetachInterface {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// The port.
    pub port_id: String,
    /// Whether nova made it, and so deletes it.
    pub made: bool,
}

impl Flow for DetachInterface {
    const NAME: &'static str = "detach_interface";
    type Deps = Nova;

    fn steps() -> Vec<Step<DetachInterface>> {
        vec![
            Step::new("detach", |f, n| Box::pin(detach(f, n))).retries(3),
            Step::new("release", |f, n| Box::pin(release(f, n))).retries(20),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(
            async move { give_up(&nova, &self.instance_id, &self.request_id, &error, None).await },
        )
    }
}

async fn detach(flow: &mut DetachInterface, nova: Arc<Nova>) -> Result<()> {
    take_from_guest(&nova, &flow.instance_id, &flow.port_id, &flow.request_id).await
}

async fn release(flow: &mut DetachInterface, nova: Arc<Nova>) -> Result<()> {
    drop_port(
        &nova,
        &flow.instance_id,
        &flow.port_id,
        flow.made,
        &flow.request_id,
    )
    .await?;
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| actions::finish(tx, &id, &request_id, now, None))
        .await
}
