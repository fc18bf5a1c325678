//! Named workers that are restarted when they fail, and stopped together.

use crate::reconcile::{self, Poke, Reconciler};
use crate::{LeaderLock, panic_words};
use base::{Error, Result, Timestamp};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that ran so long before it failed starts again with the first pause.
const HEALTHY: Duration = Duration::from_secs(60);

base::str_enum! {
    /// What a worker is doing.
    pub enum WorkerState {
        Running = "running",
        Restarting = "restarting",
        Finished = "finished",
        Stopped = "stopped",
    }
}

/// A worker, for `ferrostack status`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: WorkerState,
    /// How often it was started again.
    pub restarts: u64,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// The workers of a process. Clones are the same supervisor.
#[derive(Clone, Default)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    token: CancellationToken,
    tasks: TaskTracker,
    workers: Mutex<BTreeMap<String, WorkerStatus>>,
    aborts: Mutex<Vec<AbortHandle>>,
}

impl Inner {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, WorkerStatus>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &str, state: WorkerState, error: Option<String>) {
        if let Some(worker) = self.workers().get_mut(name) {
            worker.state = state;
            worker.since = Timestamp::now();
            worker.restarts += u64::from(state == WorkerState::Restarting);
            worker.last_error = error.or_else(|| worker.last_error.take());
        }
    }
}

impl Supervisor {
    /// A supervisor without workers.
    pub fn new() -> Supervisor {
        Supervisor::default()
    }

    /// What workers watch to know that they shall end.
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Starts a worker. `work` makes its future, again after each failure (an error or a panic), with growing
    /// pauses; the token it is given is cancelled at the stop. A worker that returns `Ok` is done.
    pub fn spawn<F, W>(&self, name: &str, work: F)
    where
        F: Fn(CancellationToken) -> W + Send + Sync + 'static,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let status = WorkerStatus {
            name: name.to_string(),
            state: WorkerState::Running,
            restarts: 0,
            since: Timestamp::now(),
            last_error: None,
        };
        self.inner.workers().insert(name.to_string(), status);
        let (inner, name) = (self.inner.clone(), name.to_string());
        let task = self
            .inner
            .tasks
            .spawn(async move { keep(&inner, &name, work).await });
        let mut aborts = self
            .inner
            .aborts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        aborts.retain(|a| !a.is_finished());
        aborts.push(task.abort_handle());
    }

    /// Runs a reconciler for as long as the supervisor lives; with a lock, only while this process leads.
    pub fn reconcile(&self, reconciler: Arc<dyn Reconciler>, lock: Option<LeaderLock>) -> Poke {
        let poke = Poke::default();
        let handle = poke.clone();
        self.spawn(&format!("reconcile {}", reconciler.name()), move |token| {
            reconcile::run(reconciler.clone(), lock.clone(), poke.clone(), token)
        });
        handle
    }

    /// Every worker, by name.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.inner.workers().values().cloned().collect()
    }

    /// Tells all workers to end and waits; whoever still runs after `timeout` is ended by force, then false.
    pub async fn stop(&self, timeout: Duration) -> bool {
        self.inner.token.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(timeout, self.inner.tasks.wait())
            .await
            .is_ok()
        {
            return true;
        }
        let late: Vec<String> = {
            let workers = self.inner.workers();
            let running = workers.values().filter(|w| w.state == WorkerState::Running);
            running.map(|w| w.name.clone()).collect()
        };
        tracing::warn!(
            "workers that did not stop within {timeout:?} are ended: {}",
            late.join(", ")
        );
        for abort in self
            .inner
            .aborts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            abort.abort();
        }
        self.inner.tasks.wait().await;
        for name in late {
            self.inner.enter(
                &name,
                WorkerState::Stopped,
                Some("ended by force".to_string()),
            );
        }
        false
    }
}

async fn keep<F, W>(inner: &Inner, name: &str, work: F)
where
    F: Fn(CancellationToken) -> W,
    W: Future<Output = Result<()>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        inner.enter(name, WorkerState::Running, None);
        let started = Instant::now();
        // The call itself may panic too, so it is made inside.
        let outcome = AssertUnwindSafe(async { work(inner.token.clone()).await })
            .catch_unwind()
            .await;
        let error = match outcome {
            _ if inner.token.is_cancelled() => {
                return inner.enter(name, WorkerState::Stopped, None);
            }
            Ok(Ok(())) => return inner.enter(name, WorkerState::Finished, None),
            Ok(Err(error)) => error,
            Err(panic) => Error::internal(format!("panicked: {}", panic_words(&*panic))),
        };
        if started.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        tracing::error!(worker = name, %error, "a worker failed and is started again in {pause:?}");
        inner.enter(name, WorkerState::Restarting, Some(error.to_string()));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.token.cancelled() => return inner.enter(name, WorkerState::Stopped, None),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
