//! The engine: finds flows that can run, and runs only so many at once.

use crate::fault::Faults;
use crate::flow::{Flow, FlowId};
use crate::kind::{Kind, Typed};
use crate::row::{self, Direction, FlowRow};
use crate::run;
use base::{Error, Result, Timestamp};
use oslo_db::{Db, Tx};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Looks for flows that nobody woke the engine for: of crashed engines, or after a pause.
const POLL: Duration = Duration::from_secs(1);

/// Runs durable flows. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub db: Db,
    host: String,
    /// The host and this life of it.
    pub owner: String,
    pub lease: Duration,
    /// The first pause before something is tried again.
    pub pause: Duration,
    step_patience: Duration,
    kinds: RwLock<HashMap<&'static str, Arc<dyn Kind>>>,
    permits: Arc<Semaphore>,
    /// How many flows of one share run here at once.
    share: usize,
    pub wake: Notify,
    finished: Notify,
    last_submit: AtomicI64,
    started: AtomicBool,
    pub stopping: CancellationToken,
    /// Ends everything at once, as a crash would.
    pub killed: CancellationToken,
    tasks: TaskTracker,
    /// What runs here: a lease that ended while the database was away is not taken by its own engine a second time.
    running: Mutex<HashSet<FlowId>>,
    wake_elsewhere: Option<WakeElsewhere>,
    pub faults: Option<Faults>,
}

/// Tells an engine in another process that there is something to do.
pub type WakeElsewhere = Arc<dyn Fn() + Send + Sync>;

/// An engine in the making.
pub struct Builder {
    db: Db,
    host: String,
    concurrency: usize,
    share: usize,
    lease: Duration,
    pause: Duration,
    step_patience: Duration,
    kinds: HashMap<&'static str, Arc<dyn Kind>>,
    wake_elsewhere: Option<WakeElsewhere>,
    pub(crate) faults: Option<Faults>,
}

impl Builder {
    /// Lets the engine run flows of a kind.
    pub fn register<F: Flow>(mut self, deps: Arc<F::Deps>) -> Builder {
        self.kinds.insert(F::NAME, Arc::new(Typed::<F>::new(deps)));
        self
    }

    /// How many flows run at once; 32 otherwise.
    pub fn concurrency(mut self, concurrency: usize) -> Builder {
        self.concurrency = concurrency.max(1);
        self
    }

    /// How many flows of one share run at once ([`Flow::share`]), so that whoever has many leaves room for others; as many as run
    /// at all otherwise.
    pub fn share(mut self, most: usize) -> Builder {
        self.share = most.max(1);
        self
    }

    /// How long a flow belongs to an engine that is not heard of; 30 s otherwise.
    pub fn lease(mut self, lease: Duration) -> Builder {
        self.lease = lease;
        self
    }

    /// The first pause before something is tried again, doubled each time up to a minute; 200 ms otherwise.
    pub fn pause(mut self, pause: Duration) -> Builder {
        self.pause = pause;
        self
    }

    /// How long [`Engine::stop`] waits for running steps; 10 s otherwise.
    pub fn step_patience(mut self, patience: Duration) -> Builder {
        self.step_patience = patience;
        self
    }

    /// What [`Engine::wake`] does in a process that only submits: a message to one that runs flows, say. It returns at
    /// once, and its message may be lost: every engine that runs looks by itself each second.
    pub fn wake_elsewhere(mut self, wake: WakeElsewhere) -> Builder {
        self.wake_elsewhere = Some(wake);
        self
    }

    /// The engine; it runs nothing before [`Engine::start`].
    pub fn build(self) -> Engine {
        let inner = Inner {
            db: self.db,
            owner: format!("{}:{}", self.host, base::new_hex_id()),
            host: self.host,
            lease: self.lease,
            pause: self.pause,
            step_patience: self.step_patience,
            kinds: RwLock::new(self.kinds),
            permits: Arc::new(Semaphore::new(self.concurrency)),
            share: self.share,
            wake: Notify::new(),
            finished: Notify::new(),
            last_submit: AtomicI64::new(0),
            started: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            running: Mutex::default(),
            wake_elsewhere: self.wake_elsewhere,
            faults: self.faults,
        };
        Engine {
            inner: Arc::new(inner),
        }
    }
}

impl Engine {
    /// An engine on a database. `host` names this process and no other one that runs at the same time: flows that
    /// an earlier process of this name left behind are resumed at once.
    pub fn builder(db: Db, host: &str) -> Builder {
        Builder {
            db,
            host: host.to_string(),
            concurrency: 32,
            share: usize::MAX,
            lease: Duration::from_secs(30),
            pause: Duration::from_millis(200),
            step_patience: Duration::from_secs(10),
            kinds: HashMap::new(),
            wake_elsewhere: None,
            faults: None,
        }
    }

    /// Lets the engine run flows of a kind, for deps that hold the engine itself. Before [`Engine::start`].
    pub fn register<F: Flow>(&self, deps: Arc<F::Deps>) {
        let kind = Arc::new(Typed::<F>::new(deps));
        self.inner
            .kinds
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(F::NAME, kind);
    }

    /// Writes a flow into the caller's transaction. Call [`Engine::wake`] after the commit.
    pub fn submit<F: Flow>(&self, tx: &mut Tx, flow: &F) -> Result<FlowId> {
        let created_at = self.inner.next_time();
        let row = FlowRow {
            id: base::new_id(),
            name: F::NAME.to_string(),
            resource_id: flow.resource_id().to_string(),
            request_id: flow.request_id().to_string(),
            share: flow.share().to_string(),
            state_json: serde_json::to_string(flow)?,
            step: 0,
            direction: Direction::Do,
            attempts: 0,
            owner: String::new(),
            lease_until: Timestamp(0),
            error_json: None,
            created_at,
            updated_at: created_at,
        };
        tx.insert(&row)?;
        Ok(row.id)
    }

    /// Looks for new flows now; an engine that was not started has another one do that.
    pub fn wake(&self) {
        match &self.inner.wake_elsewhere {
            Some(wake) if !self.inner.started.load(Ordering::SeqCst) => wake(),
            _ => self.inner.wake.notify_one(),
        }
    }

    /// Resumes what an earlier life left behind and runs flows until [`Engine::stop`]. Once is enough.
    pub fn start(&self) {
        if !self.inner.started.swap(true, Ordering::SeqCst) {
            let inner = self.inner.clone();
            self.inner.tasks.spawn(async move { inner.serve().await });
        }
    }

    /// Takes no more flows, lets running steps end, and gives the flows back. A step that waits for somebody who is gone ends after
    /// [`Builder::step_patience`] as in a crash: its flow is resumed by who finds it.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        let patience = self.inner.step_patience;
        let ended = tokio::time::timeout(patience, self.inner.tasks.wait());
        if ended.await.is_err() {
            tracing::warn!(
                flows = self.inner.tasks.len(),
                "steps that did not end within {patience:?} are left to who comes next"
            );
            self.inner.killed.cancel();
            self.inner.tasks.wait().await;
        }
    }

    /// Ends at once wherever it is, as a crash would; for tests.
    pub async fn kill(&self) {
        self.inner.killed.cancel();
        self.stop().await;
    }

    /// How many flows of the registered kinds are not finished.
    pub async fn pending(&self) -> Result<u64> {
        let names = self.inner.names();
        self.inner.db.read(move |tx| row::pending(tx, &names)).await
    }

    /// Returns when no flow of the registered kinds is left, or after `timeout` with 504; for tests.
    pub async fn wait_idle(&self, timeout: Duration) -> Result<()> {
        let idle = async {
            loop {
                let finished = self.inner.finished.notified();
                if self.pending().await? == 0 {
                    return Ok(());
                }
                // Another engine may finish the last one, and tells nobody here.
                let _ = tokio::time::timeout(Duration::from_millis(50), finished).await;
            }
        };
        let late = |_| {
            Error::new(
                base::Kind::Timeout,
                format!("Flows still run after {timeout:?}."),
            )
        };
        tokio::time::timeout(timeout, idle).await.map_err(late)?
    }
}

impl Inner {
    /// Now, but later than every submit before: the order of flows of one resource.
    fn next_time(&self) -> Timestamp {
        let now = Timestamp::now().0;
        let last = self
            .last_submit
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| {
                Some(now.max(last + 1))
            });
        Timestamp(now.max(last.unwrap_or_default() + 1))
    }

    fn running(&self) -> MutexGuard<'_, HashSet<FlowId>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<&'static str> {
        self.kinds
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    async fn serve(self: &Arc<Self>) {
        let mut stolen = false;
        while !self.stopping.is_cancelled() {
            if let Err(error) = self.round(&mut stolen).await {
                tracing::error!(%error, "the table of flows cannot be read; tried again");
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    /// Starts what can be started.
    async fn round(self: &Arc<Self>, stolen: &mut bool) -> Result<()> {
        if !*stolen {
            let (host, owner) = (self.host.clone(), self.owner.clone());
            let count = self
                .db
                .write(move |tx| row::steal(tx, &host, &owner))
                .await?;
            *stolen = true;
            if count > 0 {
                tracing::info!("resuming {count} flows of an earlier life of this host");
            }
        }
        let room = row::Room {
            all: self.permits.available_permits(),
            share: self.share,
        };
        if room.all == 0 {
            return Ok(());
        }
        let (names, owner, lease) = (self.names(), self.owner.clone(), self.lease);
        let here = self.running().clone();
        let claimed = self
            .db
            .write(move |tx| row::claim(tx, &names, &owner, lease, room, &here))
            .await?;
        for row in claimed {
            let kind = self
                .kinds
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(row.name.as_str())
                .cloned();
            let (Some(kind), Ok(permit)) = (kind, self.permits.clone().acquire_owned().await)
            else {
                continue;
            };
            let inner = self.clone();
            let id = row.id.clone();
            self.running().insert(id.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = inner.killed.cancelled() => {}
                    () = run::run(&inner, &*kind, row) => {}
                }
                drop(permit);
                inner.running().remove(&id);
                inner.finished.notify_waiters();
                // The next of this resource, or one for which there was no room.
                inner.wake.notify_one();
            });
        }
        Ok(())
    }
}
