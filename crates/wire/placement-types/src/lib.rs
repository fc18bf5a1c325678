//! Placement's contract as its neighbours use it: inventories, candidates, allocations (microversion 1.39).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The microversion these types are of.
pub const VERSION: &str = "1.39";

/// What a provider has of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// All of it.
    pub total: i64,
    /// What is not for allocation.
    #[serde(default)]
    pub reserved: i64,
    /// The smallest allocation.
    #[serde(default = "one")]
    pub min_unit: i64,
    /// The largest allocation.
    #[serde(default = "most")]
    pub max_unit: i64,
    /// Allocations are multiples of this.
    #[serde(default = "one")]
    pub step_size: i64,
    /// Overcommit.
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

impl Inventory {
    /// `total`, of which all may be taken by one consumer.
    pub fn of(total: i64, reserved: i64, allocation_ratio: f64) -> Inventory {
        Inventory {
            total,
            reserved,
            min_unit: 1,
            max_unit: total,
            step_size: 1,
            allocation_ratio,
        }
    }
}

/// A provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceProvider {
    /// Its id.
    pub uuid: String,
    /// Its name; a compute node's hypervisor host name.
    pub name: String,
    /// Grows with each change of what it has or who takes from it.
    pub generation: i64,
    /// The provider above.
    #[serde(default)]
    pub parent_provider_uuid: Option<String>,
    /// The top of its tree.
    #[serde(default)]
    pub root_provider_uuid: Option<String>,
}

/// Amounts by class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// `{"VCPU": 2}`.
    pub resources: BTreeMap<String, i64>,
}

/// One way to serve a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AllocationRequest {
    /// By provider.
    pub allocations: BTreeMap<String, Resources>,
    /// Suffix of a request group to the providers that serve it.
    #[serde(default)]
    pub mappings: BTreeMap<String, BTreeSet<String>>,
}

/// Capacity and use of a class.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Stock {
    /// What may be allocated in all.
    pub capacity: i64,
    /// What is allocated.
    pub used: i64,
}

/// What a scheduler wants to know of a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProviderSummary {
    /// By class.
    pub resources: BTreeMap<String, Stock>,
    /// Its traits.
    #[serde(default)]
    pub traits: BTreeSet<String>,
    /// The provider above.
    #[serde(default)]
    pub parent_provider_uuid: Option<String>,
    /// The top of its tree.
    #[serde(default)]
    pub root_provider_uuid: Option<String>,
}

/// The answer to a search.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AllocationCandidates {
    /// Each a way to serve the whole request.
    pub allocation_requests: Vec<AllocationRequest>,
    /// Every provider of the trees involved.
    pub provider_summaries: BTreeMap<String, ProviderSummary>,
}

/// What a consumer holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConsumerAllocations {
    /// By provider; empty if the consumer holds nothing.
    pub allocations: BTreeMap<String, Resources>,
    /// For the next write; `None` for a consumer that is not known.
    #[serde(default)]
    pub consumer_generation: Option<i64>,
    /// Whose.
    #[serde(default)]
    pub project_id: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub user_id: Option<String>,
    /// `INSTANCE`, `MIGRATION`.
    #[serde(default)]
    pub consumer_type: Option<String>,
}
