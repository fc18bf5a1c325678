//! Options of single domains.

use base::{Dir, Result};
use oslo_db::{Cond, Tx, all, eq};

oslo_db::table! {
    /// An option: JSON, or a sealed secret.
    pub(crate) struct DomainConfigRow in "identity_domain_configs" {
        pub domain_id: String,
        pub section: String,
        pub name: String,
        pub stored: String,
        pub sealed: bool,
    }
}

/// All of a domain, of a section, or one.
pub(crate) fn cond(domain_id: &str, section: Option<&str>, name: Option<&str>) -> Cond {
    let section = section.map(|s| eq("section", s));
    let name = name.map(|n| eq("name", n));
    let parts = [Some(eq("domain_id", domain_id)), section, name];
    all(parts.into_iter().flatten())
}

pub(crate) fn list(tx: &mut Tx, cond: Cond) -> Result<Vec<DomainConfigRow>> {
    tx.select_sorted(cond, &[("section", Dir::Asc), ("name", Dir::Asc)], None)
}
