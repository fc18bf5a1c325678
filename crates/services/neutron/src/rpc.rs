//! What agents ask and tell.

use crate::compute::Event;
use crate::db::{AgentRow, AllocationRow, FloatingIpRow, L3BindingRow, PortRow, held};
use crate::noun::{Call, within};
use crate::{Neutron, agents, host_state, ports};
use async_trait::async_trait;
use base::Result;
use neutron_types::rpc::{
    FloatingIpStatus, HostNews, HostReport, MetadataOwner, MetadataSource, PluginApi, PortsReport,
    Revisions,
};
use oslo_context::RequestContext;
use oslo_db::{all, eq, is_in, ne, prefix, set};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Plugin {
    neutron: Arc<Neutron>,
}

impl Plugin {
    pub(crate) fn new(neutron: Arc<Neutron>) -> Plugin {
        Plugin { neutron }
    }

    /// Ports that are wanted where they are said to be get the status that they are said to have.
    async fn statuses(&self, reports: Vec<PortsReport>) -> Result<()> {
        let call = Call::internal(&self.neutron);
        let changed = self
            .neutron
            .change(&call, move |tx, call| {
                let mut told: HashMap<&str, (&str, &'static str)> = HashMap::new();
                for report in &reports {
                    let up = report.up.iter().map(|p| (p, "ACTIVE"));
                    let down = report.down.iter().map(|p| (p, "DOWN"));
                    for (port, status) in up.chain(down) {
                        told.insert(port, (&report.host, status));
                    }
                }
                let mut rows = held::for_update::<PortRow>(tx, is_in("id", told.keys().copied()))?;
                for row in &mut rows {
                    match told.get(row.id.as_str()) {
                        Some((host, status)) if *host == row.host && *status != row.status => {
                            row.status = (*status).into();
                        }
                        _ => row.id.clear(),
                    }
                }
                rows.retain(|r| !r.id.is_empty());
                for status in ["ACTIVE", "DOWN"] {
                    let ids = rows.iter().filter(|r| r.status == status);
                    let ids: Vec<&str> = ids.map(|r| r.id.as_str()).collect();
                    held::set_status(tx, &ids, status, call.now)?;
                }
                Ok(rows)
            })
            .await?;
        let guests = changed
            .into_iter()
            .filter(|p| p.device_owner.starts_with("compute:"));
        let event = |port: PortRow| Event {
            name: match port.status.as_str() {
                "ACTIVE" => "network-vif-plugged",
                _ => "network-vif-unplugged",
            },
            server: port.device_id,
            port: Some(port.id),
        };
        self.neutron.events.tell(guests.map(event).collect());
        Ok(())
    }
}

#[async_trait]
impl PluginApi for Plugin {
    async fn host_state(
        &self,
        _: &RequestContext,
        host: String,
        known: Option<Revisions>,
    ) -> Result<HostNews> {
        let neutron = Arc::clone(&self.neutron);
        self.neutron
            .db
            .read(move |tx| host_state::news(tx, &neutron.around, &host, known.clone()))
            .await
    }

    async fn ports_status(&self, _: &RequestContext, reports: Vec<PortsReport>) -> Result<()> {
        self.statuses(reports).await
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

    async fn report_agents(&self, _: &RequestContext, hosts: Vec<HostReport>) -> Result<()> {
        let call = Call::internal(&self.neutron);
        let news = self
            .neutron
            .change(&call, move |tx, call| agents::report(tx, call, &hosts))
            .await?;
        if news {
            self.neutron.herald.look_again();
        }
        Ok(())
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
