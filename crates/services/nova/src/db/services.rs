//! nova's own services: who runs where, enabled or not, heard from when.

use super::generation;
use base::{Result, Timestamp, new_id};
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Cond, Tx, all, bind, eq, everything};

oslo_db::table! {
    /// A service.
    pub struct ServiceRow in "services" {
        pub id: String,
        pub number: i64,
        pub host: String,
        pub service_binary: String,
        pub topic: String,
        pub disabled: bool,
        pub disabled_reason: Option<String>,
        pub forced_down: bool,
        pub report_count: i64,
        pub last_seen_up: Option<Timestamp>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

impl ServiceRow {
    /// Whether it is up: heard from within `service_down_time` and not forced down.
    pub fn is_up(&self, now: Timestamp, down_after: std::time::Duration) -> bool {
        !self.forced_down && self.last_seen_up.is_some_and(|t| now.since(t) < down_after)
    }
}

/// A heartbeat; the first one makes the row.
pub fn report(tx: &mut Tx, host: &str, binary: &str, topic: &str, now: Timestamp) -> Result<()> {
    if beat(tx, host, binary, now)? {
        return Ok(());
    }
    generation::advance(tx)?;
    // Somebody may have made it while we waited.
    if beat(tx, host, binary, now)? {
        return Ok(());
    }
    let number = next_number(tx)?;
    tx.insert(&ServiceRow {
        id: new_id(),
        number,
        host: host.into(),
        service_binary: binary.into(),
        topic: topic.into(),
        disabled: false,
        disabled_reason: None,
        forced_down: false,
        report_count: 1,
        last_seen_up: Some(now),
        created_at: now,
        updated_at: None,
    })
}

/// False: there is no such service yet.
fn beat(tx: &mut Tx, host: &str, binary: &str, now: Timestamp) -> Result<bool> {
    let update = Query::update()
        .table("services")
        .value("last_seen_up", bind(now))
        .value("updated_at", bind(now))
        .value("report_count", Expr::col("report_count").add(1))
        .cond_where(of(host, binary))
        .to_owned();
    Ok(tx.execute(update)? > 0)
}

fn of(host: &str, binary: &str) -> Cond {
    all([eq("host", host), eq("service_binary", binary)])
}

/// The service `binary` on `host`.
pub fn find(tx: &mut Tx, host: &str, binary: &str) -> Result<Option<ServiceRow>> {
    tx.find(of(host, binary))
}

/// One more than the highest number: rows are deleted, so counting them would give a number twice. The caller holds
/// [`generation`], or two might get the same.
fn next_number(tx: &mut Tx) -> Result<i64> {
    let last =
        tx.select_sorted::<ServiceRow>(everything(), &[("number", base::Dir::Desc)], Some(1))?;
    Ok(last.first().map_or(1, |row| row.number + 1))
}
