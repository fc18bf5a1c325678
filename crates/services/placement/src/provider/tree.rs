//! Providers and where they hang.

use super::{get, not_found};
use crate::db::revision::Change;
use crate::db::{AllocationRow, InventoryRow, ProviderAggregateRow, ProviderRow, ProviderTraitRow};
use base::{Error, Result};
use oslo_db::{Tx, all, eq, ne, set};
use std::collections::HashMap;

fn taken(what: &str, value: &str) -> Error {
    Error::conflict(format!(
        "Conflicting resource provider {what}: {value} already exists."
    ))
    .class("placement.duplicate_name")
}

pub fn create(
    tx: &mut Tx,
    change: &mut Change,
    id: &str,
    name: &str,
    parent: Option<&str>,
) -> Result<ProviderRow> {
    let refused = |why: &str| {
        Error::bad_request(format!(
            "Unable to create resource provider \"{name}\", {id}: {why}"
        ))
    };
    let root = match parent {
        None => id.to_string(),
        Some(parent) if parent == id => {
            return Err(refused(
                "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.",
            ));
        }
        Some(parent) => {
            let found = tx.find::<ProviderRow>(eq("id", parent))?;
            found
                .ok_or_else(|| refused("parent provider UUID does not exist."))?
                .root
        }
    };
    if tx.exists::<ProviderRow>(eq("id", id))? {
        return Err(taken("uuid", id));
    }
    if tx.exists::<ProviderRow>(eq("name", name))? {
        return Err(taken("name", name));
    }
    let row = ProviderRow {
        id: id.to_string(),
        name: name.to_string(),
        generation: 0,
        parent: parent.map(str::to_string),
        root,
        revision: 0,
        created_at: change.now,
        updated_at: change.now,
    };
    tx.insert(&row)?;
    change.touch(id);
    Ok(row)
}

/// `parent`: absent leaves it, `Some(None)` makes the provider a root. `free`: from 1.37 on any move is allowed that
/// makes no loop; before, only the first parent may be set.
pub fn update(
    tx: &mut Tx,
    change: &mut Change,
    id: &str,
    name: &str,
    parent: Option<Option<&str>>,
    free: bool,
) -> Result<ProviderRow> {
    let mut row = get(tx, id)?;
    if tx.exists::<ProviderRow>(all([eq("name", name), ne("id", id)]))? {
        return Err(taken("name", name));
    }
    let refused = |why: &str| {
        Error::bad_request(format!(
            "Unable to save resource provider {id}: Object action update failed because: {why}"
        ))
    };
    let mut values = vec![set("name", name), set("updated_at", change.now)];
    if let Some(parent) = parent
        && parent != row.parent.as_deref()
    {
        if row.parent.is_some() && !free {
            return Err(refused(match parent {
                None => "un-parenting a provider is not currently allowed.",
                Some(_) => "re-parenting a provider is not currently allowed.",
            }));
        }
        let rows = match parent {
            None => family(tx, &row.root)?,
            Some(parent) => {
                let found = tx.find::<ProviderRow>(eq("id", parent))?;
                let found = found.ok_or_else(|| refused("parent provider UUID does not exist."))?;
                let mut rows = family(tx, &row.root)?;
                if found.root != row.root {
                    rows.extend(family(tx, &found.root)?);
                }
                rows
            }
        };
        let below = descendants(&rows, id);
        let root = match parent {
            None => id.to_string(),
            Some(parent) if below.contains(&parent.to_string()) => {
                return Err(refused(
                    "creating loop in the provider tree is not allowed.",
                ));
            }
            Some(parent) => rows
                .iter()
                .find(|r| r.id == parent)
                .map(|r| r.root.clone())
                .ok_or_else(|| not_found(parent))?,
        };
        for member in &below {
            tx.update::<ProviderRow>(eq("id", member), &[set("root", &root)])?;
            change.touch(member);
        }
        values.push(set("parent", parent));
        row.parent = parent.map(str::to_string);
        row.root = root;
    }
    row.name = name.to_string();
    row.updated_at = change.now;
    tx.update::<ProviderRow>(eq("id", id), &values)?;
    change.touch(id);
    Ok(row)
}

fn family(tx: &mut Tx, root: &str) -> Result<Vec<ProviderRow>> {
    tx.select::<ProviderRow>(eq("root", root))
}

/// `top` and everything below it.
fn descendants(rows: &[ProviderRow], top: &str) -> Vec<String> {
    let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
    for row in rows {
        if let Some(parent) = &row.parent {
            children.entry(parent).or_default().push(&row.id);
        }
    }
    let mut found = vec![top.to_string()];
    let mut at = 0;
    while at < found.len() {
        if let Some(below) = children.get(found[at].as_str()) {
            found.extend(below.iter().map(|id| id.to_string()));
        }
        at += 1;
    }
    found
}

pub fn delete(tx: &mut Tx, change: &mut Change, id: &str) -> Result<()> {
    if !tx.exists::<ProviderRow>(eq("id", id))? {
        return Err(Error::not_found(format!(
            "No resource provider with uuid {id} found for delete"
        )));
    }
    if tx.exists::<ProviderRow>(eq("parent", id))? {
        return Err(Error::conflict(format!(
            "Unable to delete parent resource provider {id}: It has child resource providers."
        ))
        .class("placement.resource_provider.cannot_delete_parent"));
    }
    if tx.exists::<AllocationRow>(eq("provider", id))? {
        return Err(Error::conflict(format!(
            "Unable to delete resource provider {id}: Resource provider has allocations."
        ))
        .class("placement.resource_provider.inuse"));
    }
    tx.delete::<InventoryRow>(eq("provider", id))?;
    tx.delete::<ProviderTraitRow>(eq("provider", id))?;
    tx.delete::<ProviderAggregateRow>(eq("provider", id))?;
    tx.delete::<ProviderRow>(eq("id", id))?;
    change.remove(id);
    Ok(())
}
