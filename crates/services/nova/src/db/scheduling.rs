//! Why a server is where it is, or nowhere: the last scheduling of each instance.

use base::{Json, Timestamp};
use serde_json::Value;

oslo_db::table! {
    /// The outcome of a scheduling, for `ferrostack explain server`.
    pub struct SchedulingRow in "scheduling_records" {
        pub instance_id: String,
        pub request_id: String,
        pub outcome: Json<Value>,
        pub created_at: Timestamp,
    }
}
