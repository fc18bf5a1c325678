//! What the agent tells by itself: that the host lives, what it carries, and guests that changed their power.
//! The answer says which instances belong here; what is missing from two answers in a row is removed.

use crate::agent::ComputeAgent;
use async_trait::async_trait;
use base::{Error, Result, Timestamp};
use futures::StreamExt;
use nova_types::rpc::{HostReport, PowerState};
use oslo_context::RequestContext;
use oslo_service::{CancellationToken, Reconciler, Report, Supervisor};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Starts the reconcilers of the hosts of this process: one of each kind, however many hosts there are.
pub(crate) fn spawn(agents: &[Arc<ComputeAgent>], supervisor: &Supervisor) {
    let Some(first) = agents.first() else {
        return;
    };
    let name = |what: &str| format!("nova-compute {} {what}", first.host);
    let reporter = |agent: &Arc<ComputeAgent>| {
        Arc::new(Reporter {
            agent: agent.clone(),
            suspects: Mutex::default(),
        })
    };
    let reports = Reports {
        name: name("reports"),
        interval: first.report_interval,
        hosts: agents.iter().map(reporter).collect(),
        stop: supervisor.token(),
    };
    supervisor.reconcile(Arc::new(reports), None);
    let power = Power {
        name: name("power"),
        interval: first.poll_interval,
        agents: agents.to_vec(),
    };
    supervisor.reconcile(Arc::new(power), None);
    let tidy = Tidy {
        name: name("tidy"),
        agents: agents.to_vec(),
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

/// How many hosts of one process report at the same time.
const AT_ONCE: usize = 8;

struct Reports {
    name: String,
    interval: Duration,
    hosts: Vec<Arc<Reporter>>,
    stop: CancellationToken,
}

struct Reporter {
    agent: Arc<ComputeAgent>,
    /// Missing from the last answer.
    suspects: Mutex<HashSet<String>>,
}

impl Reports {
    /// How long after one host the next reports: together they take the interval, also the first time.
    fn step(&self) -> Duration {
        self.interval / u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1)
    }
}

#[async_trait]
impl Reconciler for Reports {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.step()
    }

    async fn run(&self) -> Result<Report> {
        let (begun, step) = (Instant::now(), self.step());
        let hosts: Vec<_> = self.hosts.iter().cloned().zip(0u32..).collect();
        let turns = hosts.into_iter().map(|(host, n)| {
            let stop = self.stop.clone();
            async move {
                tokio::select! {
                    () = tokio::time::sleep_until(begun + step * n) => host.report().await,
                    () = stop.cancelled() => Ok(Report::default()),
                }
            }
        });
        let mut turns = futures::stream::iter(turns).buffer_unordered(AT_ONCE);
        let mut sum = Sum::default();
        while let Some(outcome) = turns.next().await {
            sum.add(outcome);
        }
        sum.end()
    }
}

/// What the hosts of a process did together. One that fails does not keep the others from their turn.
#[derive(Default)]
struct Sum {
    report: Report,
    error: Option<Error>,
}

impl Sum {
    fn add(&mut self, outcome: Result<Report>) {
        match outcome {
            Ok(report) => {
                self.report.examined += report.examined;
                self.report.changed += report.changed;
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    fn end(self) -> Result<Report> {
        self.error.map_or(Ok(self.report), Err)
    }
}

impl Reporter {
    async fn report(&self) -> Result<Report> {
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
    interval: Duration,
    agents: Vec<Arc<ComputeAgent>>,
}

#[async_trait]
impl Reconciler for Power {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    async fn run(&self) -> Result<Report> {
        let mut sum = Sum::default();
        for agent in &self.agents {
            sum.add(look_at_power(agent).await);
            // Many fake hosts never wait by themselves.
            tokio::task::yield_now().await;
        }
        sum.end()
    }
}

async fn look_at_power(agent: &ComputeAgent) -> Result<Report> {
    let mut report = Report::default();
    for (uuid, state) in agent.driver.list().await? {
        report.examined += 1;
        // Whoever works on it now will tell the conductor in its answer.
        if state == PowerState::NoState || agent.locks.busy(&uuid) {
            continue;
        }
        let before = agent.known().insert(uuid.clone(), state);
        if before.is_some_and(|before| before != state) {
            tracing::info!(
                server.id = uuid,
                ?before,
                ?state,
                "the guest changed its power by itself"
            );
            let (ctx, host) = (RequestContext::internal(), agent.host.clone());
            let told = agent.conductor.power_state_changed(&ctx, host, uuid, state);
            told.await?;
            report.changed += 1;
        }
    }
    Ok(report)
}

struct Tidy {
    name: String,
    agents: Vec<Arc<ComputeAgent>>,
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
        for agent in &self.agents {
            agent.driver.tidy().await?;
        }
        Ok(Report::default())
    }
}
