//! The bus of a cloud in one process: queues are lists of consumers, delivery is a task.

use crate::dispatch::Accept;
use crate::server::{Runner, ServerHandle};
use crate::transport::{Replies, Route, Sources, Transport, nobody};
use async_trait::async_trait;
use base::Result;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone)]
struct Consumer {
    id: u64,
    runner: Runner,
}

#[derive(Default)]
struct Queue {
    consumers: Vec<Consumer>,
    turn: usize,
}

#[derive(Default)]
struct Exchanges {
    next_id: u64,
    queues: HashMap<(String, String), Queue>,
    fanouts: HashMap<String, Vec<Consumer>>,
}

impl Exchanges {
    /// The consumer whose turn it is.
    fn next(&mut self, exchange: &str, queue: &str) -> Option<Consumer> {
        let queue = self
            .queues
            .get_mut(&(exchange.to_string(), queue.to_string()))?;
        let consumer = queue
            .consumers
            .get(queue.turn % queue.consumers.len().max(1))
            .cloned();
        queue.turn = queue.turn.wrapping_add(1);
        consumer
    }

    fn leave(&mut self, id: u64) {
        self.queues.retain(|_, queue| {
            queue.consumers.retain(|c| c.id != id);
            !queue.consumers.is_empty()
        });
        self.fanouts.retain(|_, consumers| {
            consumers.retain(|c| c.id != id);
            !consumers.is_empty()
        });
    }
}

/// See the module.
pub(crate) struct InProcess {
    exchanges: Arc<Mutex<Exchanges>>,
    joined: watch::Sender<u64>,
    replies: Arc<Replies>,
}

impl InProcess {
    pub(crate) fn new() -> InProcess {
        InProcess {
            exchanges: Arc::default(),
            joined: watch::Sender::new(0),
            replies: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a consumer: at the start of a cloud, clients may come before servers.
    async fn consumer(&self, exchange: &str, queue: &str, patience: Duration) -> Result<Consumer> {
        let mut joined = self.joined.subscribe();
        let wait = async {
            loop {
                joined.mark_unchanged();
                if let Some(consumer) = self.lock().next(exchange, queue) {
                    return consumer;
                }
                // The sender lives as long as `self`.
                let _ = joined.changed().await;
            }
        };
        tokio::time::timeout(patience, wait)
            .await
            .map_err(|_| nobody(queue))
    }

    fn deliver(&self, consumer: &Consumer, body: Arc<[u8]>) {
        let replies = self.replies.clone();
        // Nobody keeps dead letters here: who sent them is the same program.
        consumer.runner.start(body, move |outcome| async move {
            if let Some(answer) = outcome.answer {
                replies.resolve(&answer.body);
            }
        });
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, route: &Route, body: Vec<u8>, patience: Duration) -> Result<()> {
        let body: Arc<[u8]> = body.into();
        match route {
            Route::Queue { exchange, queue } => {
                let consumer = self.consumer(exchange, queue, patience).await?;
                self.deliver(&consumer, body);
            }
            Route::Fanout { topic } => {
                let consumers = self.lock().fanouts.get(topic).cloned().unwrap_or_default();
                for consumer in &consumers {
                    self.deliver(consumer, body.clone());
                }
            }
            Route::Notification { exchange, queue } => {
                let consumer = self.lock().next(exchange, queue);
                if let Some(consumer) = consumer {
                    self.deliver(&consumer, body);
                }
            }
        }
        Ok(())
    }

    async fn listen(
        &self,
        sources: Sources,
        accept: Arc<dyn Accept>,
        concurrency: usize,
    ) -> Result<ServerHandle> {
        let runner = Runner::new(sources.topic(), accept, concurrency);
        let tasks = runner.tasks.clone();
        let id = {
            let mut exchanges = self.lock();
            exchanges.next_id += 1;
            let consumer = Consumer {
                id: exchanges.next_id,
                runner,
            };
            for queue in sources.queues {
                let key = (sources.exchange.clone(), queue);
                exchanges
                    .queues
                    .entry(key)
                    .or_default()
                    .consumers
                    .push(consumer.clone());
            }
            if let Some(topic) = sources.fanout {
                exchanges
                    .fanouts
                    .entry(topic)
                    .or_default()
                    .push(consumer.clone());
            }
            consumer.id
        };
        self.joined.send_modify(|n| *n += 1);
        let exchanges = self.exchanges.clone();
        Ok(ServerHandle::new(tasks, move || {
            exchanges
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .leave(id);
        }))
    }

    fn renewed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn reply_queue(&self) -> &str {
        "reply_in_process"
    }

    fn replies(&self) -> &Arc<Replies> {
        &self.replies
    }
}
