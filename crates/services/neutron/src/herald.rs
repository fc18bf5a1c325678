//! Tells agents that something moved, after the commit and beside it. What a host has to do itself is told at once; what
//! it has to know of others is told to one host after the other, so that a change which concerns a thousand hosts does not
//! bring a thousand of them to the door together, and many such changes are one to each.

use crate::db::{AgentPlaceRow, revisions};
use crate::topics::{self, Topic};
use crate::{Neutron, agents};
use base::Result;
use neutron_types::rpc::{AgentClient, AgentKind, Revisions, agent_server};
use oslo_context::RequestContext;
use oslo_db::ge;
use oslo_service::{CancellationToken, Supervisor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// What is to be told.
#[derive(Default)]
pub(crate) struct Herald {
    now: Box<Lane>,
    later: Box<Lane>,
    /// Hosts that nobody was known to listen on, when it was too soon to look again.
    unknown: Box<Lane>,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Lane {
    topics: Mutex<BTreeSet<Topic>>,
    wake: Notify,
}

impl Lane {
    fn add(&self, topics: BTreeSet<Topic>) {
        if !topics.is_empty() {
            lock(&self.topics).extend(topics);
            self.wake.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<Topic> {
        std::mem::take(&mut *lock(&self.topics))
    }

    /// Some topics, or none because it is the end.
    async fn next(&self, cancel: &CancellationToken) -> Option<BTreeSet<Topic>> {
        loop {
            let topics = self.take();
            if !topics.is_empty() {
                return Some(topics);
            }
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = self.wake.notified() => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which agents listen on which host.
#[derive(Default)]
struct Listeners {
    kinds: HashMap<String, BTreeSet<AgentKind>>,
    read: Option<Instant>,
    /// How often somebody was new.
    news: u64,
}

/// For how long that is believed.
const BELIEVED: Duration = Duration::from_secs(10);
/// A host that it does not know is looked for, but not more often than this: of some hosts nobody listens for days.
const LOOKED: Duration = Duration::from_millis(200);
/// How many messages may be on their way; some wait for a host that has just gone.
const UNDER_WAY: usize = 256;

impl Herald {
    /// These topics moved.
    pub(crate) fn moved(&self, topics: BTreeSet<Topic>) {
        let (later, now) = topics.into_iter().partition(Topic::can_wait);
        self.later.add(later);
        self.now.add(now);
    }

    /// An agent is new: look who listens.
    pub(crate) fn look_again(&self) {
        let mut known = lock(&self.listeners);
        known.read = None;
        known.news += 1;
    }
}

/// Starts the workers.
pub(crate) fn start(neutron: &Arc<Neutron>, supervisor: &Supervisor) {
    let us = Arc::clone(neutron);
    supervisor.spawn("neutron-herald", move |cancel| {
        let us = Arc::clone(&us);
        async move {
            let teller = Teller::new(us);
            while let Some(topics) = teller.us.herald.now.next(&cancel).await {
                // Only to say it sooner than the agent asks by itself.
                match teller.hosts_of(topics, false).await {
                    Ok(hosts) => teller.tell_all(hosts).await,
                    Err(error) => tracing::warn!(%error, "hosts were not told of a change"),
                }
            }
            Ok(())
        }
    });
    let us = Arc::clone(neutron);
    supervisor.spawn("neutron-herald unknown", move |cancel| {
        let us = Arc::clone(&us);
        async move {
            let teller = Teller::new(us);
            while let Some(topics) = teller.us.herald.unknown.next(&cancel).await {
                let since = Instant::now();
                let pause = tokio::time::sleep(LOOKED);
                if cancel.run_until_cancelled(pause).await.is_none() {
                    return Ok(());
                }
                match teller.hosts_of(topics, false).await {
                    Ok(hosts) => teller.tell(hosts, since).await,
                    Err(error) => tracing::warn!(%error, "new hosts were not told of a change"),
                }
            }
            Ok(())
        }
    });
    let us = Arc::clone(neutron);
    supervisor.spawn("neutron-herald around", move |cancel| {
        let us = Arc::clone(&us);
        async move {
            let teller = Teller::new(us);
            let pace = teller.us.conf.pace();
            while let Some(topics) = teller.us.herald.later.next(&cancel).await {
                match teller.hosts_of(topics, true).await {
                    Ok(hosts) => {
                        for (host, moved) in hosts {
                            teller.tell_all([(host, moved)].into()).await;
                            let pause = tokio::time::sleep(pace);
                            if cancel.run_until_cancelled(pause).await.is_none() {
                                return Ok(());
                            }
                        }
                    }
                    Err(error) => tracing::warn!(%error, "hosts were not told of others"),
                }
            }
            Ok(())
        }
    });
}

struct Teller {
    us: Arc<Neutron>,
    agents: AgentClient,
    room: Arc<Semaphore>,
}

impl Teller {
    fn new(us: Arc<Neutron>) -> Teller {
        Teller {
            agents: us.agents.clone(),
            us,
            room: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    async fn hosts_of(
        &self,
        topics: BTreeSet<Topic>,
        with_revisions: bool,
    ) -> Result<BTreeMap<String, Revisions>> {
        // Nobody need be looked for.
        if topics.iter().all(|t| matches!(t, Topic::Host(_))) {
            let host = |t: &Topic| match t {
                Topic::Host(host) => Some((host.clone(), [(t.name(), 0)].into())),
                _ => None,
            };
            return Ok(topics.iter().filter_map(host).collect());
        }
        self.us
            .db
            .read(move |tx| {
                let known = match with_revisions {
                    true => revisions::of(tx, topics::names(&topics))?,
                    false => Revisions::new(),
                };
                topics::hosts_of(tx, &topics, &known)
            })
            .await
    }

    /// Tells those that listen.
    async fn tell_all(&self, hosts: BTreeMap<String, Revisions>) {
        self.tell(hosts, Instant::now()).await;
    }

    /// Tells those that listened at some moment after `since`. Messages to different hosts do not wait for each other.
    async fn tell(&self, hosts: BTreeMap<String, Revisions>, since: Instant) {
        let certain = self.learn(hosts.keys(), since).await;
        let certain = certain.unwrap_or_else(|error| {
            tracing::warn!(%error, "who listens is not known");
            true
        });
        let mut unknown = BTreeSet::new();
        for (host, moved) in hosts {
            let kinds = lock(&self.us.herald.listeners).kinds.get(&host).cloned();
            if kinds.is_none() && !certain {
                unknown.insert(Topic::Host(host.clone()));
            }
            for kind in kinds.into_iter().flatten() {
                let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                    return;
                };
                let agent = self.agents.server(&agent_server(&host, kind));
                let moved = moved.clone();
                tokio::spawn(async move {
                    let ctx = RequestContext::internal();
                    if let Err(error) = agent.state_changed(&ctx, moved).await {
                        tracing::debug!(%error, "an agent was not told of a change");
                    }
                    drop(room);
                });
            }
        }
        self.us.herald.unknown.add(unknown);
    }

    /// Reads who listens if that is old, or does not say enough. Says whether nobody listens on a host that is not known.
    async fn learn(
        &self,
        mut hosts: impl Iterator<Item = &String>,
        since: Instant,
    ) -> Result<bool> {
        let news = {
            let known = lock(&self.us.herald.listeners);
            if let Some(read) = known.read {
                let complete = hosts.all(|h| known.kinds.contains_key(h));
                let certain = complete || read >= since;
                let limit = if certain { BELIEVED } else { LOOKED };
                if read.elapsed() < limit {
                    return Ok(certain);
                }
            }
            known.news
        };
        let read = Instant::now();
        let horizon = agents::horizon_of(&self.us);
        let rows = self
            .us
            .db
            .read(move |tx| tx.select::<AgentPlaceRow>(ge("heartbeat_at", horizon)))
            .await?;
        let mut kinds: HashMap<String, BTreeSet<AgentKind>> = HashMap::new();
        for row in rows {
            if let Some(kind) = agents::kind(&row.agent_type) {
                kinds.entry(row.host).or_default().insert(kind);
            }
        }
        let mut known = lock(&self.us.herald.listeners);
        // Another may have looked later than this and be done sooner.
        if known.read <= Some(read) {
            known.kinds = kinds;
            // Who came meanwhile is seen by the next look.
            known.read = Some(read).filter(|_| known.news == news);
        }
        Ok(true)
    }
}
