//! What the agent tells by itself: that the host lives, what it carries, and guests that changed their power.
//! The answer says which instances belong here; what is missing from two answers in a row is removed.

use crate::agent::ComputeAgent;
use async_trait::async_trait;
use base::{Result, Timestamp};
use nova_types::rpc::{HostReport, PowerState};
use oslo_context::RequestContext;
use oslo_service::{Reconciler, Report, Supervisor};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) fn spawn(agent: &Arc<ComputeAgent>, supervisor: &Supervisor) {
    let name = |what: &str| format!("nova-compute {} {what}", agent.host);
    let reports = Reports {
        name: name("reports"),
        agent: agent.clone(),
        suspects: Mutex::default(),
    };
    supervisor.reconcile(Arc::new(reports), None);
    let power = Power {
        name: name("power"),
        agent: agent.clone(),
    };
    supervisor.reconcile(Arc::new(power), None);
    let tidy = Tidy {
        name: name("tidy"),
        agent: agent.clone(),
    };
    supervisor.reconcile(Arc::new(tidy), None);
}

impl ComputeAgent {
    /// What the host is and carries now.
    pub async fn host_report(&self) -> Result<HostReport> {
        let facts = self.driver.host().await?;
        let instances = self.driver.list().await?;
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split('.').next().and_then(|s| s.parse().ok());
        Ok(HostReport {
            host: self.host.clone(),
            hypervisor_hostname: self.host.clone(),
            hypervisor_type: facts.hypervisor_type,
            hypervisor_version: facts.hypervisor_version,
            host_ip: self.my_ip.clone(),
            vcpus: facts.vcpus,
            memory_mb: facts.memory_mb,
            local_gb: facts.disk_gb.0,
            disk_available_gb: facts.disk_gb.1,
            cpu_info: facts.cpu_info,
            supported_instances: facts.supported_instances,
            instances,
            driver: facts.driver.into(),
            traits: facts.traits,
            uptime_s: uptime.unwrap_or(0),
            reported_at: Timestamp::now(),
        })
    }
}

struct Reports {
    name: String,
    agent: Arc<ComputeAgent>,
    /// Missing from the last answer.
    suspects: Mutex<HashSet<String>>,
}

#[async_trait]
impl Reconciler for Reports {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.agent.report_interval
    }

    async fn run(&self) -> Result<Report> {
        let report = self.agent.host_report().await?;
        let here: Vec<(String, PowerState)> = report.instances.clone();
        let ctx = RequestContext::internal();
        let belong = self.agent.conductor.report_host(&ctx, report).await?;
        {
            let mut known = self.agent.known();
            for (uuid, state) in &here {
                known.entry(uuid.clone()).or_insert(*state);
            }
        }
        let belong: HashSet<String> = belong.into_iter().collect();
        let missing: HashSet<String> = here
            .iter()
            .map(|(uuid, _)| uuid.clone())
            .filter(|uuid| !belong.contains(uuid))
            .collect();
        let orphans: Vec<String> = {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            let twice = missing.intersection(&suspects).cloned().collect();
            *suspects = missing;
            twice
        };
        let mut changed = 0;
        for uuid in orphans.iter().filter(|uuid| !self.agent.locks.busy(uuid)) {
            tracing::warn!(
                server.id = uuid,
                "nobody knows this instance: it is removed"
            );
            self.agent.end(uuid, true).await?;
            changed += 1;
        }
        Ok(Report {
            examined: here.len() as u64,
            changed,
        })
    }
}

struct Power {
    name: String,
    agent: Arc<ComputeAgent>,
}

#[async_trait]
impl Reconciler for Power {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.agent.poll_interval
    }

    async fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        for (uuid, state) in self.agent.driver.list().await? {
            report.examined += 1;
            // Whoever works on it now will tell the conductor in its answer.
            if state == PowerState::NoState || self.agent.locks.busy(&uuid) {
                continue;
            }
            let before = self.agent.known().insert(uuid.clone(), state);
            if before.is_some_and(|before| before != state) {
                tracing::info!(
                    server.id = uuid,
                    ?before,
                    ?state,
                    "the guest changed its power by itself"
                );
                let (ctx, host) = (RequestContext::internal(), self.agent.host.clone());
                self.agent
                    .conductor
                    .power_state_changed(&ctx, host, uuid, state)
                    .await?;
                report.changed += 1;
            }
        }
        Ok(report)
    }
}

struct Tidy {
    name: String,
    agent: Arc<ComputeAgent>,
}

#[async_trait]
impl Reconciler for Tidy {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(600)
    }

    async fn run(&self) -> Result<Report> {
        self.agent.driver.tidy().await?;
        Ok(Report::default())
    }
}
