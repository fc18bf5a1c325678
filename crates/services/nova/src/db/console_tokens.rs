//! Tickets to consoles. Only their hashes are kept.

use base::Timestamp;

oslo_db::table! {
    /// A ticket.
    pub struct ConsoleTokenRow in "console_tokens" {
        pub token_hash: String,
        pub instance_id: String,
        pub console_type: String,
        pub host: String,
        pub port: i64,
        pub internal_access_path: Option<String>,
        pub expires_at: Timestamp,
    }
}
