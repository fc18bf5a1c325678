//! What is allocated, summed by the database.

use super::AllocationRow;
use base::Result;
use oslo_db::sea_query::{Expr, Func, Query};
use oslo_db::{Cond, Table, Tx};

/// What is allocated, by provider and class.
pub fn used(tx: &mut Tx, cond: Cond) -> Result<Vec<(String, String, i64)>> {
    let mut select = Query::select();
    select
        .columns(["provider", "class"])
        .expr(Func::sum(Expr::col("used")))
        .from(AllocationRow::NAME)
        .cond_where(cond)
        .group_by_columns(["provider", "class"]);
    let rows = tx.query(&select)?;
    rows.iter()
        .map(|r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .collect()
}
