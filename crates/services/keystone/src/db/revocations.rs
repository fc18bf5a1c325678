//! Which tokens are no longer good, although nobody has deleted what they name.

use base::{Result, Timestamp};
use oslo_db::{Tx, ge, lt};
use std::time::Duration;

oslo_db::table! {
    /// Tokens made up to `issued_before` to which everything that is set here applies are revoked.
    pub(crate) struct RevocationRow in "identity_revocations" {
        pub id: String,
        pub audit_id: Option<String>,
        pub user_id: Option<String>,
        pub project_id: Option<String>,
        pub domain_id: Option<String>,
        pub issued_before: Timestamp,
    }
}

/// What is revoked.
pub(crate) enum Revoke<'a> {
    /// One token.
    Token(&'a str),
    /// Everything of a user.
    User(&'a str),
    /// Everything on a project.
    Project(&'a str),
    /// Everything in or on a domain.
    Domain(&'a str),
}

/// Notes a revocation, and forgets those that no token can outlive.
pub(crate) fn add(tx: &mut Tx, what: Revoke<'_>, now: Timestamp, keep: Duration) -> Result<()> {
    let mut row = RevocationRow {
        id: base::new_hex_id(),
        audit_id: None,
        user_id: None,
        project_id: None,
        domain_id: None,
        issued_before: now,
    };
    match what {
        Revoke::Token(id) => row.audit_id = Some(id.to_string()),
        Revoke::User(id) => row.user_id = Some(id.to_string()),
        Revoke::Project(id) => row.project_id = Some(id.to_string()),
        Revoke::Domain(id) => row.domain_id = Some(id.to_string()),
    }
    tx.insert(&row)?;
    tx.delete::<RevocationRow>(lt("issued_before", now.minus(keep)))?;
    Ok(())
}

/// Those that may still matter.
pub(crate) fn since(tx: &mut Tx, oldest: Timestamp) -> Result<Vec<RevocationRow>> {
    tx.select(ge("issued_before", oldest))
}
