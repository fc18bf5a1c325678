//! Time: a point in time with microseconds, in the spellings the services use, and a clock tests can hold still.

use crate::{Cell, CellRef, CellValue, Error, Result};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A point in time: microseconds since 1970-01-01 UTC. Stored as an integer, so it sorts the same everywhere.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now, by the machine's clock. Code under test takes a [`Clock`] instead.
    pub fn now() -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    /// `2026-01-02T03:04:05Z` (nova, glance, neutron).
    pub fn iso_z(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%SZ")
    }

    /// `2026-01-02T03:04:05.000006Z` (keystone).
    pub fn iso_micros_z(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.6fZ")
    }

    /// `2026-01-02T03:04:05.000006` (cinder, and nova's older views).
    pub fn iso_micros(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.6f")
    }

    /// `%Y-%m-%dT%H:%M:%S`-style formatting in UTC.
    pub fn format(self, format: &str) -> String {
        self.zoned().strftime(format).to_string()
    }

    /// Reads any ISO 8601 spelling the services accept, with or without zone (then UTC) and fraction.
    pub fn parse(text: &str) -> Result<Timestamp> {
        let text = text.trim();
        if let Ok(t) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp(t.as_microsecond()));
        }
        let civil = text.trim_end_matches('Z').parse::<jiff::civil::DateTime>();
        match civil.ok().and_then(|d| d.to_zoned(TimeZone::UTC).ok()) {
            Some(zoned) => Ok(Timestamp(zoned.timestamp().as_microsecond())),
            None => Err(Error::bad_request(format!("Invalid time format: {text}"))),
        }
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// From whole seconds since 1970.
    pub fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    /// Later by `duration`.
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.as_micros() as i64))
    }

    /// Earlier by `duration`.
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(duration.as_micros() as i64))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    fn zoned(self) -> jiff::Zoned {
        jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or_default()
            .to_zoned(TimeZone::UTC)
    }
}

impl Cell for Timestamp {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        i64::from_cell(cell).map(Timestamp)
    }

    fn to_cell(&self) -> CellValue {
        CellValue::Int(self.0)
    }
}

/// Where time comes from: the machine, or a test's hand.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn real() -> Clock {
        Clock(None)
    }

    /// A clock that stands still at `start` until [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Clock {
        Clock(Some(Arc::new(AtomicI64::new(start.0))))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::now(),
            Some(t) => Timestamp(t.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; a real one cannot be moved and this does nothing.
    pub fn advance(&self, by: Duration) {
        if let Some(t) = &self.0 {
            t.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let t = Timestamp(1_767_323_045_000_006);
        assert_eq!(t.iso_z(), "2026-01-02T03:04:05Z");
        assert_eq!(t.iso_micros_z(), "2026-01-02T03:04:05.000006Z");
        assert_eq!(t.iso_micros(), "2026-01-02T03:04:05.000006");
        for text in [
            t.iso_micros_z(),
            t.iso_micros(),
            "2026-01-02T03:04:05.000006+00:00".into(),
        ] {
            assert_eq!(Timestamp::parse(&text).unwrap(), t, "{text}");
        }
        assert_eq!(
            Timestamp::parse("2026-01-02").unwrap().iso_z(),
            "2026-01-02T00:00:00Z"
        );
        assert!(Timestamp::parse("yesterday").is_err());
    }
}
