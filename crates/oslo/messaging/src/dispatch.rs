//! From bytes to a handler and back: duplicates, versions, panics, spans. The same for both transports.

use crate::dead::{Death, Reason};
use crate::envelope::{Reply, Request};
use crate::measure::{self, Meter, Side};
use crate::seen::{Known, Seen};
use async_trait::async_trait;
use base::{Error, Kind, Result};
use futures::FutureExt;
use oslo_context::RequestContext;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;

/// How many messages a server remembers to recognise duplicates.
const REMEMBERED: usize = 4096;

/// What a server does with messages.
#[async_trait]
pub trait Dispatcher: Send + Sync + 'static {
    /// Runs one method. `args` is an object keyed by parameter.
    async fn dispatch(&self, ctx: RequestContext, method: &str, args: Value) -> Result<Value>;

    /// The version of the interface that is served; requests for a newer minor or another major are refused.
    /// `None` accepts all.
    fn version(&self) -> Option<&str> {
        None
    }
}

/// An answer on its way to the queue of a caller.
#[derive(Clone)]
pub(crate) struct Answer {
    pub reply_q: String,
    pub msg_id: String,
    pub body: Vec<u8>,
}

/// What became of a message.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What its sender is told.
    pub answer: Option<Answer>,
    /// That nobody is to have it again.
    pub dead: Option<Death>,
}

impl From<Death> for Outcome {
    fn from(death: Death) -> Outcome {
        Outcome {
            dead: Some(death),
            ..Outcome::default()
        }
    }
}

/// What a transport gives bytes to.
#[async_trait]
pub(crate) trait Accept: Send + Sync + 'static {
    /// Handles the message to its end.
    async fn accept(&self, body: &[u8]) -> Outcome;

    /// Whether it had the very message before: it came again because a connection broke, and not because it does harm.
    fn knows(&self, body: &[u8]) -> bool;
}

/// A dispatcher with what surrounds it.
pub(crate) struct Endpoint {
    dispatcher: Arc<dyn Dispatcher>,
    seen: Seen,
}

impl Endpoint {
    pub(crate) fn new(dispatcher: Arc<dyn Dispatcher>) -> Endpoint {
        Endpoint {
            dispatcher,
            seen: Seen::new(REMEMBERED),
        }
    }

    async fn run(
        &self,
        ctx: RequestContext,
        method: &str,
        version: Option<&str>,
        args: Value,
    ) -> (Result<Value>, Option<Death>) {
        if let Err(error) = check_version(self.dispatcher.version(), version, method) {
            return (Err(error), None);
        }
        let call = AssertUnwindSafe(self.dispatcher.dispatch(ctx, method, args)).catch_unwind();
        match call.await {
            Ok(outcome) => (outcome, None),
            Err(panic) => {
                let words = format!("{method} panicked: {}", panic_words(&*panic));
                let death = Death::new(Reason::Panicked, &words);
                (Err(Error::internal(words)), Some(death))
            }
        }
    }
}

#[async_trait]
impl Accept for Endpoint {
    fn knows(&self, body: &[u8]) -> bool {
        Request::decode(body).is_ok_and(|request| self.seen.knows(&request.unique_id))
    }

    async fn accept(&self, body: &[u8]) -> Outcome {
        let request = match Request::decode(body) {
            Ok(request) => request,
            Err(error) => return Death::new(Reason::Unreadable, error.log_message()).into(),
        };
        match self.seen.look(&request.unique_id) {
            Known::New => {}
            Known::Taken => {
                tracing::debug!(unique_id = %request.unique_id, "a duplicate was dropped");
                return Outcome::default();
            }
            Known::Answered(answer) => {
                tracing::debug!(unique_id = %request.unique_id, "a duplicate was answered again");
                return Outcome {
                    answer: Some(answer),
                    dead: None,
                };
            }
        }
        let Request {
            ctx,
            method,
            args,
            version,
            msg_id,
            reply_q,
            unique_id,
            ..
        } = request;
        let span = tracing::info_span!("rpc", request.id = %ctx.request_id, rpc.method = %method);
        let (meter, began) = (Meter::begin(Side::Serve), std::time::Instant::now());
        let (outcome, dead) = self
            .run(ctx, &method, version.as_deref(), args)
            .instrument(span.clone())
            .await;
        meter.end(measure::served_name(&method, &outcome), &outcome);
        let _entered = span.enter();
        // For `ferrostack trace`, which shows what of a request was done elsewhere, and how long it took.
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(duration_us, "{method}");
        if let Err(error) = &outcome {
            let quiet = msg_id.is_some() && error.kind() != Kind::Internal;
            if quiet {
                tracing::debug!(?error, "{method} answered with an error");
            } else {
                tracing::error!(?error, "{method} failed");
            }
        }
        if dead.is_some() {
            // An operator may send it again.
            self.seen.forget(&unique_id);
        }
        let answer = match (msg_id, reply_q) {
            (Some(msg_id), Some(reply_q)) => answer(reply_q, msg_id, &outcome),
            _ => None,
        };
        if let Some(answer) = &answer {
            self.seen.answered(&unique_id, answer);
        }
        Outcome { answer, dead }
    }
}

fn answer(reply_q: String, msg_id: String, outcome: &Result<Value>) -> Option<Answer> {
    match Reply::encode(&msg_id, outcome) {
        Ok(body) => Some(Answer {
            reply_q,
            msg_id,
            body,
        }),
        Err(error) => {
            tracing::error!(%error, "an answer that cannot be written was dropped");
            None
        }
    }
}

/// Upstream's rule: same major, and a minor that is not newer than ours.
fn check_version(served: Option<&str>, asked: Option<&str>, method: &str) -> Result<()> {
    let (Some(served), Some(asked)) = (served, asked) else {
        return Ok(());
    };
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let fits = match (numbers(served), numbers(asked)) {
        (Some(served), Some(asked)) => served.0 == asked.0 && asked.1 <= served.1,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let words =
        format!("Endpoint does not support RPC version {asked}. Attempted method: {method}");
    Err(Error::new(Kind::NotImplemented, words).class("UnsupportedVersion"))
}

/// The words of a panic.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(words) = panic.downcast_ref::<&str>() {
        return (*words).to_string();
    }
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "no words".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let fits = |served, asked| check_version(Some(served), Some(asked), "m").is_ok();
        assert!(fits("6.2", "6.0") && fits("6.2", "6.2"));
        assert!(!fits("6.2", "6.3") && !fits("6.2", "5.0") && !fits("6.2", "x"));
        assert!(check_version(None, Some("9.9"), "m").is_ok());
    }
}
