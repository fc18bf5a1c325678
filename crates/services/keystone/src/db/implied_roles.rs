//! Which role brings which other role along.

use base::Result;
use oslo_db::{Tx, everything};
use std::collections::BTreeMap;

oslo_db::table! {
    /// Who holds `prior_role_id` holds `implied_role_id` too.
    pub(crate) struct ImpliedRoleRow in "identity_implied_roles" {
        pub prior_role_id: String,
        pub implied_role_id: String,
    }
}

/// All rules, by prior role.
pub(crate) fn map(tx: &mut Tx) -> Result<BTreeMap<String, Vec<String>>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in tx.select::<ImpliedRoleRow>(everything())? {
        map.entry(row.prior_role_id)
            .or_default()
            .push(row.implied_role_id);
    }
    Ok(map)
}
