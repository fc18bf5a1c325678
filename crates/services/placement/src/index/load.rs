//! From rows to providers: those that changed after a revision.

use super::{Inventory, Provider};
use crate::db::usage::used;
use crate::db::{
    InventoryRow, ProviderAggregateRow, ProviderRow, ProviderTraitRow, RemovedRow, RevisionRow,
};
use base::{Error, Result};
use oslo_db::{Cond, Tx, eq, everything, gt, is_in};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// News for an index.
pub struct Delta {
    pub revision: i64,
    pub providers: Vec<Provider>,
    pub removed: Vec<String>,
}

/// Beyond so many changed providers, whole tables are read instead of lists of ids.
const MANY: usize = 500;

/// `None` if nothing changed after `since`.
pub fn load_since(tx: &mut Tx, since: i64) -> Result<Option<Delta>> {
    let held = tx.find::<RevisionRow>(eq("id", 1i64))?;
    let revision = held
        .ok_or_else(|| Error::internal("placement_revision is empty"))?
        .revision;
    if revision <= since {
        return Ok(None);
    }
    let rows = tx.select::<ProviderRow>(gt("revision", since))?;
    let removed = tx.select::<RemovedRow>(gt("revision", since))?;
    let mut found: HashMap<String, Provider> = rows.into_iter().map(provider).collect();
    fill(tx, &mut found)?;
    let removed = removed.into_iter().map(|r| r.id).collect();
    Ok(Some(Delta {
        revision,
        providers: found.into_values().collect(),
        removed,
    }))
}

/// One provider as it is inside this transaction.
pub fn load_one(tx: &mut Tx, id: &str) -> Result<Option<Provider>> {
    let Some(row) = tx.find::<ProviderRow>(eq("id", id))? else {
        return Ok(None);
    };
    let mut found: HashMap<String, Provider> = [provider(row)].into();
    fill(tx, &mut found)?;
    Ok(found.into_values().next())
}

fn provider(row: ProviderRow) -> (String, Provider) {
    let provider = Provider {
        id: row.id.clone(),
        name: row.name,
        generation: row.generation,
        parent: row.parent,
        root: row.root,
        created_at: row.created_at,
        updated_at: row.updated_at,
        inventories: BTreeMap::new(),
        traits: BTreeSet::new(),
        aggregates: BTreeSet::new(),
    };
    (row.id, provider)
}

fn fill(tx: &mut Tx, found: &mut HashMap<String, Provider>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = found.keys().cloned().collect();
    let theirs = || -> Cond {
        if ids.len() > MANY {
            everything()
        } else {
            is_in("provider", ids.iter())
        }
    };
    for row in tx.select::<InventoryRow>(theirs())? {
        let Some(provider) = found.get_mut(&row.provider) else {
            continue;
        };
        let inventory = Inventory {
            total: row.total,
            reserved: row.reserved,
            min_unit: row.min_unit,
            max_unit: row.max_unit,
            step_size: row.step_size.max(1),
            allocation_ratio: row.allocation_ratio,
            used: 0,
            updated_at: row.updated_at,
        };
        provider.inventories.insert(row.class, inventory);
    }
    for row in tx.select::<ProviderTraitRow>(theirs())? {
        if let Some(provider) = found.get_mut(&row.provider) {
            provider.traits.insert(row.r#trait);
        }
    }
    for row in tx.select::<ProviderAggregateRow>(theirs())? {
        if let Some(provider) = found.get_mut(&row.provider) {
            provider.aggregates.insert(row.aggregate);
        }
    }
    for (provider, class, used) in used(tx, theirs())? {
        let provider = found.get_mut(&provider);
        if let Some(inventory) = provider.and_then(|p| p.inventories.get_mut(&class)) {
            inventory.used = used;
        }
    }
    Ok(())
}
