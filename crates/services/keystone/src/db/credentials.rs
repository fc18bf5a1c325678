//! Credentials: secrets that users keep here for other services. What is in a row is sealed.

use base::{Result, Timestamp};
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A credential.
    pub(crate) struct CredentialRow in "identity_credentials" {
        pub id: String,
        pub user_id: String,
        pub project_id: Option<String>,
        pub r#type: String,
        pub encrypted_blob: String,
        pub created_at: Timestamp,
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<CredentialRow>> {
    tx.find(eq("id", id))
}
