//! The loop: fetch what is wanted, make it so, say what changed; woken by messages, by devices that come, by time.

use crate::config::Settings;
use crate::driver::{Applied, Driver};
use crate::metadata::Metadata;
use crate::report;
use crate::uplink::Uplink;
use base::{Error, Result};
use neutron_types::rpc::{
    FloatingIpStatus, HostNews, HostReport, HostState, PortsReport, Revisions,
};
use oslo_context::RequestContext;
use oslo_service::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(5);
const QUICK: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(1);
/// How often to ask what is new without being woken, if the server does not say less.
const POLL: Duration = Duration::from_secs(5);
/// How often to ask for everything, whatever is known.
const WHOLE: Duration = Duration::from_secs(300);

/// What the loop knows between rounds.
pub struct Worker {
    pub settings: Settings,
    pub driver: Arc<dyn Driver>,
    pub uplink: Uplink,
    pub metadata: Metadata,
    pub told: Arc<Told>,
    pub cancel: CancellationToken,
    pub state: Option<HostState>,
    pub reported: Reported,
}

/// What the server was told last; only differences are told again.
#[derive(Default)]
pub struct Reported {
    up: BTreeSet<String>,
    down: BTreeSet<String>,
    floating: BTreeMap<String, String>,
}

/// What moved, as the server said.
#[derive(Default)]
pub struct Told {
    moved: Mutex<Revisions>,
    wake: Notify,
}

impl Told {
    /// These moved. The higher revision holds; 0, one that is not said, is higher than all.
    pub fn add(&self, moved: Revisions) {
        let mut all = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, revision) in moved {
            let known = all.entry(topic).or_insert(revision);
            *known = if revision == 0 || *known == 0 {
                0
            } else {
                revision.max(*known)
            };
        }
        self.wake.notify_one();
    }

    fn take(&self) -> Revisions {
        std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When to ask for what is new.
struct Look {
    /// There may be something new.
    wanted: bool,
    /// The last time.
    at: Instant,
    /// How long it took: a server that is slow is not asked all the time.
    took: Duration,
    /// Whether there was an answer.
    answered: bool,
    /// When everything was fetched.
    whole: Instant,
}

impl Look {
    fn held(&self) -> Duration {
        let pause = self.took.min(SLOW);
        pause.saturating_sub(self.at.elapsed())
    }
}

impl Worker {
    /// Runs until cancelled. What is on the host stays: guests go on without the agent.
    pub async fn run(mut self) {
        let now = Instant::now();
        let mut look = Look {
            wanted: true,
            at: now,
            took: Duration::ZERO,
            answered: true,
            whole: now,
        };
        let mut full = now;
        let mut beat: Option<Instant> = None;
        let mut print = 0;
        let (mut dirty, mut waiting) = (true, false);
        while !self.cancel.is_cancelled() {
            if (look.wanted && look.held().is_zero()) || look.at.elapsed() >= self.poll() {
                dirty |= self.look(&mut look).await;
            }
            if beat.is_none_or(|b| b.elapsed() >= self.settings.report_interval)
                && self.heartbeat(beat.is_none()).await
            {
                // Whoever is new may have been given work by that, and was not told yet.
                look.wanted |= beat.is_none();
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
            let troubled = dirty || !look.answered || beat.is_none();
            let mut pause = match (waiting && !dirty, self.driver.watches() || troubled) {
                (true, _) => QUICK,
                (false, true) => SLOW,
                (false, false) => self.until_due(&look, full, beat),
            };
            if look.wanted && look.answered {
                pause = pause.min(look.held().max(SHORT));
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.told.wake.notified() => look.wanted |= self.is_new(self.told.take()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// How often to ask without being woken.
    fn poll(&self) -> Duration {
        let said = self.state.as_ref().map_or(0, |s| s.look_again_secs);
        Duration::from_secs(said).max(POLL)
    }

    /// When the next thing is due, if nothing happens.
    fn until_due(&self, look: &Look, full: Instant, beat: Option<Instant>) -> Duration {
        let rest = |since: Instant, every: Duration| every.saturating_sub(since.elapsed());
        let beat = beat.map_or(SLOW, |b| rest(b, self.settings.report_interval));
        let resync = rest(full, self.settings.resync_interval);
        let due = rest(look.at, self.poll()).min(beat).min(resync);
        due.max(SHORT)
    }

    /// Whether some of what the server says has moved is not known.
    fn is_new(&self, moved: Revisions) -> bool {
        let Some(state) = &self.state else {
            return true;
        };
        let known = |(topic, revision): (&String, &i64)| {
            *revision > 0 && state.revisions.get(topic).is_some_and(|k| k >= revision)
        };
        !moved.iter().all(known)
    }

    /// Asks what is new. Says whether there is something to do.
    async fn look(&mut self, look: &mut Look) -> bool {
        let begun = Instant::now();
        // It is the server's word for what moved that is doubted now and then.
        let doubt = look.whole.elapsed() >= WHOLE;
        let outcome = self.fetch(doubt).await;
        look.answered = outcome.is_ok();
        let changed = outcome.unwrap_or_else(|e| {
            tracing::warn!("the server does not say what it wants: {e}");
            false
        });
        if look.answered {
            look.wanted = false;
            if doubt {
                look.whole = Instant::now();
            }
        }
        look.at = Instant::now();
        look.took = begun.elapsed();
        changed
    }

    /// Whether there is something new for this host.
    async fn fetch(&mut self, doubt: bool) -> Result<bool> {
        let known = self.state.as_ref().filter(|_| !doubt);
        let known = known.map(|s| s.revisions.clone());
        let ctx = RequestContext::internal();
        let turn = self.uplink.asking.acquire().await;
        let turn = turn.map_err(Error::internal)?;
        let host = self.settings.host.clone();
        let news = self.uplink.plugin.host_state(&ctx, host, known).await?;
        drop(turn);
        match news {
            HostNews::Nothing => Ok(false),
            HostNews::Around(around) => {
                let Some(state) = &mut self.state else {
                    return Ok(false);
                };
                let mut changed = false;
                for (group, members) in around.remote_groups {
                    changed |= state.remote_groups.get(&group) != Some(&members);
                    state.remote_groups.insert(group, members);
                }
                for (id, peers) in around.tunnel_peers {
                    for network in state.networks.iter_mut().filter(|n| n.id == id) {
                        changed |= network.tunnel_peers != peers;
                        network.tunnel_peers.clone_from(&peers);
                    }
                }
                state.revisions = around.revisions;
                Ok(changed && self.driver.minds_others())
            }
            HostNews::All(state) => {
                self.forget_unheard(&state);
                let old = self.state.replace(state);
                Ok(old.is_none_or(|old| !self.is_like(&old)))
            }
        }
    }

    /// Whether what there is to do is the same as it was.
    fn is_like(&self, old: &HostState) -> bool {
        self.state.as_ref().is_some_and(|state| {
            let old = HostState {
                revisions: state.revisions.clone(),
                look_again_secs: state.look_again_secs,
                ..old.clone()
            };
            old == *state
        })
    }

    /// What was said of ports and the server does not know (any more) is to be said again.
    fn forget_unheard(&mut self, state: &HostState) {
        for port in &state.ports {
            let said = match port.active {
                true => &mut self.reported.down,
                false => &mut self.reported.up,
            };
            said.remove(&port.id);
        }
    }

    async fn heartbeat(&self, start: bool) -> bool {
        let empty = HostState::default();
        let report = HostReport {
            host: self.settings.host.clone(),
            agents: report::reports(&self.settings, self.state.as_ref().unwrap_or(&empty), start),
        };
        let sent = self.uplink.beats.send(report).await;
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
            // The server may have been told by an agent that is no more, or forgotten: say it again. Of ports it says itself
            // what it knows.
            self.reported.floating.clear();
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
        let news = |now: &BTreeSet<String>, before: &BTreeSet<String>| -> Vec<String> {
            now.difference(before).cloned().collect()
        };
        let report = PortsReport {
            host: host.clone(),
            up: news(&applied.up, &self.reported.up),
            down: news(&applied.missing, &self.reported.down),
        };
        if !report.up.is_empty() || !report.down.is_empty() {
            let (up, down) = (report.up.clone(), report.down.clone());
            self.uplink.ports.send(report).await?;
            // So that the next state, which says it too, is no news.
            for port in self.state.iter_mut().flat_map(|s| &mut s.ports) {
                port.active |= up.contains(&port.id);
                port.active &= !down.contains(&port.id);
            }
        }
        self.reported.up = applied.up;
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
            let plugin = &self.uplink.plugin;
            plugin.floatingips_status(&ctx, host.clone(), news).await?;
        }
        self.reported.floating = floating;
        Ok(())
    }
}
