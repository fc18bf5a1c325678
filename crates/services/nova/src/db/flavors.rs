//! Flavors and who may use the private ones.

use base::{Json, Timestamp};
use std::collections::BTreeMap;

oslo_db::table! {
    /// A flavor.
    pub struct FlavorRow in "flavors" {
        pub id: String,
        pub flavor_id: String,
        pub name: String,
        pub memory_mb: i64,
        pub vcpus: i64,
        pub root_gb: i64,
        pub ephemeral_gb: i64,
        pub swap: i64,
        pub rxtx_factor: f64,
        pub is_public: bool,
        pub disabled: bool,
        pub description: Option<String>,
        pub extra_specs: Json<BTreeMap<String, String>>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

oslo_db::table! {
    /// A project that may use a private flavor.
    pub struct FlavorAccessRow in "flavor_access" {
        pub flavor_id: String,
        pub project_id: String,
    }
}
