//! What rows remember of ports is brought in line with neutron: an event that was lost costs a minute, not forever.

use crate::Nova;
use crate::db::instances::{self, CachedPort, InstanceRow};
use crate::db::{actions, addresses};
use crate::flows::device::{Attach, Device};
use crate::flows::interface::Interface;
use crate::instance::status::VmState;
use crate::network;
use async_trait::async_trait;
use base::{Cell, Dir, Json, Result};
use oslo_db::{Tx, all, gt, is_null, not_null};
use oslo_service::{Reconciler, Report};
use sdk::Caller;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct HealNetworkInfo(pub(super) Arc<Nova>);

#[async_trait]
impl Reconciler for HealNetworkInfo {
    fn name(&self) -> &str {
        "nova heal network info"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.0.conf.heal_instance_info_cache_interval.max(1))
    }

    async fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        let mut last = String::new();
        loop {
            let after = last.clone();
            let settled = move |tx: &mut Tx| {
                let cond = all([
                    is_null("deleted_at"),
                    is_null("task_state"),
                    not_null("host"),
                    gt("id", after.as_str()),
                ]);
                tx.select_sorted::<InstanceRow>(cond, &[("id", Dir::Asc)], Some(AT_ONCE))
            };
            let rows = self.0.db.read(settled).await?;
            let Some(row) = rows.last() else {
                return Ok(report);
            };
            last = row.id.clone();
            report.examined += rows.len() as u64;
            report.changed += refresh(&self.0, &rows).await?;
        }
    }
}

/// What changes ports beside the row for a while.
const PLUGGING: [&str; 2] = [Interface::ATTACH, Interface::DETACH];

/// So many instances are asked about in one go.
const AT_ONCE: u64 = 100;

/// Reads the ports of instances from neutron, all at once, and saves what changed; how many did.
pub async fn refresh(nova: &Nova, rows: &[InstanceRow]) -> Result<u64> {
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let ports = nova.sdk.neutron().ports_of(Caller::Service, &ids).await?;
    let known: HashMap<&str, &CachedPort> = rows
        .iter()
        .flat_map(|r| &r.network_info.0)
        .map(|p| (p.id.as_str(), p))
        .collect();
    let made: Vec<String> = ports
        .iter()
        .filter(|p| known.get(p.id.as_str()).is_none_or(|o| o.created_by_nova))
        .map(|p| p.id.clone())
        .collect();
    let tags: HashMap<String, String> = known
        .values()
        .filter_map(|o| Some((o.id.clone(), o.tag.clone()?)))
        .collect();
    let described = network::describe(&nova.sdk, &ports, &made, &tags).await?;
    let mut fresh: HashMap<String, Vec<CachedPort>> = HashMap::new();
    for (port, cached) in ports.into_iter().zip(described) {
        fresh.entry(port.device_id).or_default().push(cached);
    }
    let mut changed = 0;
    for row in rows {
        let ports = fresh.remove(&row.id).unwrap_or_default();
        changed += u64::from(save(nova, row, ports).await?);
    }
    Ok(changed)
}

async fn save(nova: &Nova, row: &InstanceRow, mut fresh: Vec<CachedPort>) -> Result<bool> {
    let old = row.network_info.0.clone();
    // Cards keep the order in which the guest has them.
    fresh.sort_by_key(|p| old.iter().position(|o| o.id == p.id).unwrap_or(usize::MAX));
    if fresh == old {
        return Ok(false);
    }
    // With no attach under way, a port that the row does not know was made by a request whose process did not survive
    // until its flow was submitted: it is carried through, and as upstream's goes with its server.
    let stray = |p: &&CachedPort| old.iter().all(|o| o.id != p.id);
    let strays: Vec<Attach<Interface>> = fresh
        .iter()
        .filter(stray)
        .map(|p| Attach {
            instance_id: row.id.clone(),
            request_id: base::id::new_request_id(),
            device: Interface {
                port_id: p.id.clone(),
                made: true,
                tag: None,
            },
        })
        .collect();
    let (id, engine) = (row.id.clone(), nova.engine.clone());
    nova.db
        .write(move |tx| {
            // Only while nobody is at work on it, and nobody was since it was read: flows write the same column.
            let current = instances::hold(tx, &id)?.map(|r| r.network_info.0);
            if current.as_ref() != Some(&old) || actions::under_way(tx, &id, &PLUGGING)? {
                return Ok(false);
            }
            let ports = [("network_info", Json(fresh.clone()).to_cell())];
            if !instances::transition(tx, &id, VmState::ALL, &[None], &ports)? {
                return Ok(false);
            }
            addresses::replace(tx, &id, &fresh)?;
            for flow in &strays {
                engine.submit(tx, flow)?;
            }
            Ok(true)
        })
        .await
        .inspect(|_| nova.engine.wake())
}
