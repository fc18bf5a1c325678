//! Tickets to consoles: random, short-lived, known to the database only by their hash.

use crate::Nova;
use crate::db::console_tokens::ConsoleTokenRow;
use crate::db::instances::InstanceRow;
use base::{Result, Secret, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nova_types::rpc::ConsoleAddress;
use oslo_db::{all, eq, gt, le};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn random() -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Makes a ticket to `address`, and forgets those that ran out.
pub async fn issue(
    nova: &Nova,
    instance: &InstanceRow,
    console_type: &str,
    address: &ConsoleAddress,
) -> Result<Secret> {
    let (token, now) = (random(), nova.clock.now());
    let row = ConsoleTokenRow {
        token_hash: hash(&token),
        instance_id: instance.id.clone(),
        console_type: console_type.to_string(),
        host: address.host.clone(),
        port: i64::from(address.port),
        internal_access_path: None,
        expires_at: now.plus(Duration::from_secs(nova.conf.console_token_ttl)),
    };
    nova.db
        .write(move |tx| {
            tx.delete::<ConsoleTokenRow>(le("expires_at", now))?;
            tx.insert(&row)
        })
        .await?;
    Ok(Secret::new(token))
}

/// What a ticket leads to, while it is good.
pub async fn find(nova: &Nova, token: &str) -> Result<Option<ConsoleTokenRow>> {
    let (hash, now): (String, Timestamp) = (hash(token), nova.clock.now());
    nova.db
        .read(move |tx| tx.find(all([eq("token_hash", &hash), gt("expires_at", now)])))
        .await
}
