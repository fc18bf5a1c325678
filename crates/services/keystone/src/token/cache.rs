//! What tokens mean, remembered: keyed by the token's hash and the generation, so that any write forgets all.

use crate::token::Claims;
use crate::token::payload::Scope;
use base::{Error, Result, Secret, Timestamp};
use bytes::Bytes;
use keystone_types::{AccessRule, Token, TokenBody};
use moka::sync::Cache;
use oslo_context::RequestContext;
use sha2::{Digest, Sha256};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// What somebody is in a scope, as the database said when the generation was this: the part of a token that all
/// tokens of one user and scope share.
pub(crate) struct Standing {
    /// Where the user goes who names no scope.
    pub default_project_id: Option<String>,
    /// The domains whose revocations concern it: the user's, the project's, the scope's, the trustor's.
    pub domain_ids: [Option<String>; 4],
    /// Whose power a trust lends.
    pub trustor_id: Option<String>,
    /// When what was delegated ends, and with it every token of it.
    pub ends_at: Option<Timestamp>,
    /// Which methods together prove who the user is; empty if any does.
    pub mfa_rules: Vec<Vec<String>>,
    /// What its tokens say, but for what is of one token alone.
    pub token: Token,
    /// The context of requests in this standing, without token and request ids.
    pub context: RequestContext,
}

/// A valid token with everything that is ever asked about it.
pub(crate) struct Validated {
    pub claims: Claims,
    pub standing: Arc<Standing>,
}

impl Validated {
    /// The answer's body.
    pub(crate) fn body(&self, with_catalog: bool) -> Result<Bytes> {
        let (claims, mut token) = (&self.claims, self.standing.token.clone());
        token.methods = claims.methods.iter().map(|m| m.to_string()).collect();
        token.audit_ids.clone_from(&claims.audit_ids);
        token.expires_at = claims.expires_at.iso_micros_z();
        token.issued_at = Timestamp::from_seconds(claims.issued_at.seconds()).iso_micros_z();
        if !with_catalog {
            token.catalog = None;
        }
        // All but the catalog is smaller than this.
        let room = 2048 + token.catalog.as_ref().map_or(0, |c| c.get().len());
        let mut bytes = Vec::with_capacity(room);
        serde_json::to_writer(&mut bytes, &TokenBody { token })
            .map_err(|e| Error::internal(format!("token: {e}")))?;
        Ok(bytes.into())
    }

    /// The context of a request that came with this token.
    pub(crate) fn context_of(&self, token: &str) -> RequestContext {
        RequestContext {
            token: Some(Secret::new(token)),
            expires_at: Some(self.claims.expires_at),
            ..self.standing.context.clone()
        }
    }

    /// Whether it is good for some requests only.
    pub(crate) fn access_rules(&self) -> Option<&[AccessRule]> {
        let credential = self.standing.token.application_credential.as_ref()?;
        credential.access_rules.as_deref()
    }

    /// The user that it shows: the trustor, where a trust is impersonation.
    pub(crate) fn user_id(&self) -> &str {
        &self.standing.token.user.id
    }

    /// The groups that an identity provider put the user in.
    pub(crate) fn more_groups(&self) -> Vec<String> {
        let vouched = self.standing.token.user.federation.as_ref();
        let groups = vouched.into_iter().flat_map(|f| &f.groups);
        groups.map(|g| g.id.clone()).collect()
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        self.claims.expires_at
    }
}

/// The memory. Tokens are kept as hashes: a core dump of it opens no doors.
pub(crate) struct TokenCache {
    tokens: Cache<([u8; 32], u64), Arc<Validated>>,
    /// By user, scope and generation.
    standings: Cache<(String, Scope, u64), Arc<Standing>>,
}

impl TokenCache {
    pub(crate) fn new(size: u64, ttl: Duration) -> TokenCache {
        TokenCache {
            tokens: cache(size, ttl),
            standings: cache(size, ttl),
        }
    }

    pub(crate) fn key(token: &str, generation: u64) -> ([u8; 32], u64) {
        (Sha256::digest(token.as_bytes()).into(), generation)
    }

    pub(crate) fn get(&self, key: &([u8; 32], u64)) -> Option<Arc<Validated>> {
        self.tokens.get(key)
    }

    pub(crate) fn insert(&self, key: ([u8; 32], u64), validated: Arc<Validated>) {
        self.tokens.insert(key, validated);
    }

    pub(crate) fn standing(&self, key: &(String, Scope, u64)) -> Option<Arc<Standing>> {
        self.standings.get(key)
    }

    /// Lets go of everything: nobody will ask by a generation that is over.
    pub(crate) fn clear(&self) {
        self.tokens.invalidate_all();
        self.standings.invalidate_all();
    }

    pub(crate) fn remember(&self, key: (String, Scope, u64), standing: Arc<Standing>) {
        self.standings.insert(key, standing);
    }
}

fn cache<K, V>(size: u64, ttl: Duration) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(size)
        .time_to_live(ttl)
        .build()
}
