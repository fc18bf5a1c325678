//! A write: take the revision row, do the work, stamp what was touched.

use super::{ProviderRow, RemovedRow, RevisionRow};
use base::{Error, Result, Timestamp};
use oslo_db::{Tx, eq, is_in, set};
use std::collections::BTreeSet;

/// What a write did to providers, noted while it runs.
pub struct Change {
    pub now: Timestamp,
    touched: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Change {
    /// The provider's row, inventories, traits, aggregates or allocations changed.
    pub fn touch(&mut self, provider: &str) {
        self.touched.insert(provider.to_string());
    }

    /// The provider is gone.
    pub fn remove(&mut self, provider: &str) {
        self.touched.remove(provider);
        self.removed.insert(provider.to_string());
    }
}

/// Runs `work` alone: no other placement write, of any process, is in flight meanwhile.
pub fn serial<T>(
    tx: &mut Tx,
    now: Timestamp,
    work: impl FnOnce(&mut Tx, &mut Change) -> Result<T>,
) -> Result<T> {
    let held = tx.find_for_update::<RevisionRow>(eq("id", 1i64))?;
    let held = held.ok_or_else(|| Error::internal("placement_revision has lost its row"))?;
    let mut change = Change {
        now,
        touched: BTreeSet::new(),
        removed: BTreeSet::new(),
    };
    let result = work(tx, &mut change)?;
    if change.touched.is_empty() && change.removed.is_empty() {
        return Ok(result);
    }
    let revision = held.revision + 1;
    tx.update::<RevisionRow>(eq("id", 1i64), &[set("revision", revision)])?;
    tx.update::<ProviderRow>(
        is_in("id", change.touched.iter()),
        &[set("revision", revision)],
    )?;
    for id in change.removed {
        tx.upsert(&RemovedRow { id, revision }, &["id"])?;
    }
    Ok(result)
}
