//! What compute hosts may tell us. A host has no database: it says what it is, and asks what should be on it.

use crate::Nova;
use crate::db::{compute_nodes, instances, services};
use crate::instance::status::VmState;
use async_trait::async_trait;
use base::{Cell, Kind, Result};
use nova_types::rpc::{ConductorApi, HostReport, PowerState};
use oslo_context::RequestContext;
use sdk::{Caller, Method};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What placement was told of each host, so that it is told again only when something changed.
#[derive(Default)]
pub struct Reported(Mutex<HashMap<String, Value>>);

/// The conductor's RPC.
pub struct Conductor(pub Arc<Nova>);

#[async_trait]
impl ConductorApi for Conductor {
    async fn report_host(&self, _ctx: &RequestContext, report: HostReport) -> Result<Vec<String>> {
        let nova = &self.0;
        let now = nova.clock.now();
        let copy = report.clone();
        let (node, rows) = nova
            .db
            .write(move |tx| {
                let service = services::report(tx, &copy.host, "nova-compute", "compute", now)?;
                let node = compute_nodes::report(tx, &service.id, &copy, now)?;
                Ok((node, instances::on_host(tx, &copy.host)?))
            })
            .await?;
        tell_placement(nova, &report, &node.id).await?;
        for row in &rows {
            let state = report
                .instances
                .iter()
                .find(|(id, _)| *id == row.id)
                .map(|(_, s)| *s);
            // Disks without a guest, and not because it is just being made: the host restarted, or was cleared.
            let settled = row.updated_at.is_some_and(|t| t < report.reported_at);
            let state = match state {
                Some(PowerState::NoState) if settled => Some(PowerState::Shutdown),
                other => other,
            };
            if let Some(state) = state {
                sync_power(nova, row, state).await?;
            }
        }
        Ok(rows.into_iter().map(|r| r.id).collect())
    }

    async fn power_state_changed(
        &self,
        _ctx: &RequestContext,
        host: String,
        uuid: String,
        state: PowerState,
    ) -> Result<()> {
        let row = self.0.db.read(move |tx| instances::find(tx, &uuid)).await?;
        match row.filter(|r| r.host.as_deref() == Some(&host)) {
            Some(row) => sync_power(&self.0, &row, state).await,
            None => Ok(()),
        }
    }
}

/// Brings `vm_state` in line with what the hypervisor says, when nothing is being done to the instance.
async fn sync_power(nova: &Nova, row: &instances::InstanceRow, state: PowerState) -> Result<()> {
    let vm_state = match (row.vm_state, state) {
        (
            VmState::Active | VmState::Paused | VmState::Suspended,
            PowerState::Shutdown | PowerState::Crashed,
        ) => VmState::Stopped,
        (VmState::Active, PowerState::Paused) => VmState::Paused,
        (same, _) => same,
    };
    if row.task_state.is_some()
        || (vm_state == row.vm_state && state.code() == row.power_state)
        || state == PowerState::NoState
    {
        return Ok(());
    }
    let (id, old, now) = (row.id.clone(), row.vm_state, nova.clock.now());
    tracing::info!(
        server.id = id,
        "the guest is {state:?} by itself, vm_state {old} becomes {vm_state}"
    );
    nova.db
        .write(move |tx| {
            let set = [
                ("vm_state", vm_state.to_cell()),
                ("power_state", state.code().to_cell()),
                ("updated_at", Some(now).to_cell()),
            ];
            instances::transition(tx, &id, &[old], &[None], &set).map(|_| ())
        })
        .await
}

/// Makes placement's provider and inventory what the host reports.
async fn tell_placement(nova: &Nova, report: &HostReport, provider: &str) -> Result<()> {
    let conf = &nova.conf;
    let class = |total: u64, reserved: u64, max: u64, ratio: f64| json!({"total": total, "reserved": reserved.min(total.saturating_sub(1)), "min_unit": 1, "max_unit": max, "step_size": 1, "allocation_ratio": ratio});
    let mut inventories = serde_json::Map::new();
    for (name, total, reserved, ratio) in [
        (
            "VCPU",
            u64::from(report.vcpus),
            0,
            conf.cpu_allocation_ratio,
        ),
        (
            "MEMORY_MB",
            report.memory_mb,
            conf.reserved_host_memory_mb,
            conf.ram_allocation_ratio,
        ),
        (
            "DISK_GB",
            report.local_gb,
            conf.reserved_host_disk_mb.div_ceil(1024),
            conf.disk_allocation_ratio,
        ),
    ] {
        if total > 0 {
            inventories.insert(name.into(), class(total, reserved, total, ratio));
        }
    }
    let inventories = Value::Object(inventories);
    let fact = json!([inventories, report.traits]);
    if nova
        .reported
        .0
        .lock()
        .is_ok_and(|m| m.get(provider) == Some(&fact))
    {
        return Ok(());
    }
    let placement = nova.sdk.with_version("1.36");
    let ask = |method: Method, path: String, body: Option<Value>| {
        let placement = placement.clone();
        async move {
            placement
                .request(Caller::Service, "placement", method, &path, body)
                .await
        }
    };
    let create = json!({"uuid": provider, "name": report.hypervisor_hostname});
    if let Err(e) = ask(Method::GET, format!("/resource_providers/{provider}"), None).await {
        if !e.is_not_found() {
            return Err(e);
        }
        ask(Method::POST, "/resource_providers".into(), Some(create)).await?;
    }
    let path = format!("/resource_providers/{provider}/inventories");
    for _ in 0..5 {
        let now: Value = ask(Method::GET, path.clone(), None).await?.json()?;
        let body = json!({"resource_provider_generation": now["resource_provider_generation"], "inventories": inventories});
        match ask(Method::PUT, path.clone(), Some(body)).await {
            Err(e) if e.kind() == Kind::Conflict => continue,
            other => other?,
        };
        let traits: Value = ask(
            Method::GET,
            format!("/resource_providers/{provider}/traits"),
            None,
        )
        .await?
        .json()?;
        let body = json!({"resource_provider_generation": traits["resource_provider_generation"], "traits": report.traits});
        match ask(
            Method::PUT,
            format!("/resource_providers/{provider}/traits"),
            Some(body),
        )
        .await
        {
            Err(e) if e.kind() == Kind::Conflict => continue,
            Err(e) if e.kind() == Kind::BadRequest => {
                tracing::warn!("placement does not know the host's traits: {e}")
            }
            other => drop(other?),
        }
        if let Ok(mut map) = nova.reported.0.lock() {
            map.insert(provider.to_string(), fact);
        }
        return Ok(());
    }
    Ok(())
}
