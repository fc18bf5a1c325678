//! Host aggregates; one with `availability_zone` in its metadata makes a zone.

use base::{Json, Result, Timestamp};
use oslo_db::{Tx, everything};
use std::collections::{BTreeMap, HashMap};

oslo_db::table! {
    /// An aggregate. Its API id is `number`.
    pub struct AggregateRow in "aggregates" {
        pub number: i64,
        pub id: String,
        pub name: String,
        pub metadata: Json<BTreeMap<String, String>>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

oslo_db::table! {
    /// A host of an aggregate.
    pub struct AggregateHostRow in "aggregate_hosts" {
        pub aggregate_number: i64,
        pub host: String,
        pub created_at: Timestamp,
    }
}

/// Every aggregate with its hosts.
pub fn with_hosts(tx: &mut Tx) -> Result<Vec<(AggregateRow, Vec<String>)>> {
    let mut hosts: HashMap<i64, Vec<String>> = HashMap::new();
    for row in tx.select::<AggregateHostRow>(everything())? {
        hosts
            .entry(row.aggregate_number)
            .or_default()
            .push(row.host);
    }
    let rows =
        tx.select_sorted::<AggregateRow>(everything(), &[("number", base::Dir::Asc)], None)?;
    Ok(rows
        .into_iter()
        .map(|a| {
            let h = hosts.remove(&a.number).unwrap_or_default();
            (a, h)
        })
        .collect())
}

/// The zone of each host that an aggregate puts into one.
pub fn zones(tx: &mut Tx) -> Result<HashMap<String, String>> {
    let mut zones = HashMap::new();
    for (aggregate, hosts) in with_hosts(tx)? {
        if let Some(zone) = aggregate.metadata.0.get("availability_zone") {
            zones.extend(hosts.into_iter().map(|h| (h, zone.clone())));
        }
    }
    Ok(zones)
}
