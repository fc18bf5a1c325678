//! What compute hosts may tell us. A host has no database: it says what it is, and asks what should be on it.

use crate::Nova;
use crate::db::instances::{self, PowerRow};
use crate::db::{actions, compute_nodes};
use crate::flows::power::ChangePower;
use crate::instance::status::{TaskState, VmState};
use crate::notifications::About;
use async_trait::async_trait;
use base::id::new_request_id;
use base::{Cell, Kind, Result, Timestamp};
use nova_types::rpc::{ConductorApi, HostReport, PowerAction, PowerState};
use oslo_context::RequestContext;
use placement_types::Inventory;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What placement was told of each host, so that it is told again only when something changed.
#[derive(Default)]
pub struct Reported(Mutex<HashMap<String, Fact>>);

#[derive(PartialEq)]
struct Fact {
    inventories: BTreeMap<String, Inventory>,
    traits: BTreeSet<String>,
}

/// The conductor's RPC.
pub struct Conductor(pub Arc<Nova>);

#[async_trait]
impl ConductorApi for Conductor {
    async fn report_host(&self, _ctx: &RequestContext, report: HostReport) -> Result<Vec<String>> {
        let nova = &self.0;
        let now = nova.clock.now();
        let copy = report.clone();
        let (seen, rows) = nova
            .db
            .write(move |tx| {
                let seen = compute_nodes::report(tx, &copy, now)?;
                Ok((seen, instances::powers_on_host(tx, &copy.host)?))
            })
            .await?;
        // Another conductor may have told placement something else since we did.
        if seen.changed
            && let Ok(mut told) = nova.reported.0.lock()
        {
            told.remove(&seen.node.id);
        }
        tell_placement(nova, &report, &seen.node.id).await?;
        // When the report was made, by our clock.
        let made = Timestamp(report.reported_at.0 - seen.skew_before_ms * 1000);
        for row in &rows {
            let state = report
                .instances
                .iter()
                .find(|(id, _)| *id == row.id)
                .map(|(_, s)| *s);
            // Disks without a guest, and not because it is just being made: the host restarted, or was cleared.
            let settled = row.updated_at.is_some_and(|t| t < made);
            let state = match state {
                Some(PowerState::NoState) if settled => Some(PowerState::Shutdown),
                other => other,
            };
            match state {
                Some(PowerState::Running) if row.vm_state == VmState::Stopped => {
                    stop_again(nova, row).await?;
                }
                Some(state) => sync_power(nova, row, state).await?,
                None => {}
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
        let row = self
            .0
            .db
            .read(move |tx| instances::find_power(tx, &uuid))
            .await?;
        match row.filter(|r| r.host.as_deref() == Some(&host)) {
            Some(row) => sync_power(&self.0, &row, state).await,
            None => Ok(()),
        }
    }

    async fn wake(&self, _ctx: &RequestContext) -> Result<()> {
        self.0.engine.wake();
        Ok(())
    }
}

/// A report may be as old as this when it is looked at.
const REPORT_AGE: Duration = Duration::from_secs(20);

/// A guest runs that should not: somebody started it by hand, or its host was away when it was stopped. As upstream, it
/// is stopped, by the same flow that stops it for its owner.
async fn stop_again(nova: &Arc<Nova>, row: &PowerRow) -> Result<()> {
    let now = nova.clock.now();
    if row.task_state.is_some() || row.updated_at.is_some_and(|t| now.since(t) < REPORT_AGE) {
        return Ok(());
    }
    let (id, engine) = (row.id.clone(), nova.engine.clone());
    let teller = nova.teller.clone();
    let flow = ChangePower {
        instance_id: id.clone(),
        request_id: new_request_id(),
        action: PowerAction::Stop {
            timeout_s: nova.conf.shutdown_timeout,
        },
    };
    let stopping = nova.db.write(move |tx| {
        let set = [
            ("task_state", instances::task(Some(TaskState::PoweringOff))),
            ("updated_at", Some(now).to_cell()),
        ];
        let taken = instances::transition(tx, &id, &[VmState::Stopped], &[None], &set)?;
        if taken {
            let ctx = RequestContext::internal_for(&flow.request_id);
            actions::start(tx, &ctx, &id, "stop", now)?;
            teller.began(tx, &About::flow(&flow))?;
            engine.submit(tx, &flow)?;
        }
        Ok(taken)
    });
    if stopping.await? {
        tracing::warn!(
            server.id = row.id,
            "the guest runs and should not: it is stopped"
        );
        nova.engine.wake();
    }
    Ok(())
}

/// Brings `vm_state` in line with what the hypervisor says, when nothing is being done to the instance.
async fn sync_power(nova: &Nova, row: &PowerRow, state: PowerState) -> Result<()> {
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

/// Makes placement's provider, inventory and traits what the host reports.
async fn tell_placement(nova: &Nova, report: &HostReport, provider: &str) -> Result<()> {
    let fact = Fact {
        inventories: inventories(nova, report),
        traits: report.traits.iter().cloned().collect(),
    };
    let told = |m: &HashMap<String, Fact>| m.get(provider) == Some(&fact);
    if nova.reported.0.lock().is_ok_and(|m| told(&m)) {
        return Ok(());
    }
    let placement = nova.sdk.placement();
    let name = &report.hypervisor_hostname;
    placement.ensure_provider(provider, name, None).await?;
    placement.set_inventory(provider, &fact.inventories).await?;
    match placement.set_traits(provider, &fact.traits).await {
        Err(e) if e.kind() == Kind::BadRequest => {
            tracing::warn!("placement does not know the host's traits: {e}");
        }
        other => other?,
    }
    if let Ok(mut map) = nova.reported.0.lock() {
        map.insert(provider.to_string(), fact);
    }
    Ok(())
}

fn inventories(nova: &Nova, report: &HostReport) -> BTreeMap<String, Inventory> {
    let conf = &nova.conf;
    let all = [
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
    ];
    let there = all.into_iter().filter(|(_, total, _, _)| *total > 0);
    there
        .map(|(name, total, reserved, ratio)| {
            let reserved = reserved.min(total.saturating_sub(1));
            let inventory = Inventory::of(total as i64, reserved as i64, ratio);
            (name.to_string(), inventory)
        })
        .collect()
}
