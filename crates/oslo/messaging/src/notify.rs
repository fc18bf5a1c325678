//! Notifications: what happened, for whoever cares (upstream's `messagingv2` driver).

use crate::dead::{Death, Reason};
use crate::dispatch::{Accept, Outcome, panic_words};
use crate::envelope::{pack_context, text, unpack_context, unwrap, wrap};
use async_trait::async_trait;
use base::{Result, Timestamp};
use futures::FutureExt;
use oslo_context::RequestContext;
use serde_json::{Map, Value};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;

base::str_enum! {
    /// How much a notification matters; part of the name of its queue.
    pub enum Priority {
        Audit = "audit",
        Debug = "debug",
        Info = "info",
        Warn = "warn",
        Error = "error",
        Critical = "critical",
        Sample = "sample",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Unique per notification.
    pub message_id: String,
    /// Who says it: `service.host`.
    pub publisher_id: String,
    /// What happened: `volume.create.end`.
    pub event_type: String,
    /// How much it matters.
    pub priority: Priority,
    /// The details.
    pub payload: Value,
    /// When, in upstream's spelling.
    pub timestamp: String,
}

/// Who listens.
#[async_trait]
pub trait NotificationHandler: Send + Sync + 'static {
    /// Takes one notification.
    async fn notified(&self, ctx: RequestContext, notification: Notification) -> Result<()>;
}

/// The queue of a topic and a priority: `notifications.info`.
pub(crate) fn queue(topic: &str, priority: Priority) -> String {
    format!("{topic}.{priority}")
}

impl Notification {
    /// One that happens now.
    pub fn new(
        publisher_id: &str,
        priority: Priority,
        event_type: &str,
        payload: Value,
    ) -> Notification {
        Notification {
            message_id: base::new_id(),
            publisher_id: publisher_id.to_string(),
            event_type: event_type.to_string(),
            priority,
            payload,
            timestamp: Timestamp::now().format("%Y-%m-%d %H:%M:%S%.6f"),
        }
    }

    /// The bytes that travel, in upstream's envelope. They are the same however often they are sent.
    pub fn encode(&self, ctx: &RequestContext) -> Result<Vec<u8>> {
        let mut inner = Map::new();
        inner.insert("message_id".into(), self.message_id.clone().into());
        inner.insert("publisher_id".into(), self.publisher_id.clone().into());
        inner.insert("event_type".into(), self.event_type.clone().into());
        // COMPAT: upstream writes priorities in capitals inside, in small letters in the queue.
        inner.insert(
            "priority".into(),
            self.priority.as_str().to_uppercase().into(),
        );
        inner.insert("payload".into(), self.payload.clone());
        inner.insert("timestamp".into(), self.timestamp.clone().into());
        inner.insert("_unique_id".into(), base::new_hex_id().into());
        pack_context(&mut inner, ctx);
        wrap(inner)
    }

    fn decode(body: &[u8]) -> Result<(RequestContext, Notification)> {
        let mut inner = unwrap(body)?;
        let ctx = unpack_context(&mut inner);
        let mut word = |key: &str| text(&mut inner, key).unwrap_or_default();
        let notification = Notification {
            message_id: word("message_id"),
            publisher_id: word("publisher_id"),
            event_type: word("event_type"),
            priority: Priority::parse(&word("priority").to_lowercase())?,
            timestamp: word("timestamp"),
            payload: inner.remove("payload").unwrap_or(Value::Null),
        };
        Ok((ctx, notification))
    }
}

/// Gives notifications to their handler.
pub(crate) struct Listener {
    handler: Arc<dyn NotificationHandler>,
}

impl Listener {
    pub(crate) fn new(handler: Arc<dyn NotificationHandler>) -> Listener {
        Listener { handler }
    }
}

#[async_trait]
impl Accept for Listener {
    // Listeners take what comes again.
    fn knows(&self, _: &[u8]) -> bool {
        false
    }

    async fn accept(&self, body: &[u8]) -> Outcome {
        let (ctx, notification) = match Notification::decode(body) {
            Ok(decoded) => decoded,
            Err(error) => return Death::new(Reason::Unreadable, error.log_message()).into(),
        };
        let event_type = notification.event_type.clone();
        let span = tracing::info_span!("notification", request.id = %ctx.request_id, event_type);
        let handled = AssertUnwindSafe(self.handler.notified(ctx, notification).instrument(span))
            .catch_unwind();
        match handled.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(?error, "the notification {event_type} was not handled")
            }
            Err(panic) => {
                let words = panic_words(&*panic);
                let words = format!("the handler of {event_type} panicked: {words}");
                return Death::new(Reason::Panicked, words).into();
            }
        }
        Outcome::default()
    }
}
