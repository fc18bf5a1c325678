//! Traits and resource classes: the standard ones are ours to define, custom ones start with `CUSTOM_`.

use crate::db::{ClassRow, TraitRow};
use base::{Result, Timestamp};
use oslo_db::{Tx, everything};
use std::collections::HashSet;

/// os-traits and os-resource-classes as data.
const TRAITS: &str = include_str!("../data/traits.txt");
const CLASSES: &str = include_str!("../data/resource_classes.txt");

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
}

pub fn standard_traits() -> impl Iterator<Item = &'static str> {
    lines(TRAITS)
}

pub fn standard_classes() -> impl Iterator<Item = &'static str> {
    lines(CLASSES)
}

pub fn is_standard_class(name: &str) -> bool {
    standard_classes().any(|c| c == name)
}

/// `CUSTOM_` and at least one of `A-Z`, `0-9`, `_`.
pub fn is_custom(name: &str) -> bool {
    let rest = name.strip_prefix("CUSTOM_").unwrap_or("");
    !rest.is_empty() && is_name(rest)
}

/// Only `A-Z`, `0-9`, `_`.
pub fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Adds the standard names that the database does not have yet.
pub fn ensure_standard(tx: &mut Tx, now: Timestamp) -> Result<()> {
    let have: HashSet<String> = tx
        .select::<TraitRow>(everything())?
        .into_iter()
        .map(|t| t.name)
        .collect();
    let missing: Vec<TraitRow> = standard_traits()
        .filter(|t| !have.contains(*t))
        .map(|t| TraitRow {
            name: t.to_string(),
            updated_at: now,
        })
        .collect();
    tx.insert_all(&missing)?;
    let have: HashSet<String> = tx
        .select::<ClassRow>(everything())?
        .into_iter()
        .map(|c| c.name)
        .collect();
    let missing: Vec<ClassRow> = standard_classes()
        .filter(|c| !have.contains(*c))
        .map(|c| ClassRow {
            name: c.to_string(),
            updated_at: now,
        })
        .collect();
    tx.insert_all(&missing)
}
