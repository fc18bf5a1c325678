//! Keypairs belong to users, not projects.

use base::Timestamp;

oslo_db::table! {
    /// A keypair; the private half was shown once and never kept.
    pub struct KeypairRow in "keypairs" {
        pub id: String,
        pub number: i64,
        pub user_id: String,
        pub name: String,
        pub fingerprint: String,
        pub public_key: String,
        pub r#type: String,
        pub created_at: Timestamp,
    }
}
