//! The operator's `policy.yaml`: a mapping from rule names to checks, read again when the file changes.

use base::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// How often, at most, the file is looked at.
const EVERY_MS: u64 = 1000;

pub(crate) type Overrides = BTreeMap<String, Value>;

/// What tells one state of a file from another; `None` when there is no file.
type Stamp = Option<(SystemTime, u64)>;

/// A file that may come, change and go.
pub(crate) struct Watched {
    path: PathBuf,
    began: Instant,
    looked_ms: AtomicU64,
    seen: Mutex<Stamp>,
}

/// What a look at the file found.
pub(crate) enum Look {
    Same,
    Changed(Result<Overrides>),
}

impl Watched {
    pub(crate) fn new(path: PathBuf) -> Watched {
        let (began, looked_ms) = (Instant::now(), AtomicU64::new(0));
        Watched {
            path,
            began,
            looked_ms,
            seen: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is time to look; of many threads that ask at once, one is told yes.
    pub(crate) fn due(&self) -> bool {
        let now = self.began.elapsed().as_millis() as u64;
        let last = self.looked_ms.load(Ordering::Relaxed);
        now.saturating_sub(last) >= EVERY_MS
            && self
                .looked_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(crate) fn look(&self) -> Look {
        let Ok(mut seen) = self.seen.lock() else {
            return Look::Same;
        };
        let now = stamp(&self.path);
        if *seen == now {
            return Look::Same;
        }
        *seen = now;
        Look::Changed(if now.is_some() {
            read(&self.path)
        } else {
            Ok(Overrides::new())
        })
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Overrides> {
    let text = std::fs::read_to_string(path)?;
    parse_overrides(&text)
}

/// Reads YAML or JSON; a file with nothing but comments overrides nothing.
pub(crate) fn parse_overrides(text: &str) -> Result<Overrides> {
    let empty = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    };
    if text.lines().all(empty) {
        return Ok(Overrides::new());
    }
    serde_saphyr::from_str(text).map_err(|e| Error::internal(format!("policy overrides: {e}")))
}
