//! What rows remember of ports is brought in line with neutron: an event that was lost costs a minute, not forever.

use crate::Nova;
use crate::db::instances::{self, InstanceRow};
use crate::flows::interface::AttachInterface;
use crate::network;
use async_trait::async_trait;
use base::{Cell, Json, Result};
use oslo_db::{all, is_null, not_null};
use oslo_service::{Reconciler, Report};
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
        Duration::from_secs(60)
    }

    async fn run(&self) -> Result<Report> {
        let rows: Vec<InstanceRow> = self
            .0
            .db
            .read(|tx| {
                tx.select(all([
                    is_null("deleted_at"),
                    is_null("task_state"),
                    not_null("host"),
                ]))
            })
            .await?;
        let mut report = Report::default();
        for row in rows.iter().filter(|r| !r.network_info.0.is_empty()) {
            report.examined += 1;
            report.changed += u64::from(refresh(&self.0, row).await?);
        }
        Ok(report)
    }
}

/// Reads an instance's ports from neutron and saves what changed; true if something did.
pub async fn refresh(nova: &Nova, row: &InstanceRow) -> Result<bool> {
    let ports = network::ports_of(&nova.sdk, &row.id).await?;
    let old = &row.network_info.0;
    let made: Vec<String> = ports
        .iter()
        .filter(|p| old.iter().all(|o| o.id != p.id || o.created_by_nova))
        .map(|p| p.id.clone())
        .collect();
    let tags: HashMap<String, String> = old
        .iter()
        .filter_map(|o| Some((o.id.clone(), o.tag.clone()?)))
        .collect();
    let mut fresh = network::describe(&nova.sdk, &ports, &made, &tags).await?;
    // Cards keep the order in which the guest has them.
    fresh.sort_by_key(|p| old.iter().position(|o| o.id == p.id).unwrap_or(usize::MAX));
    let same = serde_json::to_value(&fresh)? == serde_json::to_value(old)?;
    if same {
        return Ok(false);
    }
    let (id, known) = (row.id.clone(), serde_json::to_value(old)?);
    // A port that the row does not know was made by an attach that its process did not survive: it is carried through.
    let stray = |p: &&instances::CachedPort| old.iter().all(|o| o.id != p.id);
    let strays: Vec<AttachInterface> = fresh
        .iter()
        .filter(stray)
        .map(|p| AttachInterface {
            instance_id: row.id.clone(),
            request_id: base::id::new_request_id(),
            port_id: p.id.clone(),
            made: false,
            tag: None,
        })
        .collect();
    let engine = nova.engine.clone();
    nova.db
        .write(move |tx| {
            // Only while nobody is at work on it, and nobody was since it was read: flows write the same column.
            let now = instances::find(tx, &id)?.map(|r| r.network_info.0);
            if serde_json::to_value(now)? != known {
                return Ok(());
            }
            let states: Vec<_> = crate::instance::status::VmState::ALL.to_vec();
            let ports = [("network_info", Json(fresh.clone()).to_cell())];
            if instances::transition(tx, &id, &states, &[None], &ports)? {
                for flow in &strays {
                    engine.submit(tx, flow)?;
                }
            }
            Ok(())
        })
        .await?;
    nova.engine.wake();
    Ok(true)
}
