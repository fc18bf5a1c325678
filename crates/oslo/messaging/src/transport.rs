//! The seam between the bus and what carries its bytes, and the table of calls that wait for an answer.

use crate::dispatch::Accept;
use crate::envelope::Reply;
use crate::server::ServerHandle;
use async_trait::async_trait;
use base::{Error, Result};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Which queue a message goes to.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To one of the consumers of a queue.
    Queue { exchange: String, queue: String },
    /// To every server of a topic.
    Fanout { topic: String },
    /// To one of the listeners, now or (where queues outlive processes) later.
    Notification { exchange: String, queue: String },
}

/// Which queues a server takes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub exchange: String,
    pub queues: Vec<String>,
    pub fanout: Option<String>,
}

impl Sources {
    /// What they have in common.
    pub(crate) fn topic(&self) -> &str {
        self.queues.first().map_or("", String::as_str)
    }
}

/// In-process or RabbitMQ.
#[async_trait]
pub(crate) trait Transport: Send + Sync + 'static {
    /// Hands the message over, waiting for a consumer (or the broker) for at most `patience`.
    async fn send(&self, route: &Route, body: Vec<u8>, patience: Duration) -> Result<()>;
    /// Gives messages to `accept` until the handle is stopped. Returns when messages can arrive.
    async fn listen(
        &self,
        sources: Sources,
        accept: Arc<dyn Accept>,
        concurrency: usize,
    ) -> Result<ServerHandle>;
    /// Resolves when what carries the bytes has been lost and is there again, counted from this very call: whatever was on
    /// its way may be gone.
    fn renewed(&self) -> BoxFuture<'static, ()>;
    /// Where answers to this process go.
    fn reply_queue(&self) -> &str;
    /// The calls that wait.
    fn replies(&self) -> &Arc<Replies>;
}

pub(crate) fn nobody(queue: &str) -> Error {
    Error::unavailable(format!("No server listens on {queue}.")).class("MessageUndeliverable")
}

/// Calls that wait for their answers.
#[derive(Default)]
pub(crate) struct Replies {
    waiting: Mutex<HashMap<String, oneshot::Sender<Result<Value>>>>,
}

impl Replies {
    /// Starts to wait; dropping the guard ends it.
    pub(crate) fn expect(self: &Arc<Self>, msg_id: &str) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(msg_id.to_string(), sender);
        Waiting {
            replies: self.clone(),
            msg_id: msg_id.to_string(),
            receiver,
        }
    }

    /// Gives an answer to whom it belongs; late answers are dropped.
    pub(crate) fn resolve(&self, body: &[u8]) {
        match Reply::decode(body) {
            Ok(Reply { outcome: None, .. }) => {}
            Ok(Reply {
                msg_id,
                outcome: Some(outcome),
            }) => match self.lock().remove(&msg_id) {
                Some(sender) => drop(sender.send(outcome)),
                None => tracing::debug!(%msg_id, "an answer nobody waits for"),
            },
            Err(error) => tracing::error!(%error, "an answer that cannot be read was dropped"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Result<Value>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that waits.
pub(crate) struct Waiting {
    replies: Arc<Replies>,
    msg_id: String,
    pub receiver: oneshot::Receiver<Result<Value>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.replies.lock().remove(&self.msg_id);
    }
}
