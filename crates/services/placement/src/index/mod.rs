//! All providers in memory: what listings and allocation candidates are computed from.
//!
//! The database is the truth. Before each use the index asks it for the revision (one row) and loads only the
//! providers that changed since, so it is right in every process without any message between them.

mod load;

pub use load::{Delta, load_one, load_since};

use base::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Providers with this trait lend their inventory to every tree of their aggregates.
pub const SHARING: &str = "MISC_SHARES_VIA_AGGREGATE";

#[derive(Clone, Debug)]
pub struct Inventory {
    pub total: i64,
    pub reserved: i64,
    pub min_unit: i64,
    pub max_unit: i64,
    pub step_size: i64,
    pub allocation_ratio: f64,
    pub used: i64,
    pub updated_at: Timestamp,
}

impl Inventory {
    /// What may be allocated in all.
    pub fn capacity(&self) -> i64 {
        ((self.total - self.reserved) as f64 * self.allocation_ratio) as i64
    }

    /// Whether one allocation of `amount` may be added.
    pub fn fits(&self, amount: i64) -> bool {
        amount >= self.min_unit
            && amount <= self.max_unit
            && amount % self.step_size == 0
            && self.used + amount <= self.capacity()
    }
}

#[derive(Clone, Debug)]
pub struct Provider {
    pub id: String,
    pub name: String,
    pub generation: i64,
    pub parent: Option<String>,
    pub root: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub inventories: BTreeMap<String, Inventory>,
    pub traits: BTreeSet<String>,
    pub aggregates: BTreeSet<String>,
}

impl Provider {
    pub fn fits(&self, class: &str, amount: i64) -> bool {
        self.inventories.get(class).is_some_and(|i| i.fits(amount))
    }

    pub fn is_sharing(&self) -> bool {
        self.traits.contains(SHARING)
    }

    /// The newest change among the provider's inventories; its own if it has none.
    pub fn inventory_time(&self) -> Timestamp {
        self.inventories
            .values()
            .map(|i| i.updated_at)
            .max()
            .unwrap_or(self.updated_at)
    }
}

#[derive(Default)]
pub struct Index {
    pub revision: i64,
    providers: HashMap<String, Arc<Provider>>,
    trees: BTreeMap<String, BTreeMap<String, Arc<Provider>>>,
    by_aggregate: HashMap<String, BTreeSet<String>>,
    sharing: BTreeSet<String>,
}

impl Index {
    pub fn get(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.get(id)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.trees.values().flat_map(BTreeMap::values)
    }

    /// Trees by the id of their root.
    pub fn trees(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, Arc<Provider>>)> {
        self.trees.iter()
    }

    pub fn tree(&self, root: &str) -> impl Iterator<Item = &Arc<Provider>> {
        self.trees.get(root).into_iter().flat_map(BTreeMap::values)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Provider>> {
        self.all().find(|p| p.name == name)
    }

    pub fn sharing(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.sharing.iter().filter_map(|id| self.providers.get(id))
    }

    /// Whether any provider lends to other trees.
    pub fn is_shared(&self) -> bool {
        !self.sharing.is_empty()
    }

    /// The roots of the trees that a sharing provider lends to: every tree with a provider in one of its aggregates.
    pub fn anchors<'a>(&'a self, sharing: &'a Provider) -> impl Iterator<Item = &'a str> {
        let members = sharing
            .aggregates
            .iter()
            .filter_map(|a| self.by_aggregate.get(a))
            .flatten();
        members
            .filter_map(|id| self.providers.get(id))
            .map(|p| p.root.as_str())
    }

    /// Takes in what was loaded; older news than what is here already are ignored.
    pub fn apply(&mut self, delta: Delta) {
        if delta.revision <= self.revision {
            return;
        }
        for id in &delta.removed {
            self.forget(id);
        }
        for provider in delta.providers {
            self.forget(&provider.id);
            for aggregate in &provider.aggregates {
                self.by_aggregate
                    .entry(aggregate.clone())
                    .or_default()
                    .insert(provider.id.clone());
            }
            if provider.is_sharing() {
                self.sharing.insert(provider.id.clone());
            }
            let provider = Arc::new(provider);
            let tree = self.trees.entry(provider.root.clone()).or_default();
            tree.insert(provider.id.clone(), Arc::clone(&provider));
            self.providers.insert(provider.id.clone(), provider);
        }
        self.revision = delta.revision;
    }

    fn forget(&mut self, id: &str) {
        let Some(old) = self.providers.remove(id) else {
            return;
        };
        if let Some(tree) = self.trees.get_mut(&old.root) {
            tree.remove(id);
            if tree.is_empty() {
                self.trees.remove(&old.root);
            }
        }
        for aggregate in &old.aggregates {
            if let Some(members) = self.by_aggregate.get_mut(aggregate) {
                members.remove(id);
                if members.is_empty() {
                    self.by_aggregate.remove(aggregate);
                }
            }
        }
        self.sharing.remove(id);
    }
}
