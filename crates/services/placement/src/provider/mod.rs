//! The nouns' verbs, inside a transaction: providers and their tree, inventories, allocations.

pub mod allocate;
pub mod inventory;
pub mod tree;

use crate::db::ProviderRow;
use crate::db::revision::Change;
use base::{Error, Result};
use oslo_db::{Tx, all, eq, set};

pub const CONCURRENT: &str = "placement.concurrent_update";

/// The provider's row, or a 404.
pub fn get(tx: &mut Tx, id: &str) -> Result<ProviderRow> {
    tx.find::<ProviderRow>(eq("id", id))?
        .ok_or_else(|| not_found(id))
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("No resource provider with uuid {id} found"))
}

/// 409 unless the caller has seen the provider as it is.
pub fn check_generation(row: &ProviderRow, generation: i64) -> Result<()> {
    if row.generation == generation {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "resource provider generation conflict for provider {}: actual: {}, given: {generation}",
        row.id, row.generation
    ))
    .class(CONCURRENT))
}

/// The next generation: whoever still holds the old one must look again.
pub fn bump(tx: &mut Tx, change: &mut Change, row: &ProviderRow) -> Result<i64> {
    let next = row.generation + 1;
    let held = all([eq("id", &row.id), eq("generation", row.generation)]);
    let values = [set("generation", next), set("updated_at", change.now)];
    if tx.update::<ProviderRow>(held, &values)? == 0 {
        return Err(Error::conflict("resource provider generation conflict").class(CONCURRENT));
    }
    change.touch(&row.id);
    Ok(next)
}
