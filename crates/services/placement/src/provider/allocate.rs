//! Allocations: who takes how much from whom. Capacity is checked here, inside the one serial transaction.

use super::{CONCURRENT, bump, get};
use crate::db::revision::Change;
use crate::db::{AllocationRow, ConsumerRow, InventoryRow, ProviderRow};
use crate::provider::inventory;
use base::{Error, Result};
use oslo_db::{Tx, eq, is_in, set};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What one consumer is to hold from now on; nothing at all removes it.
#[derive(Clone, Debug)]
pub struct Claim {
    pub consumer: String,
    /// Provider, class, amount.
    pub amounts: BTreeMap<String, BTreeMap<String, i64>>,
    pub project_id: String,
    pub user_id: String,
    /// From 1.38 on; `None` leaves what is there.
    pub consumer_type: Option<String>,
    /// From 1.28 on: the generation the caller has seen, null for a new consumer. `None` does not ask.
    pub generation: Option<Option<i64>>,
}

fn refused(words: impl std::fmt::Display) -> Error {
    Error::conflict(format!("Unable to allocate inventory: {words}"))
}

/// Replaces what these consumers hold, all or nothing.
pub fn replace(tx: &mut Tx, change: &mut Change, claims: &[Claim]) -> Result<()> {
    check_names(tx, claims)?;
    let mut touched: BTreeSet<String> = BTreeSet::new();
    for claim in claims {
        ensure_consumer(tx, change, claim)?;
        let held = tx.select::<AllocationRow>(eq("consumer", &claim.consumer))?;
        for row in &held {
            change.touch(&row.provider);
            if claim.amounts.is_empty() {
                touched.insert(row.provider.clone());
            }
        }
        tx.delete::<AllocationRow>(eq("consumer", &claim.consumer))?;
    }
    check_capacity(tx, claims)?;
    for claim in claims {
        let mut rows = Vec::new();
        for (provider, resources) in &claim.amounts {
            touched.insert(provider.clone());
            rows.extend(resources.iter().map(|(class, used)| AllocationRow {
                consumer: claim.consumer.clone(),
                provider: provider.clone(),
                class: class.clone(),
                used: *used,
                updated_at: change.now,
            }));
        }
        tx.insert_all(&rows)?;
        if rows.is_empty() {
            tx.delete::<ConsumerRow>(eq("id", &claim.consumer))?;
        }
    }
    for id in touched {
        let row = get(tx, &id)?;
        bump(tx, change, &row)?;
    }
    Ok(())
}

/// 404 if the consumer holds nothing.
pub fn release(tx: &mut Tx, change: &mut Change, consumer: &str) -> Result<()> {
    let held = tx.select::<AllocationRow>(eq("consumer", consumer))?;
    if held.is_empty() {
        return Err(Error::not_found(format!(
            "No allocations for consumer '{consumer}'"
        )));
    }
    for row in &held {
        change.touch(&row.provider);
    }
    tx.delete::<AllocationRow>(eq("consumer", consumer))?;
    tx.delete::<ConsumerRow>(eq("id", consumer))?;
    Ok(())
}

fn check_names(tx: &mut Tx, claims: &[Claim]) -> Result<()> {
    let providers: BTreeSet<&String> = claims.iter().flat_map(|c| c.amounts.keys()).collect();
    let rows = tx.select::<ProviderRow>(is_in("id", providers.iter().copied()))?;
    let have: BTreeSet<&String> = rows.iter().map(|r| &r.id).collect();
    if let Some(missing) = providers.iter().find(|p| !have.contains(**p)) {
        return Err(Error::bad_request(format!(
            "Allocation for resource provider '{missing}' that does not exist."
        )));
    }
    let classes = claims
        .iter()
        .flat_map(|c| c.amounts.values())
        .flat_map(BTreeMap::keys);
    inventory::check_classes(tx, classes, "Unable to allocate inventory for consumer")
}

fn ensure_consumer(tx: &mut Tx, change: &Change, claim: &Claim) -> Result<()> {
    let shown = |g: Option<i64>| g.map_or("null".to_string(), |g| g.to_string());
    let conflict = |expected: Option<i64>, got: Option<i64>| {
        Error::conflict(format!(
            "consumer generation conflict - expected {} but got {}",
            shown(expected),
            shown(got)
        ))
        .class(CONCURRENT)
    };
    let Some(old) = tx.find::<ConsumerRow>(eq("id", &claim.consumer))? else {
        if let Some(Some(got)) = claim.generation {
            return Err(conflict(None, Some(got)));
        }
        return tx.insert(&ConsumerRow {
            id: claim.consumer.clone(),
            generation: 1,
            project_id: claim.project_id.clone(),
            user_id: claim.user_id.clone(),
            consumer_type: claim.consumer_type.clone(),
            created_at: change.now,
            updated_at: change.now,
        });
    };
    if let Some(got) = claim.generation
        && got != Some(old.generation)
    {
        return Err(conflict(Some(old.generation), got));
    }
    let values = [
        set("generation", old.generation + 1),
        set("project_id", &claim.project_id),
        set("user_id", &claim.user_id),
        set(
            "consumer_type",
            claim.consumer_type.clone().or(old.consumer_type),
        ),
        set("updated_at", change.now),
    ];
    tx.update::<ConsumerRow>(eq("id", &claim.consumer), &values)?;
    Ok(())
}

fn check_capacity(tx: &mut Tx, claims: &[Claim]) -> Result<()> {
    let providers: BTreeSet<&String> = claims.iter().flat_map(|c| c.amounts.keys()).collect();
    let rows = tx.select::<InventoryRow>(is_in("provider", providers.iter().copied()))?;
    let stock: HashMap<(&str, &str), &InventoryRow> = rows
        .iter()
        .map(|r| ((r.provider.as_str(), r.class.as_str()), r))
        .collect();
    let used = crate::db::usage::used(tx, is_in("provider", providers.iter().copied()))?;
    let mut used: HashMap<(&str, &str), i64> = used
        .iter()
        .map(|(p, c, n)| ((p.as_str(), c.as_str()), *n))
        .collect();
    for claim in claims {
        for (provider, resources) in &claim.amounts {
            for (class, amount) in resources {
                let key = (provider.as_str(), class.as_str());
                let row = stock.get(&key).ok_or_else(|| {
                    refused(format!(
                        "Inventory for '{class}' on resource provider '{provider}' invalid."
                    ))
                })?;
                if *amount < row.min_unit
                    || *amount > row.max_unit
                    || amount % row.step_size.max(1) != 0
                {
                    return Err(refused(format!(
                        "Unable to create allocation for '{class}' on resource provider '{provider}'. \
                         The requested amount would violate inventory constraints."
                    )));
                }
                let capacity = ((row.total - row.reserved) as f64 * row.allocation_ratio) as i64;
                let taken = used.entry(key).or_insert(0);
                *taken = taken.saturating_add(*amount);
                if *taken > capacity {
                    return Err(refused(format!(
                        "Unable to create allocation for '{class}' on resource provider '{provider}'. \
                         The requested amount would exceed the capacity."
                    )));
                }
            }
        }
    }
    Ok(())
}
