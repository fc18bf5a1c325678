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
}

/// For how long that is believed. A host that it does not know is looked for at once.
const BELIEVED: Duration = Duration::from_secs(10);
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
        lock(&self.listeners).read = None;
    }
}

/// Starts the two workers.
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

    /// Tells those that listen. Messages to different hosts do not wait for each other.
    async fn tell_all(&self, hosts: BTreeMap<String, Revisions>) {
        if let Err(error) = self.learn(hosts.keys()).await {
            tracing::warn!(%error, "who listens is not known");
        }
        for (host, moved) in hosts {
            let kinds = lock(&self.us.herald.listeners).kinds.get(&host).cloned();
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
    }

    /// Reads who listens if that is old, or does not say enough.
    async fn learn(&self, hosts: impl Iterator<Item = &String>) -> Result<()> {
        {
            let known = lock(&self.us.herald.listeners);
            let fresh = known.read.map(|at| at.elapsed());
            let mut hosts = hosts;
            let complete = hosts.all(|h| known.kinds.contains_key(h));
            let limit = if complete { BELIEVED } else { BELIEVED / 50 };
            if fresh.is_some_and(|age| age < limit) {
                return Ok(());
            }
        }
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
        let read = Some(read);
        *lock(&self.us.herald.listeners) = Listeners { kinds, read };
        Ok(())
    }
}
