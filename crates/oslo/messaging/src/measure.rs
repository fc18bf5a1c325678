//! What the bus tells Prometheus: counts, times, and what is under way. Labels are names of methods and topics, nothing
//! of anybody's.

use crate::dead::Reason;
use base::{Error, Result};
use metrics::{Gauge, counter, gauge, histogram};
use std::time::Instant;

/// Counts something for as long as it lives.
pub(crate) struct UnderWay(Gauge);

impl UnderWay {
    fn new(gauge: Gauge) -> UnderWay {
        gauge.increment(1);
        UnderWay(gauge)
    }

    /// A message that was taken and waits for its turn.
    pub(crate) fn waiting(topic: &str) -> UnderWay {
        UnderWay::new(gauge!("ferrostack_rpc_waiting", "topic" => topic.to_string()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Which side of a call is measured.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Call,
    Serve,
}

/// A call, or the serving of one.
pub(crate) struct Meter {
    side: Side,
    began: Instant,
    _under_way: UnderWay,
}

impl Meter {
    pub(crate) fn begin(side: Side) -> Meter {
        let gauge = match side {
            Side::Call => gauge!("ferrostack_rpc_calls_in_flight"),
            Side::Serve => gauge!("ferrostack_rpc_serving"),
        };
        Meter {
            side,
            began: Instant::now(),
            _under_way: UnderWay::new(gauge),
        }
    }

    pub(crate) fn end<T>(self, method: &str, outcome: &Result<T>) {
        let (took, outcome) = (self.began.elapsed(), word(outcome));
        let method = method.to_string();
        match self.side {
            Side::Call => {
                counter!("ferrostack_rpc_calls_total", "method" => method.clone(), "outcome" => outcome).increment(1);
                histogram!("ferrostack_rpc_call_duration_seconds", "method" => method).record(took);
            }
            Side::Serve => {
                counter!("ferrostack_rpc_served_total", "method" => method.clone(), "outcome" => outcome).increment(1);
                histogram!("ferrostack_rpc_serve_duration_seconds", "method" => method)
                    .record(took);
            }
        }
    }
}

pub(crate) fn cast(method: &str, fanout: bool, outcome: &Result<()>) {
    let kind = if fanout { "fanout" } else { "cast" };
    let (method, outcome) = (method.to_string(), word(outcome));
    counter!("ferrostack_rpc_casts_total", "method" => method, "kind" => kind, "outcome" => outcome)
        .increment(1);
}

pub(crate) fn dead_letter(topic: &str, reason: Reason) {
    let (topic, reason) = (topic.to_string(), reason.as_str());
    counter!("ferrostack_rpc_dead_letters_total", "topic" => topic, "reason" => reason)
        .increment(1);
}

pub(crate) fn notification(outcome: &Result<()>) {
    counter!("ferrostack_notifications_total", "outcome" => word(outcome)).increment(1);
}

fn word<T>(outcome: &Result<T>) -> String {
    match outcome {
        Ok(_) => "ok".to_string(),
        Err(error) => format!("{:?}", error.kind()).to_lowercase(),
    }
}

/// What a served method is called; of those that do not exist, senders could make up as many as they like.
pub(crate) fn served_name<'a, T>(method: &'a str, outcome: &Result<T>) -> &'a str {
    let unknown =
        |e: &Error| matches!(e.error_class(), Some("NoSuchMethod" | "UnsupportedVersion"));
    match outcome {
        Err(error) if unknown(error) => "unknown",
        _ => method,
    }
}
