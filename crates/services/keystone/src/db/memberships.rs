//! Who is in which group.

use base::{Result, Timestamp};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A user in a group.
    #[derive(Default)]
    pub(crate) struct MembershipRow in "identity_memberships" {
        pub user_id: String,
        pub group_id: String,
        /// The identity provider that says so, until a time, if it is not the cloud that does.
        pub idp_id: Option<String>,
        pub expires_at: Option<Timestamp>,
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
