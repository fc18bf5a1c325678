//! What agents ask and tell.

use crate::db::{AgentRow, AllocationRow, FloatingIpRow, L3BindingRow, PortRow};
use crate::noun::{Call, save, within};
use crate::{Neutron, agents, host_state, ports};
use async_trait::async_trait;
use base::Result;
use neutron_types::rpc::{
    AgentReport, FloatingIpStatus, HostState, MetadataOwner, MetadataSource, PluginApi,
};
use oslo_context::RequestContext;
use oslo_db::{all, eq, is_in, ne, prefix, set};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Plugin {
    neutron: Arc<Neutron>,
}

impl Plugin {
    pub(crate) fn new(neutron: Arc<Neutron>) -> Plugin {
        Plugin { neutron }
    }

    async fn ports(
        &self,
        host: String,
        ids: Vec<String>,
        status: &'static str,
        event: &'static str,
    ) -> Result<()> {
        let call = Call::internal(&self.neutron);
        let changed = self
            .neutron
            .change(&call, move |tx, call| {
                let cond = all([
                    is_in("id", ids.iter()),
                    eq("host", host.as_str()),
                    ne("status", status),
                ]);
                let mut rows = tx.select::<PortRow>(cond)?;
                for port in &mut rows {
                    port.status = status.into();
                    crate::revise!(port, call);
                    save(tx, port)?;
                }
                Ok(rows)
            })
            .await?;
        let guests = changed
            .iter()
            .filter(|p| p.device_owner.starts_with("compute:"));
        let events = guests
            .map(|p| (p.device_id.clone(), Some(p.id.clone())))
            .collect();
        self.neutron.tell_compute(event, events).await;
        Ok(())
    }
}

#[async_trait]
impl PluginApi for Plugin {
    async fn host_state(
        &self,
        _: &RequestContext,
        host: String,
        known_revision: Option<i64>,
    ) -> Result<HostState> {
        self.neutron
            .db
            .read(move |tx| host_state::of_host(tx, &host, known_revision))
            .await
    }

    async fn ports_up(&self, _: &RequestContext, host: String, ports: Vec<String>) -> Result<()> {
        self.ports(host, ports, "ACTIVE", "network-vif-plugged")
            .await
    }

    async fn ports_down(&self, _: &RequestContext, host: String, ports: Vec<String>) -> Result<()> {
        self.ports(host, ports, "DOWN", "network-vif-unplugged")
            .await
    }

    async fn floatingips_status(
        &self,
        _: &RequestContext,
        host: String,
        statuses: Vec<FloatingIpStatus>,
    ) -> Result<()> {
        self.neutron
            .db
            .write(move |tx| {
                // An agent that lost the router, and does not know it yet, has no say any more.
                let agents = all([eq("host", host.as_str()), eq("agent_type", agents::L3)]);
                let agents = within::<AgentRow>("agent_id", "id", agents);
                let routers = within::<L3BindingRow>("router_id", "router_id", agents);
                for told in &statuses {
                    if ["ACTIVE", "DOWN", "ERROR"].contains(&told.status.as_str()) {
                        // One that lost its port meanwhile stays down.
                        let mut cond = vec![
                            eq("id", told.id.as_str()),
                            ne("status", told.status.as_str()),
                        ];
                        if told.status == "ACTIVE" {
                            cond.push(oslo_db::not_null("port_id"));
                        }
                        cond.push(routers.clone());
                        tx.update::<FloatingIpRow>(
                            all(cond),
                            &[set("status", told.status.as_str())],
                        )?;
                    }
                }
                Ok(())
            })
            .await
    }

    async fn report_agents(
        &self,
        _: &RequestContext,
        host: String,
        reports: Vec<AgentReport>,
    ) -> Result<()> {
        let call = Call::internal(&self.neutron);
        self.neutron
            .change(&call, move |tx, call| {
                agents::report(tx, call, &host, &reports).map(drop)
            })
            .await
    }

    async fn metadata_lookup(
        &self,
        _: &RequestContext,
        source: MetadataSource,
        address: IpAddr,
    ) -> Result<Option<MetadataOwner>> {
        self.neutron
            .db
            .read(move |tx| {
                let networks = match &source {
                    MetadataSource::Network(network) => eq("network_id", network.as_str()),
                    MetadataSource::Router(router) => {
                        let legs = all([
                            eq("device_id", router.as_str()),
                            eq("device_owner", ports::INTERFACE),
                        ]);
                        within::<PortRow>("network_id", "network_id", legs)
                    }
                };
                let here =
                    within::<AllocationRow>("id", "port_id", eq("ip_address", address.to_string()));
                let guests = tx.select::<PortRow>(all([
                    networks,
                    here,
                    prefix("device_owner", "compute:"),
                ]))?;
                Ok(match guests.as_slice() {
                    [one] => Some(MetadataOwner {
                        instance_id: one.device_id.clone(),
                        project_id: one.project_id.clone(),
                    }),
                    _ => None,
                })
            })
            .await
    }
}
