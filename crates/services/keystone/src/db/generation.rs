//! A number that every write moves: how processes on one database learn that what they remember may be stale.

use base::Result;
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// The only row has `id` 1.
    pub(crate) struct GenerationRow in "identity_generation" {
        pub id: i64,
        pub value: i64,
    }
}

pub(crate) fn current(tx: &mut Tx) -> Result<i64> {
    Ok(tx
        .find::<GenerationRow>(eq("id", 1i64))?
        .map_or(0, |g| g.value))
}

pub(crate) fn advance(tx: &mut Tx) -> Result<()> {
    let mut update = Query::update();
    update
        .table("identity_generation")
        .value("value", Expr::col("value").add(1))
        .cond_where(eq("id", 1i64));
    tx.execute(&update)?;
    Ok(())
}
