//! The table of flows: submit, claim, save, finish. Every change after the claim is a compare-and-swap on the owner.

use base::{Error, Kind, Result, Timestamp};
use oslo_db::{Tx, all, any, eq, everything, gt, is_in, ne, not_in, prefix, set};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

base::str_enum! {
    /// Forwards or backwards.
    pub(crate) enum Direction {
        Do = "do",
        Undo = "undo",
    }
}

oslo_db::table! {
    /// A flow that is not finished. `step` is the next to run; going back, -1 means that only `reverted` is left.
    /// Without owner, `lease_until` is when it may run next.
    pub(crate) struct FlowRow in "flows" {
        pub id: String,
        pub name: String,
        pub resource_id: String,
        pub request_id: String,
        pub share: String,
        pub state_json: String,
        pub step: i64,
        pub direction: Direction,
        pub attempts: i64,
        pub owner: String,
        pub lease_until: Timestamp,
        pub error_json: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    /// What choosing needs: states can be large.
    struct Waiting in "flows" {
        id: String,
        name: String,
        resource_id: String,
        share: String,
        owner: String,
        lease_until: Timestamp,
        created_at: Timestamp,
    }
}

/// How many unfinished flows of a kind are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// The flow's name.
    pub name: String,
    /// `running`, `waiting` (also between attempts), and the same going back.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}

/// Counts the unfinished flows of a database, by kind and state.
pub async fn census(db: &oslo_db::Db) -> Result<Vec<Census>> {
    use oslo_db::sea_query::{Expr, Func, Query};
    let rows = db.read(|tx| {
        let mut select = Query::select();
        select
            .columns(["name", "direction", "owner"])
            .expr(Func::count(Expr::val(1)))
            .from("flows")
            .group_by_columns(["name", "direction", "owner"]);
        let rows = tx.query(&select)?;
        let read = |row: &oslo_db::Cells| -> Result<(String, &'static str, u64)> {
            let state = match (row.get::<Direction>(1)?, row.get::<String>(2)?.is_empty()) {
                (Direction::Do, false) => "running",
                (Direction::Do, true) => "waiting",
                (Direction::Undo, false) => "undoing",
                (Direction::Undo, true) => "undo_waiting",
            };
            Ok((row.get(0)?, state, row.get(3)?))
        };
        rows.iter().map(read).collect::<Result<Vec<_>>>()
    });
    let mut counts = std::collections::BTreeMap::new();
    for (name, state, count) in rows.await? {
        *counts.entry((name, state)).or_insert(0) += count;
    }
    let census = |((name, state), count)| Census { name, state, count };
    Ok(counts.into_iter().map(census).collect())
}

/// How many flows are looked at in one go: with thousands that wait, the oldest are enough.
const PAGE: usize = 200;

/// How many flows an engine may take: in all, and so many of one share as run in it then.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub all: usize,
    pub share: usize,
}

/// Flows that run in this engine, by share.
struct Shares {
    most: usize,
    running: HashMap<String, usize>,
}

impl Shares {
    /// One more, if there is room for it.
    fn take(&mut self, share: &str) -> bool {
        if share.is_empty() {
            return true;
        }
        let running = self.running.entry(share.to_string()).or_default();
        let room = *running < self.most;
        *running += usize::from(room);
        room
    }

    /// Flows of shares that have room: those who wait by the thousand are not even read.
    fn with_room(&self) -> oslo_db::Cond {
        let full = self.running.iter().filter(|(_, n)| **n >= self.most);
        let full: Vec<&String> = full.map(|(share, _)| share).collect();
        match full.is_empty() {
            true => everything(),
            false => not_in("share", full),
        }
    }
}

/// Claims as many flows as there is room for: of each resource the oldest, if nobody runs one of that resource. Those in
/// `here` run in this engine, whatever became of their lease.
pub(crate) fn claim(
    tx: &mut Tx,
    names: &[&'static str],
    owner: &str,
    lease: Duration,
    room: Room,
    here: &HashSet<String>,
) -> Result<Vec<FlowRow>> {
    let now = Timestamp::now();
    let owned = tx.select::<Waiting>(ne("owner", ""))?;
    let mut shares = Shares {
        most: room.share,
        running: HashMap::new(),
    };
    for flow in owned.iter().filter(|w| here.contains(&w.id)) {
        shares.take(&flow.share);
    }
    let running = owned
        .into_iter()
        .filter(|w| here.contains(&w.id) || w.lease_until > now);
    let (ids, mut taken): (HashSet<String>, HashSet<String>) =
        running.map(|w| (w.id, w.resource_id)).unzip();
    let by_age = [("created_at", base::Dir::Asc), ("id", base::Dir::Asc)];
    let mut candidates = Vec::new();
    let mut rest = everything();
    'pages: loop {
        let page = all([rest, shares.with_room()]);
        let waiting = tx.select_sorted::<Waiting>(page, &by_age, Some(PAGE as u64))?;
        let last = waiting.last().filter(|_| waiting.len() == PAGE);
        let next = last.map(|w| (w.created_at, w.id.clone()));
        for flow in waiting.into_iter().filter(|w| !ids.contains(&w.id)) {
            // Also the resource of a flow that may not run yet is taken: the younger ones wait behind it.
            let first = taken.insert(flow.resource_id.clone());
            if !first || flow.lease_until > now || !names.contains(&flow.name.as_str()) {
                continue;
            }
            if candidates.len() >= room.all {
                break 'pages;
            }
            if !shares.take(&flow.share) {
                continue;
            }
            candidates.push(flow);
        }
        let Some((at, id)) = next.filter(|_| candidates.len() < room.all) else {
            break;
        };
        let same_moment = all([eq("created_at", at), gt("id", id)]);
        rest = any([gt("created_at", at), same_moment]);
    }
    let busy = busy(tx, &candidates, now)?;
    let mut claimed = Vec::new();
    for flow in candidates {
        if busy.contains(&flow.resource_id) {
            continue;
        }
        let unchanged = all([
            eq("id", &flow.id),
            eq("owner", &flow.owner),
            eq("lease_until", flow.lease_until),
        ]);
        let values = [set("owner", owner), set("lease_until", now.plus(lease))];
        if tx.update::<FlowRow>(unchanged, &values)? == 1
            && let Some(row) = tx.find::<FlowRow>(eq("id", &flow.id))?
        {
            claimed.push(row);
        }
    }
    Ok(claimed)
}

/// Locks the resources of flows against other engines, and gives those that one of them took meanwhile: for a younger
/// flow, say, because the transaction that submitted the older one ended later.
fn busy(tx: &mut Tx, flows: &[Waiting], now: Timestamp) -> Result<HashSet<String>> {
    if flows.is_empty() || tx.dialect() == oslo_db::Dialect::Sqlite {
        return Ok(HashSet::new());
    }
    tx.lock_names(flows.iter().map(|f| format!("flows:{}", f.resource_id)))?;
    let running = tx.select::<Waiting>(all([ne("owner", ""), gt("lease_until", now)]))?;
    Ok(running.into_iter().map(|w| w.resource_id).collect())
}

/// Frees what earlier lives on the same host held; says how many.
pub(crate) fn steal(tx: &mut Tx, host: &str, owner: &str) -> Result<u64> {
    let earlier = all([prefix("owner", &format!("{host}:")), ne("owner", owner)]);
    tx.update::<FlowRow>(
        earlier,
        &[set("owner", ""), set("lease_until", Timestamp(0))],
    )
}

/// Renews the lease; false if it was lost.
pub(crate) fn renew(tx: &mut Tx, id: &str, owner: &str, lease: Duration) -> Result<bool> {
    let values = [set("lease_until", Timestamp::now().plus(lease))];
    Ok(tx.update::<FlowRow>(all([eq("id", id), eq("owner", owner)]), &values)? == 1)
}

/// Saves everything a step changed, in one write; false if the lease was lost. `row.owner` may be empty then: a
/// flow that waits until `row.lease_until`.
pub(crate) fn save(tx: &mut Tx, row: &FlowRow, owner: &str) -> Result<bool> {
    let values = [
        set("state_json", &row.state_json),
        set("step", row.step),
        set("direction", row.direction),
        set("attempts", row.attempts),
        set("owner", &row.owner),
        set("lease_until", row.lease_until),
        set("error_json", row.error_json.clone()),
        set("updated_at", Timestamp::now()),
    ];
    Ok(tx.update::<FlowRow>(all([eq("id", &row.id), eq("owner", owner)]), &values)? == 1)
}

/// Forgets a finished flow.
pub(crate) fn finish(tx: &mut Tx, id: &str, owner: &str) -> Result<bool> {
    Ok(tx.delete::<FlowRow>(all([eq("id", id), eq("owner", owner)]))? == 1)
}

/// How many flows of these names are not finished.
pub(crate) fn pending(tx: &mut Tx, names: &[&'static str]) -> Result<u64> {
    tx.count::<FlowRow>(is_in("name", names.iter()))
}

/// An error as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: String,
    message: String,
    class: Option<String>,
    log: String,
}

pub(crate) fn error_to_json(error: &Error) -> Result<String> {
    Ok(serde_json::to_string(&Kept {
        kind: error.kind().name().to_string(),
        message: error.message().to_string(),
        class: error.error_class().map(str::to_string),
        log: error.log_message().to_string(),
    })?)
}

pub(crate) fn error_from_json(json: Option<&str>) -> Error {
    let Some(kept) = json.and_then(|j| serde_json::from_str::<Kept>(j).ok()) else {
        return Error::internal("the error of the flow was not kept");
    };
    let mut error = Error::new(Kind::from_name(&kept.kind), &kept.message);
    if kept.log != kept.message {
        error = error.log(kept.log);
    }
    match kept.class {
        Some(class) => error.class(class),
        None => error,
    }
}
