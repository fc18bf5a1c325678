//! A server on the bus: how it runs handlers, and how it stops.

use crate::dispatch::{Accept, Answer};
use crate::measure::UnderWay;
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

    /// Starts the handler; `done` gets the answer when it ran.
    pub(crate) fn start<F>(
        &self,
        body: Arc<[u8]>,
        done: impl FnOnce(Option<Answer>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let (accept, permits) = (self.accept.clone(), self.permits.clone());
        let waiting = UnderWay::waiting(&self.topic);
        self.tasks.spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = permits.acquire_owned().await else {
                return;
            };
            drop(waiting);
            let answer = accept.accept(&body).await;
            done(answer).await;
        });
    }
}
