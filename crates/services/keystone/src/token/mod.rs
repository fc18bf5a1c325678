//! Tokens: made, read, remembered, revoked. The hot path is [`validate`].

pub(crate) mod cache;
pub(crate) mod catalog;
pub(crate) mod delegation;
pub(crate) mod fernet;
pub(crate) mod issue;
pub(crate) mod jws;
pub(crate) mod keys;
pub(crate) mod msgpack;
pub(crate) mod payload;
pub(crate) mod proofs;
pub(crate) mod receipts;
pub(crate) mod revocations;
pub(crate) mod validate;

use payload::Scope;
use rand::RngCore;

/// A new audit id: 16 random bytes, as upstream writes them.
pub(crate) fn new_audit_id() -> String {
    use base64::Engine;
    let mut bytes = [0u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// What a token is before it is encrypted and after it is decrypted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    pub user_id: String,
    pub methods: Vec<&'static str>,
    pub scope: Scope,
    pub issued_at: base::Timestamp,
    pub expires_at: base::Timestamp,
    pub audit_ids: Vec<String>,
}
