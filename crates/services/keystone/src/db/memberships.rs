//! Who is in which group.

use base::Result;
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A user in a group.
    pub(crate) struct MembershipRow in "identity_memberships" {
        pub user_id: String,
        pub group_id: String,
    }
}

/// The ids of a user's groups.
pub(crate) fn groups_of(tx: &mut Tx, user_id: &str) -> Result<Vec<String>> {
    let rows: Vec<MembershipRow> = tx.select(eq("user_id", user_id))?;
    Ok(rows.into_iter().map(|m| m.group_id).collect())
}

/// The ids of a group's users.
pub(crate) fn users_of(tx: &mut Tx, group_id: &str) -> Result<Vec<String>> {
    let rows: Vec<MembershipRow> = tx.select(eq("group_id", group_id))?;
    Ok(rows.into_iter().map(|m| m.user_id).collect())
}
