//! What an API tells Prometheus: requests by route and code, and how long they took. A route is its template, so that no
//! id becomes a label.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Names of a row.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub service: &'static str,
    pub method: &'a str,
    pub route: &'static str,
    pub action: &'static str,
}

/// The numbers of a row, looked up once.
#[derive(Default)]
pub(crate) struct Meter {
    duration: OnceLock<Histogram>,
    codes: Mutex<Vec<(u16, Counter)>>,
}

impl Meter {
    pub(crate) fn record(&self, names: Names<'_>, code: u16, took: Duration) {
        let duration = self.duration.get_or_init(|| {
            histogram!(
                "ferrostack_http_request_duration_seconds",
                "service" => names.service, "method" => names.method.to_string(),
                "route" => names.route, "action" => names.action
            )
        });
        duration.record(took);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = codes.iter().find(|(known, _)| *known == code) {
            return counter.increment(1);
        }
        let counter = counter!(
            "ferrostack_http_requests_total",
            "service" => names.service, "method" => names.method.to_string(),
            "route" => names.route, "action" => names.action, "code" => code.to_string()
        );
        counter.increment(1);
        codes.push((code, counter));
    }
}

/// Counts a request for as long as it is under way.
pub(crate) struct UnderWay(Gauge);

impl UnderWay {
    pub(crate) fn new(service: &'static str, known: &OnceLock<Gauge>) -> UnderWay {
        let gauge = known
            .get_or_init(|| gauge!("ferrostack_http_requests_in_flight", "service" => service))
            .clone();
        gauge.increment(1);
        UnderWay(gauge)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
