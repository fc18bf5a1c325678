//! The loop: fetch what is wanted, make it so, say what changed; woken by messages, by devices that come, by time.

use crate::config::Settings;
use crate::driver::{Applied, Driver};
use crate::metadata::Metadata;
use crate::report;
use base::Result;
use neutron_types::rpc::{FloatingIpStatus, HostState, PluginClient};
use oslo_context::RequestContext;
use oslo_service::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(5);
const QUICK: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_secs(5);

/// What the loop knows between rounds.
pub struct Worker {
    pub settings: Settings,
    pub driver: Arc<dyn Driver>,
    pub plugin: PluginClient,
    pub metadata: Metadata,
    pub wake: Arc<Notify>,
    pub cancel: CancellationToken,
    pub state: Option<HostState>,
    /// What the last look found was new for this host.
    pub news: bool,
    pub reported: Reported,
}

/// What the server was told last; only differences are told again.
#[derive(Default)]
pub struct Reported {
    up: BTreeSet<String>,
    down: BTreeSet<String>,
    floating: BTreeMap<String, String>,
}

impl Worker {
    /// Runs until cancelled. What is on the host stays: guests go on without the agent.
    pub async fn run(mut self) {
        let mut fetched = Instant::now();
        let mut full = Instant::now();
        let mut beat: Option<Instant> = None;
        let mut print = 0;
        let (mut dirty, mut fetch, mut waiting) = (true, true, false);
        while !self.cancel.is_cancelled() {
            let held = self.hold(fetched);
            let mut answered = true;
            if (fetch && held.is_zero()) || fetched.elapsed() >= POLL {
                match self.fetch().await {
                    Ok(changed) => {
                        dirty |= changed;
                        fetch = false;
                    }
                    Err(e) => {
                        tracing::warn!("the server does not say what it wants: {e}");
                        answered = false;
                    }
                }
                fetched = Instant::now();
            }
            if beat.is_none_or(|b| b.elapsed() >= self.settings.report_interval)
                && self.heartbeat(beat.is_none()).await
            {
                beat = Some(Instant::now());
            }
            let now = self
                .state
                .as_ref()
                .map(|s| self.driver.fingerprint(s))
                .unwrap_or_default();
            let everything = full.elapsed() >= self.settings.resync_interval;
            if dirty || everything || now != print {
                let result = self.pass(everything).await;
                print = now;
                full = if everything { Instant::now() } else { full };
                dirty = result.as_ref().map_or(true, |(problems, _)| *problems);
                waiting = result.is_ok_and(|(_, missing)| missing);
            }
            let mut pause = if waiting && !dirty { QUICK } else { SLOW };
            if fetch && answered {
                pause = pause.min(self.hold(fetched).max(SHORT));
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.wake.notified() => fetch = true,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// How long to wait before the next look. Nearly all changes of a large cloud are about other hosts.
    fn hold(&self, fetched: Instant) -> Duration {
        let patience = self.state.as_ref().map_or(0, |s| s.patience_ms);
        let patience = if self.news { 0 } else { patience };
        Duration::from_millis(patience).saturating_sub(fetched.elapsed())
    }

    /// Whether there is something new for this host.
    async fn fetch(&mut self) -> Result<bool> {
        let known = self.state.as_ref().map(|s| s.revision);
        let ctx = RequestContext::internal();
        let state = self
            .plugin
            .host_state(&ctx, self.settings.host.clone(), known)
            .await?;
        if state.unchanged && self.state.is_some() {
            return Ok(false);
        }
        self.news = self.state.take().is_none_or(|old| {
            let old = HostState {
                revision: state.revision,
                patience_ms: state.patience_ms,
                ..old
            };
            old != state
        });
        self.state = Some(state);
        Ok(self.news)
    }

    async fn heartbeat(&self, start: bool) -> bool {
        let empty = HostState::default();
        let reports = report::reports(&self.settings, self.state.as_ref().unwrap_or(&empty), start);
        let sent = self
            .plugin
            .report_agents(
                &RequestContext::internal(),
                self.settings.host.clone(),
                reports,
            )
            .await;
        sent.inspect_err(|e| tracing::warn!("no heartbeat: {e}"))
            .is_ok()
    }

    /// Whether there were problems, and whether devices are awaited.
    async fn pass(&mut self, everything: bool) -> Result<(bool, bool)> {
        let Some(state) = &self.state else {
            return Ok((true, false));
        };
        let applied = self.driver.apply(state, everything).await;
        let applied = applied.inspect_err(|e| tracing::error!("the host is not as wanted: {e}"))?;
        for problem in &applied.problems {
            tracing::warn!("{problem}");
        }
        let listens = self.metadata.ensure(&applied.metadata).await;
        if everything {
            // The server may have been told by an agent that is no more, or forgotten: say it all again.
            self.reported = Reported::default();
        }
        let again = !listens || applied.incomplete || !applied.problems.is_empty();
        let outcome = (again, !applied.missing.is_empty());
        if let Err(e) = self.tell(applied).await {
            tracing::warn!("the server was not told: {e}");
            return Ok((true, outcome.1));
        }
        Ok(outcome)
    }

    async fn tell(&mut self, applied: Applied) -> Result<()> {
        let ctx = RequestContext::internal();
        let host = &self.settings.host;
        let up: Vec<String> = applied.up.difference(&self.reported.up).cloned().collect();
        if !up.is_empty() {
            self.plugin.ports_up(&ctx, host.clone(), up).await?;
        }
        self.reported.up = applied.up;
        let down: Vec<String> = applied
            .missing
            .difference(&self.reported.down)
            .cloned()
            .collect();
        if !down.is_empty() {
            self.plugin.ports_down(&ctx, host.clone(), down).await?;
        }
        self.reported.down = applied.missing;
        let floating: BTreeMap<String, String> = applied
            .floating
            .into_iter()
            .map(|f| (f.id, f.status))
            .collect();
        let news: Vec<FloatingIpStatus> = floating
            .iter()
            .filter(|(id, status)| self.reported.floating.get(*id) != Some(status))
            .map(|(id, status)| FloatingIpStatus {
                id: id.clone(),
                status: status.clone(),
            })
            .collect();
        if !news.is_empty() {
            self.plugin
                .floatingips_status(&ctx, host.clone(), news)
                .await?;
        }
        self.reported.floating = floating;
        Ok(())
    }
}
