//! RabbitMQ, with the exchanges and queues that oslo.messaging uses, so that its processes and ours can talk.
//!
//! One connection publishes (confirmed) and takes the answers; servers have others, shared by those of one topic. All come
//! back by themselves. A message is acknowledged after its handler ran, so a crash redelivers it.

mod config;
mod dead;
mod letters;
mod lines;
mod link;
mod serve;

pub use config::RabbitConfig;
pub use letters::{DeadLetter, DeadLetters};

use crate::bus::{Bus, Options};
use crate::dispatch::{Accept, Answer};
use crate::server::{Runner, ServerHandle};
use crate::transport::{Replies, Route, Sources, Transport, nobody};
use async_trait::async_trait;
use base::{Error, Result};
use futures::future::BoxFuture;
use lapin::ExchangeKind;
use lapin::types::FieldTable;
use lines::Lines;
use link::Link;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

impl Bus {
    /// A bus over RabbitMQ. Returns at once; the connection is made, and made again, in the background.
    pub fn rabbit(config: RabbitConfig, options: Options) -> Result<Bus> {
        if config.urls.is_empty() {
            return Err(Error::internal("no url of a message broker is configured"));
        }
        let shared = Arc::new(Shared {
            config,
            reply_queue: format!("reply_{}", base::new_hex_id()),
            replies: Arc::default(),
            link: watch::Sender::new(None),
            lines: Lines::default(),
            answered: AtomicUsize::new(0),
            trouble: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let (keeper, token) = (shared.clone(), stop.clone());
        tokio::spawn(async move { token.run_until_cancelled(link::keep(&keeper)).await });
        Ok(Bus::over(
            Box::new(Rabbit {
                shared,
                _stop: stop.drop_guard(),
            }),
            options,
        ))
    }
}

/// See the module.
struct Rabbit {
    shared: Arc<Shared>,
    _stop: tokio_util::sync::DropGuard,
}

pub(super) struct Shared {
    config: RabbitConfig,
    reply_queue: String,
    replies: Arc<Replies>,
    link: watch::Sender<Option<Arc<Link>>>,
    lines: Lines,
    /// Which broker answered last: it is asked first, so that one that says nothing costs its time once.
    answered: AtomicUsize,
    /// Why no broker could be reached the last time; for the log.
    trouble: Mutex<String>,
}

/// A message with its way.
struct Parcel<'a> {
    exchange: &'a str,
    kind: Option<ExchangeKind>,
    /// A queue to declare and bind first, so that the message waits there for listeners to come.
    keep: bool,
    key: &'a str,
    mandatory: bool,
    headers: FieldTable,
    body: &'a [u8],
}

impl<'a> Parcel<'a> {
    /// To the queue of that name, which somebody else declares.
    fn to_queue(queue: &'a str, body: &'a [u8]) -> Parcel<'a> {
        Parcel {
            exchange: "",
            kind: None,
            keep: false,
            key: queue,
            mandatory: true,
            headers: FieldTable::default(),
            body,
        }
    }
}

impl Shared {
    fn trouble(&self, words: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn last_trouble(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    fn unreachable(&self) -> Error {
        Error::unavailable("The message broker does not answer.").log(self.last_trouble())
    }

    /// Publishes, over a new connection if need be; false if no queue took it.
    async fn publish(&self, parcel: &Parcel<'_>) -> Result<bool> {
        let deadline = Instant::now() + self.config.broker_patience;
        let mut links = self.link.subscribe();
        loop {
            let wait = links.wait_for(Option::is_some);
            let link = match tokio::time::timeout_at(deadline, wait).await {
                Ok(Ok(link)) => link.clone(),
                _ => return Err(self.unreachable()),
            };
            let Some(link) = link else { continue };
            let published = link.publish(parcel, &self.config);
            // A broker that is out of memory or gone takes messages and says nothing.
            let Ok(published) = tokio::time::timeout_at(deadline, published).await else {
                return Err(Error::unavailable("The message broker does not answer.")
                    .log("it did not confirm a message in time"));
            };
            match published {
                Ok(routed) => return Ok(routed),
                Err(error) if Instant::now() >= deadline || link::is_refusal(&error) => {
                    return Err(
                        Error::unavailable("The message broker refused a message.").log(error)
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "publishing failed and is tried again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn answer(&self, answer: Answer) {
        let parcel = Parcel::to_queue(&answer.reply_q, &answer.body);
        // The caller's queue may be missing for a moment: after a restart of the broker each declares its own.
        let deadline = Instant::now() + self.config.caller_patience;
        loop {
            match self.publish(&parcel).await {
                Ok(true) => return,
                Ok(false) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(false) => return tracing::debug!(msg_id = %answer.msg_id, "the caller is gone"),
                Err(error) => {
                    return tracing::error!(msg_id = %answer.msg_id, %error, "an answer was lost");
                }
            }
        }
    }
}

#[async_trait]
impl Transport for Rabbit {
    async fn send(&self, route: &Route, body: Vec<u8>, patience: Duration) -> Result<()> {
        let fanout;
        let parcel = match route {
            Route::Queue { exchange, queue } => Parcel {
                exchange,
                kind: Some(ExchangeKind::Topic),
                ..Parcel::to_queue(queue, &body)
            },
            Route::Fanout { topic } => {
                fanout = format!("{topic}_fanout");
                Parcel {
                    exchange: &fanout,
                    kind: Some(ExchangeKind::Fanout),
                    mandatory: false,
                    ..Parcel::to_queue(topic, &body)
                }
            }
            Route::Notification { exchange, queue } => Parcel {
                exchange,
                kind: Some(ExchangeKind::Topic),
                keep: true,
                mandatory: false,
                ..Parcel::to_queue(queue, &body)
            },
        };
        // Counted from when a broker answered: servers come back after it.
        let mut deadline = None;
        while !self.shared.publish(&parcel).await? {
            if Instant::now() >= *deadline.get_or_insert(Instant::now() + patience) {
                return Err(nobody(parcel.key));
            }
            tokio::time::sleep((patience / 5).max(Duration::from_millis(10))).await;
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
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (ready, is_ready) = oneshot::channel();
        let prefetch = u16::try_from(concurrency).unwrap_or(u16::MAX).max(1);
        let server = serve::Server::new(self.shared.clone(), sources, runner, prefetch);
        tasks.spawn(server.run(stop.clone(), ready));
        let handle = ServerHandle::new(tasks, move || stop.cancel());
        match tokio::time::timeout(self.shared.config.broker_patience, is_ready).await {
            Ok(Ok(())) => Ok(handle),
            _ => Err(self.shared.unreachable()),
        }
    }

    fn renewed(&self) -> BoxFuture<'static, ()> {
        let mut link = self.shared.link.subscribe();
        let before = link.borrow_and_update().clone();
        Box::pin(async move {
            while link.changed().await.is_ok() {
                let now = link.borrow_and_update().clone();
                let same = |old: &Arc<Link>, new: &Arc<Link>| Arc::ptr_eq(old, new);
                match (&before, &now) {
                    (_, None) => {}
                    (Some(old), Some(new)) if same(old, new) => {}
                    (_, Some(_)) => return,
                }
            }
            std::future::pending().await
        })
    }

    fn reply_queue(&self) -> &str {
        &self.shared.reply_queue
    }

    fn replies(&self) -> &Arc<Replies> {
        &self.shared.replies
    }
}
