//! Server groups: affinity and anti-affinity. Members are the instances that name the group.

use base::{Json, Result, Timestamp};
use oslo_db::sea_query::{Expr, Query};
use oslo_db::{Tx, all, eq, is_null};
use serde_json::{Map, Value};

use super::instances::InstanceRow;

oslo_db::table! {
    /// A group.
    pub struct ServerGroupRow in "server_groups" {
        pub id: String,
        pub project_id: String,
        pub user_id: String,
        pub name: String,
        pub policy: String,
        pub rules: Json<Map<String, Value>>,
        pub created_at: Timestamp,
    }
}

/// The group's living members.
pub fn members(tx: &mut Tx, group_id: &str) -> Result<Vec<InstanceRow>> {
    tx.select_sorted(
        all([eq("server_group_id", group_id), is_null("deleted_at")]),
        &[("created_at", base::Dir::Asc)],
        None,
    )
}

/// Keeps other transactions that do the same waiting until this one ends.
pub fn hold(tx: &mut Tx, group_id: &str) -> Result<()> {
    let same = Expr::col("name");
    let touch = Query::update()
        .table("server_groups")
        .value("name", same)
        .cond_where(eq("id", group_id))
        .to_owned();
    tx.execute(&touch).map(drop)
}
