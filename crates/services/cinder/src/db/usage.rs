//! What is used where: sums over volumes and snapshots.

use crate::db::VolumeRow;
use base::Result;
use oslo_db::sea_query::{Expr, ExprTrait, Func, Query};
use oslo_db::{Cond, Tx, any, eq, in_rows, is_in, prefix};
use std::collections::{BTreeMap, HashMap};

/// How many volumes each of these pools has, and their GiB together.
pub fn promised(tx: &mut Tx, names: &[String]) -> Result<HashMap<String, (i64, i64)>> {
    let sum = |column| Expr::expr(Func::sum(Expr::col(column)));
    let select = Query::select()
        .column("host")
        .expr(Func::count(Expr::val(1)))
        .expr(sum("size").add(sum("growing_by")))
        .from("volumes")
        .cond_where(is_in("host", names.iter()))
        .group_by_col("host")
        .to_owned();
    let rows = tx.query(select)?;
    rows.iter()
        .map(|r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?))))
        .collect()
}

/// How many of something a project has on a backend, and their GiB together.
#[derive(Clone, Copy, Default)]
pub struct Use {
    pub volumes: i64,
    pub gigabytes: i64,
    pub snapshots: i64,
    pub snapshot_gigabytes: i64,
}

/// Count and sum of the sizes per project.
fn per_project(tx: &mut Tx, table: &'static str, cond: Cond) -> Result<Vec<(String, i64, i64)>> {
    let select = Query::select()
        .column("project_id")
        .expr(Func::count(Expr::val(1)))
        .expr(Func::sum(Expr::col("size")))
        .from(table)
        .cond_where(cond)
        .group_by_col("project_id")
        .to_owned();
    let rows = tx.query(select)?;
    rows.iter()
        .map(|r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .collect()
}

/// What each project has on a host's backend.
pub fn of_host(tx: &mut Tx, host: &str) -> Result<BTreeMap<String, Use>> {
    let here = any([eq("host", host), prefix("host", &format!("{host}#"))]);
    let mut out: BTreeMap<String, Use> = BTreeMap::new();
    for (project, count, size) in per_project(tx, "volumes", here.clone())? {
        let of = out.entry(project).or_default();
        (of.volumes, of.gigabytes) = (count, size);
    }
    let of_those = in_rows::<VolumeRow>("volume_id", "id", here);
    for (project, count, size) in per_project(tx, "snapshots", of_those)? {
        let of = out.entry(project).or_default();
        (of.snapshots, of.snapshot_gigabytes) = (count, size);
    }
    Ok(out)
}
