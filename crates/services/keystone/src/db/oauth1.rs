//! Consumers, and what users let them do. Secrets are sealed with the keys of credentials: signatures need them.

use crate::db::Extra;
use base::{Error, Json, Result, Timestamp};
use oslo_db::{Tx, eq, is_duplicate, is_in, lt};

oslo_db::table! {
    /// A program that users may let act for them.
    pub(crate) struct ConsumerRow in "identity_consumers" {
        pub id: String,
        pub description: Option<String>,
        pub encrypted_secret: String,
        pub extra: Json<Extra>,
    }
    /// What a consumer asks for, until a user agrees or it ends.
    pub(crate) struct RequestTokenRow in "identity_oauth_request_tokens" {
        pub id: String,
        pub consumer_id: String,
        pub project_id: String,
        pub encrypted_secret: String,
        /// What the user tells the consumer, so that it is the one that the user meant.
        pub verifier: Option<String>,
        pub user_id: Option<String>,
        pub role_ids: Json<Vec<String>>,
        pub expires_at: Option<Timestamp>,
    }
    /// What a user agreed to.
    pub(crate) struct AccessTokenRow in "identity_oauth_access_tokens" {
        pub id: String,
        pub consumer_id: String,
        pub project_id: String,
        pub encrypted_secret: String,
        pub user_id: String,
        pub role_ids: Json<Vec<String>>,
        pub expires_at: Option<Timestamp>,
    }
    /// A signed request that was seen: it counts once.
    pub(crate) struct NonceRow in "identity_oauth_nonces" {
        pub id: String,
        pub used_at: Timestamp,
    }
}

pub(crate) fn find_consumer(tx: &mut Tx, id: &str) -> Result<Option<ConsumerRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get_consumer(tx: &mut Tx, id: &str) -> Result<ConsumerRow> {
    find_consumer(tx, id)?.ok_or_else(|| Error::not_found("Consumer not found"))
}

pub(crate) fn get_request_token(tx: &mut Tx, id: &str) -> Result<RequestTokenRow> {
    tx.find(eq("id", id))?
        .ok_or_else(|| Error::not_found("Request token not found"))
}

pub(crate) fn find_access_token(tx: &mut Tx, id: &str) -> Result<Option<AccessTokenRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get_access_token(tx: &mut Tx, id: &str) -> Result<AccessTokenRow> {
    find_access_token(tx, id)?.ok_or_else(|| Error::not_found("Access token not found"))
}

/// A consumer with all that it was let do.
pub(crate) fn delete_consumer(tx: &mut Tx, id: &str) -> Result<()> {
    get_consumer(tx, id)?;
    tx.delete::<RequestTokenRow>(eq("consumer_id", id))?;
    tx.delete::<AccessTokenRow>(eq("consumer_id", id))?;
    tx.delete::<ConsumerRow>(eq("id", id)).map(drop)
}

pub(crate) fn delete_of_users(tx: &mut Tx, user_ids: &[String]) -> Result<()> {
    tx.delete::<RequestTokenRow>(is_in("user_id", user_ids.iter()))?;
    tx.delete::<AccessTokenRow>(is_in("user_id", user_ids.iter()))
        .map(drop)
}

pub(crate) fn delete_of_projects(tx: &mut Tx, project_ids: &[String]) -> Result<()> {
    tx.delete::<RequestTokenRow>(is_in("project_id", project_ids.iter()))?;
    tx.delete::<AccessTokenRow>(is_in("project_id", project_ids.iter()))
        .map(drop)
}

/// Whether this is the first time. What is older than `forgotten` is refused for its time alone.
pub(crate) fn use_nonce(
    tx: &mut Tx,
    id: &str,
    now: Timestamp,
    forgotten: Timestamp,
) -> Result<bool> {
    tx.delete::<NonceRow>(lt("used_at", forgotten))?;
    let row = NonceRow {
        id: id.into(),
        used_at: now,
    };
    match tx.insert(&row) {
        Ok(()) => Ok(true),
        Err(e) if is_duplicate(&e) => Ok(false),
        Err(e) => Err(e),
    }
}
