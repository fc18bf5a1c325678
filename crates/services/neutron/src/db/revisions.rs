//! How often each topic has moved. A topic's row stays locked from its move to the commit, so that its revisions become
//! visible in their order, and whoever reads one reads all that it stands for.

use base::{Error, Result};
use oslo_db::sea_query::{Expr, ExprTrait, OnConflict, Query};
use oslo_db::{Table, Tx, is_in};
use std::collections::BTreeMap;

oslo_db::table! {
    struct RevisionRow in "neutron_revisions" { topic: String, revision: i64 }
}

/// The revisions of topics; of those that never moved, 0.
pub(crate) fn of(tx: &mut Tx, topics: Vec<String>) -> Result<BTreeMap<String, i64>> {
    let rows = tx.select::<RevisionRow>(is_in("topic", topics.iter()))?;
    let mut found: BTreeMap<String, i64> = topics.into_iter().map(|t| (t, 0)).collect();
    found.extend(rows.into_iter().map(|r| (r.topic, r.revision)));
    Ok(found)
}

/// They move. Last in a transaction, and in order, because others wait for the rows.
pub(crate) fn advance(tx: &mut Tx, topics: Vec<String>) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let mut insert = Query::insert();
    insert
        .into_table(RevisionRow::NAME)
        .columns(RevisionRow::COLUMNS.iter().copied());
    for topic in topics {
        insert
            .values([Expr::val(topic), Expr::val(1i64)])
            .map_err(Error::internal)?;
    }
    let next = Expr::col((RevisionRow::NAME, "revision")).add(1);
    let moved = OnConflict::column("topic")
        .value("revision", next)
        .to_owned();
    tx.execute(insert.on_conflict(moved)).map(drop)
}

/// What they stood for is gone. To who knew them that is a move.
pub(crate) fn forget(tx: &mut Tx, topics: Vec<String>) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    tx.delete::<RevisionRow>(is_in("topic", topics)).map(drop)
}
