//! The table of messages to users: what became of work that was accepted and then failed.

use base::{Error, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, le};

oslo_db::table! {
    /// A message.
    pub struct MessageRow in "messages" {
        pub id: String,
        pub project_id: String,
        pub request_id: String,
        pub resource_type: String,
        pub resource_uuid: Option<String>,
        pub action_id: String,
        pub detail_id: String,
        pub event_id: String,
        pub message_level: String,
        pub explanation: Option<String>,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }
}

/// No such message, or none that this caller may see.
pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Message {id} could not be found."))
}

/// The message, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<MessageRow> {
    let own = all([eq("id", id), crate::db::volumes::scope(ctx)]);
    tx.find::<MessageRow>(own)?.ok_or_else(|| not_found(id))
}

/// Removes what was kept as long as was promised; how many.
pub fn reap(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    tx.delete::<MessageRow>(le("expires_at", now))
}
