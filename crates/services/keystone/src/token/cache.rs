//! What tokens mean, remembered: keyed by the token's hash and the generation, so that any write forgets all.

use crate::token::Claims;
use base::{Error, Result, Secret, Timestamp};
use bytes::Bytes;
use keystone_types::{CatalogService, Token, TokenBody};
use moka::sync::Cache;
use oslo_context::RequestContext;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A valid token with everything that is ever asked about it.
pub(crate) struct Validated {
    pub claims: Claims,
    /// What it says, without catalog.
    pub token: Token,
    /// The catalog of its scope; none for unscoped tokens.
    pub catalog: Option<Vec<CatalogService>>,
    /// The context of requests that come with it, without request ids.
    pub context: RequestContext,
    with_catalog: OnceLock<Bytes>,
    without_catalog: OnceLock<Bytes>,
}

impl Validated {
    pub(crate) fn new(
        claims: Claims,
        token: Token,
        catalog: Option<Vec<CatalogService>>,
        context: RequestContext,
    ) -> Validated {
        Validated {
            claims,
            token,
            catalog,
            context,
            with_catalog: OnceLock::new(),
            without_catalog: OnceLock::new(),
        }
    }

    /// The answer's body, made once.
    pub(crate) fn body(&self, with_catalog: bool) -> Result<Bytes> {
        let place = if with_catalog {
            &self.with_catalog
        } else {
            &self.without_catalog
        };
        if let Some(body) = place.get() {
            return Ok(body.clone());
        }
        let mut token = self.token.clone();
        if with_catalog {
            token.catalog = self.catalog.clone();
        }
        let body = serde_json::to_vec(&TokenBody { token })
            .map_err(|e| Error::internal(format!("token: {e}")))?;
        Ok(place.get_or_init(|| Bytes::from(body)).clone())
    }

    /// The context of a request that came with this token.
    pub(crate) fn context_of(&self, token: &str) -> RequestContext {
        RequestContext {
            token: Some(Secret::new(token)),
            ..self.context.clone()
        }
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        self.claims.expires_at
    }
}

/// The memory. Tokens are kept as hashes: a core dump of it opens no doors.
pub(crate) struct TokenCache(Cache<([u8; 32], u64), Arc<Validated>>);

impl TokenCache {
    pub(crate) fn new(size: u64, ttl: Duration) -> TokenCache {
        TokenCache(
            Cache::builder()
                .max_capacity(size)
                .time_to_live(ttl)
                .build(),
        )
    }

    pub(crate) fn key(token: &str, generation: u64) -> ([u8; 32], u64) {
        (Sha256::digest(token.as_bytes()).into(), generation)
    }

    pub(crate) fn get(&self, key: &([u8; 32], u64)) -> Option<Arc<Validated>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: ([u8; 32], u64), validated: Arc<Validated>) {
        self.0.insert(key, validated);
    }
}
