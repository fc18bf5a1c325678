//! Rows that stay as they are until the transaction ends, while others may hold them the same way; and statuses of many.

use super::PortRow;
use base::{Result, Timestamp};
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Cond, Table, Tx, bind, is_in};

/// The first row that matches. Nobody changes or deletes it before this transaction ends, which many may ask at once.
/// (SQLite has one writer anyway.)
pub(crate) fn find<T: Table>(tx: &mut Tx, cond: Cond) -> Result<Option<T>> {
    Ok(select::<T>(tx, cond, Some(1))?.pop())
}

/// The same for all that match.
pub(crate) fn all<T: Table>(tx: &mut Tx, cond: Cond) -> Result<Vec<T>> {
    select(tx, cond, None)
}

fn select<T: Table>(tx: &mut Tx, cond: Cond, limit: Option<u64>) -> Result<Vec<T>> {
    let mut select = Query::select();
    select
        .columns(T::COLUMNS.iter().copied())
        .from(T::NAME)
        .cond_where(cond)
        .lock_shared();
    if let Some(limit) = limit {
        select.limit(limit);
    }
    tx.rows(&select)
}

/// The rows that match, for this transaction alone.
pub(crate) fn for_update<T: Table>(tx: &mut Tx, cond: Cond) -> Result<Vec<T>> {
    let mut select = Query::select();
    select
        .columns(T::COLUMNS.iter().copied())
        .from(T::NAME)
        .cond_where(cond)
        .lock_exclusive();
    tx.rows(&select)
}

/// Ports that this transaction holds get a status.
pub(crate) fn set_status(tx: &mut Tx, ports: &[&str], status: &str, now: Timestamp) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let mut update = Query::update();
    update
        .table(PortRow::NAME)
        .value("status", bind(status))
        .value("updated_at", bind(now))
        .value("revision_number", Expr::col("revision_number").add(1))
        .cond_where(is_in("id", ports.iter().copied()));
    tx.execute(update).map(drop)
}
