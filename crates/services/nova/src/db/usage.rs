//! What living instances take of each host, in one query.

use base::Result;
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Tx, is_null};
use std::collections::HashMap;

/// What a host's instances take together.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Processors.
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GiB.
    pub disk_gb: i64,
    /// Guests.
    pub instances: i64,
    /// Guests being built.
    pub building: i64,
}

/// Sums per host over living instances.
pub fn by_host(tx: &mut Tx) -> Result<HashMap<String, Usage>> {
    let building = Expr::cust("SUM(CASE WHEN vm_state = 'building' THEN 1 ELSE 0 END)");
    let select = Query::select()
        .column("host")
        .expr(Expr::col("vcpus").sum())
        .expr(Expr::col("memory_mb").sum())
        .expr(Expr::col("disk_gb").sum())
        .expr(Expr::col("id").count())
        .expr(building)
        .from("instances")
        .cond_where(oslo_db::all([
            is_null("deleted_at"),
            oslo_db::not_null("host"),
        ]))
        .group_by_col("host")
        .to_owned();
    let mut usage = HashMap::new();
    for row in tx.query(&select)? {
        let number = |i: usize| -> Result<i64> {
            row.get::<Option<f64>>(i).map(|v| v.unwrap_or(0.0) as i64)
        };
        let u = Usage {
            vcpus: number(1)?,
            memory_mb: number(2)?,
            disk_gb: number(3)?,
            instances: number(4)?,
            building: number(5)?,
        };
        usage.insert(row.get::<String>(0)?, u);
    }
    Ok(usage)
}
