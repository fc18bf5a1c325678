//! Token to [`RequestContext`]: keystonemiddleware's job.
//!
//! Only `X-Auth-Token` and `X-Service-Token` are read. `X-User-Id`, `X-Roles` and their kin, which upstream's
//! middleware passes along inside a process, do not exist here, so forging them gains nothing (OSSA-2026-001).

mod token;

pub use token::ValidatedToken;

use base::{Clock, Error, Kind, Result};
use futures::future::BoxFuture;
use http::HeaderMap;
use moka::sync::Cache;
use oslo_context::RequestContext;
use oslo_http::Authenticate;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Whoever can say what a token stands for: keystone next door, or one over HTTP.
pub trait TokenSource: Send + Sync + 'static {
    /// The token's meaning; 401 if it has none (any more).
    fn validate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<ValidatedToken>>;

    /// Changes whenever any token may have been revoked. A source that cannot know answers a constant, and then
    /// the cache's time to live bounds how long a revoked token is believed.
    fn generation(&self) -> u64 {
        0
    }
}

type Key = ([u8; 32], u64);

/// The authenticator of every service but keystone: asks the source, remembers for a while.
pub struct TokenAuth {
    source: Arc<dyn TokenSource>,
    cache: Cache<Key, Arc<ValidatedToken>>,
    clock: Clock,
}

impl TokenAuth {
    /// Remembers at most 10,000 tokens for `ttl` each (`[keystone_authtoken] token_cache_time`).
    pub fn new(source: Arc<dyn TokenSource>, ttl: Duration, clock: Clock) -> TokenAuth {
        TokenAuth {
            source,
            cache: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(ttl)
                .build(),
            clock,
        }
    }

    async fn validate(&self, token: &str) -> Result<Arc<ValidatedToken>> {
        // Tokens are kept as hashes: a core dump of the cache opens no doors.
        let key = (
            Sha256::digest(token.as_bytes()).into(),
            self.source.generation(),
        );
        let found = match self.cache.get(&key) {
            Some(found) => found,
            None => {
                let fresh = Arc::new(self.source.validate(token).await?);
                self.cache.insert(key, Arc::clone(&fresh));
                fresh
            }
        };
        if found.expires_at <= self.clock.now() {
            return Err(unauthorized());
        }
        Ok(found)
    }
}

fn unauthorized() -> Error {
    Error::unauthorized("The request you have made requires authentication.")
}

impl Authenticate for TokenAuth {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let text = |name: &str| {
                headers
                    .get(name)
                    .and_then(|v| v.to_str().ok())
                    .filter(|t| !t.is_empty())
            };
            let token = text("x-auth-token")
                .or_else(|| text("x-storage-token"))
                .ok_or_else(unauthorized)?;
            let valid = match self.validate(token).await {
                Ok(valid) => valid,
                // A token that the identity service does not know is the caller's problem, an identity service that does not answer is not.
                Err(e)
                    if matches!(
                        e.kind(),
                        Kind::NotFound | Kind::Unauthorized | Kind::BadRequest | Kind::Forbidden
                    ) =>
                {
                    return Err(unauthorized());
                }
                Err(e) => return Err(e),
            };
            let mut ctx = valid.context(token);
            if let Some(service) = text("x-service-token") {
                // A bad service token lends no service roles, and does not spoil a good user token.
                if let Ok(service) = self.validate(service).await {
                    ctx.service_roles = service.roles.clone();
                    ctx.service_user_id = Some(service.user_id.clone());
                }
            }
            Ok(ctx)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Fake {
        asked: AtomicU64,
        generation: AtomicU64,
        revoked: Mutex<Vec<String>>,
    }

    impl TokenSource for Fake {
        fn validate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<ValidatedToken>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let gone = self.revoked.lock().unwrap().iter().any(|t| t == token);
            Box::pin(async move {
                if gone || !token.starts_with("good") {
                    return Err(Error::not_found("no such token"));
                }
                Ok(ValidatedToken {
                    user_id: token.into(),
                    roles: vec!["member".into()],
                    expires_at: Timestamp::from_seconds(1000),
                    ..ValidatedToken::default()
                })
            })
        }
        fn generation(&self) -> u64 {
            self.generation.load(Ordering::SeqCst)
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn cached_until_revoked_or_expired() {
        let fake = Arc::new(Fake::default());
        let clock = Clock::manual(Timestamp::from_seconds(0));
        let auth = TokenAuth::new(
            Arc::clone(&fake) as Arc<dyn TokenSource>,
            Duration::from_secs(300),
            clock.clone(),
        );
        let h = headers(&[
            ("x-auth-token", "good1"),
            ("x-roles", "admin"),
            ("x-user-id", "root"),
            ("x-service-token", "bad"),
        ]);
        for _ in 0..3 {
            let ctx = auth.authenticate(&h).await.unwrap();
            assert_eq!(
                (ctx.user(), ctx.roles.as_slice(), ctx.service_roles.len()),
                ("good1", &["member".to_string()][..], 0)
            );
        }
        assert_eq!(
            fake.asked.load(Ordering::SeqCst),
            1 + 3,
            "good1 once, the bad service token each time"
        );
        fake.revoked.lock().unwrap().push("good1".into());
        fake.generation.fetch_add(1, Ordering::SeqCst);
        assert_eq!(
            auth.authenticate(&h).await.unwrap_err().kind(),
            Kind::Unauthorized
        );
        let h = headers(&[("x-auth-token", "good2")]);
        auth.authenticate(&h).await.unwrap();
        clock.advance(Duration::from_secs(1001));
        assert_eq!(
            auth.authenticate(&h).await.unwrap_err().kind(),
            Kind::Unauthorized
        );
        assert_eq!(
            auth.authenticate(&HeaderMap::new())
                .await
                .unwrap_err()
                .kind(),
            Kind::Unauthorized
        );
    }

    /// What upstream's middleware would set; nobody may.
    const FORGED: &[(&str, &str)] = &[
        ("x-identity-status", "Confirmed"),
        ("x-is-admin-project", "True"),
        ("x-project-id", "theirs"),
        ("x-roles", "admin"),
        ("x-service-identity-status", "Confirmed"),
        ("x-service-roles", "service"),
        ("x-service-user-id", "nova"),
        ("x-tenant-id", "theirs"),
        ("x-user-domain-id", "theirs"),
        ("x-user-id", "root"),
    ];

    #[tokio::test]
    async fn only_tokens_say_who_somebody_is() {
        let fake = Arc::new(Fake::default());
        let clock = Clock::manual(Timestamp::from_seconds(0));
        let ttl = Duration::from_secs(300);
        let auth = TokenAuth::new(
            Arc::clone(&fake) as Arc<dyn TokenSource>,
            ttl,
            clock.clone(),
        );
        let forged = headers(FORGED);
        let refused = auth.authenticate(&forged).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unauthorized);
        assert_eq!(fake.asked.load(Ordering::SeqCst), 0);

        let mut user = forged.clone();
        user.insert("x-auth-token", "good-user".parse().unwrap());
        let ctx = auth.authenticate(&user).await.unwrap();
        assert_eq!((ctx.user(), ctx.project()), ("good-user", ""));
        assert_eq!(ctx.roles, ["member"]);
        assert_eq!((ctx.service_roles.len(), ctx.service_user_id), (0, None));

        user.insert("x-service-token", "good-nova".parse().unwrap());
        let ctx = auth.authenticate(&user).await.unwrap();
        assert_eq!(ctx.user(), "good-user");
        assert_eq!(ctx.service_roles, ["member"]);
        assert_eq!(ctx.service_user_id.as_deref(), Some("good-nova"));

        let mut alone = forged;
        alone.insert("x-service-token", "good-nova".parse().unwrap());
        let refused = auth.authenticate(&alone).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unauthorized, "no user, no service");
    }

    /// A source that cannot answer: not the caller's fault, and nothing to remember.
    struct Silent(AtomicU64);

    impl TokenSource for Silent {
        fn validate<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<ValidatedToken>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Err(Error::new(Kind::Unavailable, "nobody there")) })
        }
    }

    #[tokio::test]
    async fn an_identity_service_that_is_away_is_no_401() {
        let silent = Arc::new(Silent(AtomicU64::new(0)));
        let source = Arc::clone(&silent) as Arc<dyn TokenSource>;
        let auth = TokenAuth::new(source, Duration::from_secs(300), Clock::real());
        let h = headers(&[("x-auth-token", "good1")]);
        for asked in 1..3 {
            let error = auth.authenticate(&h).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable);
            assert_eq!(silent.0.load(Ordering::SeqCst), asked);
        }
    }
}
