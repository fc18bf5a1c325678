//! The tables. Every write first takes the one row of `placement_revision` and stamps the providers it touched with
//! the next number: writes are thereby serial, and a reader of any process knows what its index lacks.

pub mod revision;
pub mod usage;

use base::Timestamp;
use oslo_db::Migration;

pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-11-23-initial",
    sql: include_str!("../../migrations/2026-11-23-initial.sql"),
}];

oslo_db::table! {
    pub struct RevisionRow in "placement_revision" { pub id: i64, pub revision: i64 }

    pub struct ProviderRow in "resource_providers" {
        pub id: String, pub name: String, pub generation: i64, pub parent: Option<String>,
        pub root: String, pub revision: i64, pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct RemovedRow in "removed_providers" { pub id: String, pub revision: i64 }

    pub struct InventoryRow in "inventories" {
        pub provider: String, pub class: String, pub total: i64, pub reserved: i64,
        pub min_unit: i64, pub max_unit: i64, pub step_size: i64, pub allocation_ratio: f64,
        pub updated_at: Timestamp,
    }

    pub struct ProviderTraitRow in "resource_provider_traits" { pub provider: String, pub r#trait: String }

    pub struct ProviderAggregateRow in "resource_provider_aggregates" {
        pub provider: String, pub aggregate: String,
    }

    pub struct TraitRow in "traits" { pub name: String, pub updated_at: Timestamp }

    pub struct ClassRow in "resource_classes" { pub name: String, pub updated_at: Timestamp }

    pub struct ConsumerRow in "consumers" {
        pub id: String, pub generation: i64, pub project_id: String, pub user_id: String,
        pub consumer_type: Option<String>, pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct AllocationRow in "allocations" {
        pub consumer: String, pub provider: String, pub class: String, pub used: i64,
        pub updated_at: Timestamp,
    }
}
