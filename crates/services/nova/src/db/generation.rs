//! The number by which schedulers know that what they remember of hosts is old, and the lock of those who change that.

use base::{Error, Result};
use oslo_db::{Tx, eq, set};

oslo_db::table! {
    struct GenerationRow in "host_generation" { id: i64, generation: i64 }
}

fn lost() -> Error {
    Error::internal("host_generation has lost its row")
}

/// From here to the end of the transaction nobody else changes hosts, their services, or aggregates. First in its
/// transaction, so that what is read after it is not changed by somebody else before it is written.
pub fn advance(tx: &mut Tx) -> Result<()> {
    let held = tx.find_for_update::<GenerationRow>(eq("id", 1i64))?;
    let next = held.ok_or_else(lost)?.generation + 1;
    tx.update::<GenerationRow>(eq("id", 1i64), &[set("generation", next)])?;
    Ok(())
}

/// As it is now.
pub fn current(tx: &mut Tx) -> Result<i64> {
    let row = tx.find::<GenerationRow>(eq("id", 1i64))?;
    Ok(row.ok_or_else(lost)?.generation)
}
