//! Locks that also hold between the nodes of a Galera cluster. There `SELECT … FOR UPDATE` is known to its node only; what
//! is certified are writes. So a lock is also a row that is written: of two that write it on two nodes, the second
//! is rolled back at its commit at the latest, and runs again.

use crate::table::Table;
use crate::tx::{Conn, Tx, add_values, insert_into};
use base::{CellValue, Result};
use sea_query::OnConflict;
use std::collections::BTreeSet;

crate::table! {
    /// What is locked is spread over so many rows; that two share one costs a pause at most.
    struct SlotRow in "lock_slots" { slot: i64, holder: String }
}

const SLOTS: u64 = 4096;

pub(crate) const TABLE: (&str, &str) = (
    "lock_slots",
    "CREATE TABLE IF NOT EXISTS lock_slots (
        slot BIGINT NOT NULL PRIMARY KEY,
        holder VARCHAR(64) NOT NULL
    )",
);

/// The same in every process of every version (FNV-1a).
fn slot(name: &str) -> i64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % SLOTS) as i64
}

impl Tx {
    /// Until this transaction ends no other one that locks one of the same names goes on, on this or another node. For
    /// what has no row that could be locked ([`Tx::find_for_update`]). SQLite has one writer anyway.
    pub fn lock_names(&mut self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let Conn::MySql(_) = &self.conn else {
            return Ok(());
        };
        // All take them in the same order.
        let slots: BTreeSet<i64> = names.into_iter().map(|name| slot(&name)).collect();
        if slots.is_empty() {
            return Ok(());
        }
        // Another value each time, or nothing would be written.
        let holder = base::new_hex_id();
        let mut insert = insert_into::<SlotRow>();
        for slot in slots {
            let holder = holder.clone();
            add_values(&mut insert, &SlotRow { slot, holder })?;
        }
        let conflict = OnConflict::column("slot")
            .update_column("holder")
            .to_owned();
        self.execute(insert.on_conflict(conflict)).map(drop)
    }

    /// Makes the lock on a row known to other nodes, if there are any.
    pub(crate) fn publish_lock<T: Table>(&mut self, row: &T) -> Result<()> {
        if !matches!(&self.conn, Conn::MySql(conn) if conn.is_galera()) {
            return Ok(());
        }
        let key = match row.values().into_iter().next() {
            Some(CellValue::Text(text)) => text,
            Some(CellValue::Int(int)) => int.to_string(),
            _ => String::new(),
        };
        self.lock_names([format!("{}:{key}", T::NAME)])
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn slots_stay_where_they_are() {
        let slots = ["", "flows:a", "volumes:b"].map(super::slot);
        assert!(slots.iter().all(|s| (0..4096).contains(s)));
        assert_eq!(slots[0], 0x325);
        assert_ne!(slots[1], slots[2]);
    }
}
