//! Keys of tokens and credentials, sealed, for all processes on this database.

use base::Dir;
use base::Result;
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A key: number 0 is staged, the highest is primary.
    pub(crate) struct KeyRow in "identity_keys" {
        pub purpose: String,
        pub number: i64,
        pub sealed: String,
    }
}

/// The keys for a purpose, primary first and staged last.
pub(crate) fn list(tx: &mut Tx, purpose: &str) -> Result<Vec<KeyRow>> {
    tx.select_sorted(eq("purpose", purpose), &[("number", Dir::Desc)], None)
}

/// Puts these in the place of all there are.
pub(crate) fn replace(tx: &mut Tx, purpose: &str, rows: &[KeyRow]) -> Result<()> {
    tx.delete::<KeyRow>(eq("purpose", purpose))?;
    tx.insert_all(rows)
}
