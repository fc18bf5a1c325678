//! A server on the bus: how it runs handlers, and how it stops.

use crate::dead::Death;
use crate::dispatch::{Accept, Outcome};
use crate::measure::{self, UnderWay};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// A running server. Dropping it stops taking messages; handlers that run already are finished either way.
pub struct ServerHandle {
    on_stop: Option<Box<dyn FnOnce() + Send + Sync>>,
    tasks: TaskTracker,
}

impl ServerHandle {
    pub(crate) fn new(
        tasks: TaskTracker,
        on_stop: impl FnOnce() + Send + Sync + 'static,
    ) -> ServerHandle {
        ServerHandle {
            on_stop: Some(Box::new(on_stop)),
            tasks,
        }
    }

    /// Takes no more messages, and returns when the last handler is done.
    pub async fn stop(mut self) {
        self.leave();
        self.tasks.wait().await;
    }

    fn leave(&mut self) {
        if let Some(on_stop) = self.on_stop.take() {
            on_stop();
        }
        self.tasks.close();
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Runs handlers in tasks of their own, only so many at once.
#[derive(Clone)]
pub(crate) struct Runner {
    topic: Arc<str>,
    accept: Arc<dyn Accept>,
    permits: Arc<Semaphore>,
    pub tasks: TaskTracker,
}

impl Runner {
    pub(crate) fn new(topic: &str, accept: Arc<dyn Accept>, concurrency: usize) -> Runner {
        Runner {
            topic: topic.into(),
            accept,
            permits: Arc::new(Semaphore::new(concurrency.max(1))),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether the handler had this message before.
    pub(crate) fn knows(&self, body: &[u8]) -> bool {
        self.accept.knows(body)
    }

    /// That a message is dead: counted, and said.
    pub(crate) fn mourn(&self, death: &Death) {
        measure::dead_letter(&self.topic, death.reason);
        tracing::error!(topic = %self.topic, reason = %death.reason, "a message is dead: {}", death.words);
    }

    /// Starts the handler; `done` gets what came of it.
    pub(crate) fn start<F>(&self, body: Arc<[u8]>, done: impl FnOnce(Outcome) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let (runner, permits) = (self.clone(), self.permits.clone());
        let waiting = UnderWay::waiting(&self.topic);
        self.tasks.spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = permits.acquire_owned().await else {
                return;
            };
            drop(waiting);
            let outcome = runner.accept.accept(&body).await;
            if let Some(death) = &outcome.dead {
                runner.mourn(death);
            }
            done(outcome).await;
        });
    }
}
