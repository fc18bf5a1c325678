//! A number that every write moves: how processes on one database learn that what they remember may be stale.

use base::{Result, Timestamp};
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Tx, all, eq, lt, set};

oslo_db::table! {
    /// The only row has `id` 1.
    pub(crate) struct GenerationRow in "identity_generation" {
        pub id: i64,
        pub value: i64,
    }
}

pub(crate) fn current(tx: &mut Tx) -> Result<u64> {
    let row = tx.find::<GenerationRow>(eq("id", 1i64))?;
    Ok(row.map_or(0, |g| g.value.unsigned_abs()))
}

/// Moves it, and makes other writers wait until this transaction ends. It is at least the time in milliseconds, so that
/// a database that came back from a backup never says again what it said before.
pub(crate) fn advance(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    let mut update = Query::update();
    update
        .table("identity_generation")
        .value("value", Expr::col("value").add(1))
        .cond_where(eq("id", 1i64));
    tx.execute(&update)?;
    let millis = now.0 / 1000;
    let behind = all([eq("id", 1i64), lt("value", millis)]);
    tx.update::<GenerationRow>(behind, &[set("value", millis)])?;
    current(tx)
}
