//! A network card of a living server.

use super::device::Device;
use super::host_of;
use crate::Nova;
use crate::db::instances::{self, CachedPort, InstanceRow};
use crate::network::{self, NewPort, RequestedNetwork};
use base::{Error, Result};
use nova_types::rpc::ComputeClient;
use oslo_context::RequestContext;
use sdk::Sdk;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The card. The API waits for the end of its attach, as upstream's does, because the reply shows the port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// The port: the user's, or one that the API made for this flow.
    pub port_id: String,
    /// Whether nova made it, and so deletes it.
    pub made: bool,
    /// A device tag.
    #[serde(default)]
    pub tag: Option<String>,
}

/// Makes the port that an attach request wants, in the service's name but under the project's quota.
pub async fn make_port(
    sdk: &Sdk,
    instance: &InstanceRow,
    wanted: &RequestedNetwork,
) -> Result<String> {
    let network_id = wanted
        .network_id
        .as_deref()
        .ok_or_else(|| Error::bad_request("No network was given."))?;
    let new = NewPort {
        instance_id: &instance.id,
        project_id: &instance.project_id,
        network_id,
        fixed_ip: wanted.fixed_ip.as_deref(),
        host: host_of(instance)?,
        zone: instance.availability_zone.as_deref().unwrap_or(""),
        security_groups: &[],
    };
    network::create_port(sdk, &new).await.map(|p| p.id)
}

impl Interface {
    /// Replaces what the row remembers of the port.
    async fn remember(&self, nova: &Nova, instance_id: &str, with: Vec<CachedPort>) -> Result<()> {
        let (id, port_id) = (instance_id.to_string(), self.port_id.clone());
        nova.db
            .write(move |tx| {
                let Some(instance) = instances::hold(tx, &id)? else {
                    return Ok(());
                };
                let mut ports = instance.network_info.0;
                ports.retain(|p| p.id != port_id);
                ports.extend(with.iter().cloned());
                instances::save_ports(tx, &id, &ports)
            })
            .await
    }
}

impl Device for Interface {
    const ATTACH: &'static str = "attach_interface";
    const DETACH: &'static str = "detach_interface";
    const ATTACHED: &'static str = "compute_attach_interface";

    async fn connect(&self, nova: &Nova, sdk: &Sdk, instance: &InstanceRow) -> Result<()> {
        let host = host_of(instance)?;
        let zone = instance.availability_zone.as_deref().unwrap_or("");
        let port = network::bind_port(sdk, &self.port_id, &instance.id, host, zone).await?;
        if port.vif_type == "binding_failed" {
            let words = format!("Binding failed for port {}.", port.id);
            return Err(Error::bad_request(words).class("PortBindingFailed"));
        }
        let made: Vec<String> = self.made.then(|| port.id.clone()).into_iter().collect();
        let tags: HashMap<String, String> = self
            .tag
            .iter()
            .map(|t| (port.id.clone(), t.clone()))
            .collect();
        let described = network::describe(sdk, &[port], &made, &tags).await?;
        self.remember(nova, &instance.id, described).await
    }

    async fn plug(
        &self,
        _: &Nova,
        ctx: &RequestContext,
        instance: &InstanceRow,
        compute: &ComputeClient,
    ) -> Result<()> {
        let ports = &instance.network_info.0;
        let port = ports.iter().find(|p| p.id == self.port_id);
        let port = port.ok_or_else(|| Error::conflict("The port was withdrawn."))?;
        let spec = network::spec(port);
        compute.attach_port(ctx, instance.id.clone(), spec).await
    }

    async fn complete(&self, _: &Nova, _: &Sdk, _: &InstanceRow) -> Result<()> {
        Ok(())
    }

    async fn unplug(
        &self,
        ctx: &RequestContext,
        instance_id: &str,
        compute: &ComputeClient,
    ) -> Result<()> {
        let (instance, port) = (instance_id.to_string(), self.port_id.clone());
        compute.detach_port(ctx, instance, port).await
    }

    async fn release(&self, nova: &Nova, sdk: &Sdk, instance_id: &str) -> Result<()> {
        if self.made {
            network::delete_port(sdk, &self.port_id).await?;
        } else {
            network::unbind_port(sdk, &self.port_id).await?;
        }
        self.remember(nova, instance_id, Vec::new()).await
    }
}
