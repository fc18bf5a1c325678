//! Inventories: what a provider has.

use crate::db::revision::Change;
use crate::db::{AllocationRow, ClassRow, InventoryRow};
use crate::names::standard_classes;
use base::{Error, Result, Timestamp};
use oslo_db::{Tx, all, eq, is_in};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// An inventory as callers send it; the schema has checked the ranges.
#[derive(Clone, Debug, Deserialize)]
pub struct InventoryBody {
    pub total: i64,
    #[serde(default)]
    pub reserved: i64,
    #[serde(default = "one")]
    pub min_unit: i64,
    #[serde(default = "most")]
    pub max_unit: i64,
    #[serde(default = "one")]
    pub step_size: i64,
    #[serde(default = "ratio")]
    pub allocation_ratio: f64,
}

fn one() -> i64 {
    1
}

fn most() -> i64 {
    i64::from(i32::MAX)
}

fn ratio() -> f64 {
    1.0
}

impl InventoryBody {
    pub fn row(&self, provider: &str, class: &str, now: Timestamp) -> InventoryRow {
        InventoryRow {
            provider: provider.to_string(),
            class: class.to_string(),
            total: self.total,
            reserved: self.reserved,
            min_unit: self.min_unit,
            max_unit: self.max_unit,
            step_size: self.step_size,
            allocation_ratio: self.allocation_ratio,
            updated_at: now,
        }
    }

    /// `reserved` may equal `total` from 1.26 on.
    pub fn check(&self, verb: &str, provider: &str, class: &str, may_equal: bool) -> Result<()> {
        let (wrong, words) = if may_equal {
            (self.reserved > self.total, "greater than")
        } else {
            (self.reserved >= self.total, "greater than or equal to")
        };
        if !wrong {
            return Ok(());
        }
        Err(Error::bad_request(format!(
            "Unable to {verb} inventory for resource provider {provider}: Invalid inventory for '{class}' \
             on resource provider '{provider}'. The reserved value is {words} total."
        )))
    }
}

/// 400 if the class is not known.
pub fn check_classes<'a>(
    tx: &mut Tx,
    names: impl Iterator<Item = &'a String>,
    prefix: &str,
) -> Result<()> {
    let wanted: BTreeSet<&String> = names.collect();
    if let Some(missing) = unknown_class(tx, &wanted)? {
        return Err(Error::bad_request(format!(
            "{prefix}: No such resource class {missing}."
        )));
    }
    Ok(())
}

fn unknown_class(tx: &mut Tx, wanted: &BTreeSet<&String>) -> Result<Option<String>> {
    let rows = tx.select::<ClassRow>(is_in("name", wanted.iter().copied()))?;
    let have: BTreeSet<&String> = rows.iter().map(|r| &r.name).collect();
    Ok(wanted
        .iter()
        .find(|n| !have.contains(**n))
        .map(|n| n.to_string()))
}

/// 409 if any of the classes is allocated from the provider.
pub fn check_unused(tx: &mut Tx, provider: &str, classes: &[String]) -> Result<()> {
    let theirs = all([eq("provider", provider), is_in("class", classes.iter())]);
    let used: BTreeSet<String> = tx
        .select::<AllocationRow>(theirs)?
        .into_iter()
        .map(|a| a.class)
        .collect();
    if used.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = classes
        .iter()
        .filter(|c| used.contains(*c))
        .map(String::as_str)
        .collect();
    Err(Error::conflict(format!(
        "Inventory for '{}' on resource provider '{provider}' in use.",
        names.join(", ")
    ))
    .class("placement.inventory.inuse"))
}

/// Makes the provider's inventories exactly these, without asking who uses what falls away.
pub fn write_all(
    tx: &mut Tx,
    change: &mut Change,
    provider: &str,
    wanted: &BTreeMap<String, InventoryBody>,
) -> Result<()> {
    tx.delete::<InventoryRow>(eq("provider", provider))?;
    let rows: Vec<InventoryRow> = wanted
        .iter()
        .map(|(class, body)| body.row(provider, class, change.now))
        .collect();
    tx.insert_all(&rows)?;
    change.touch(provider);
    Ok(())
}

/// The classes that `wanted` no longer has.
pub fn dropped(
    tx: &mut Tx,
    provider: &str,
    wanted: &BTreeMap<String, InventoryBody>,
) -> Result<Vec<String>> {
    let mut rows = tx.select::<InventoryRow>(eq("provider", provider))?;
    rows.sort_by_key(|r| {
        standard_classes()
            .position(|c| c == r.class)
            .unwrap_or(usize::MAX)
    });
    Ok(rows
        .into_iter()
        .map(|r| r.class)
        .filter(|c| !wanted.contains_key(c))
        .collect())
}
