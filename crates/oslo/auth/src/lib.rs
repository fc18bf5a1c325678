//! Token to [`RequestContext`]: keystonemiddleware's job.
//!
//! Only `X-Auth-Token` and `X-Service-Token` are read. `X-User-Id`, `X-Roles` and their kin, which upstream's
//! middleware passes along inside a process, do not exist here, so forging them gains nothing (OSSA-2026-001).

mod access;
mod generation;
mod shared;
mod token;

pub use access::{AccessRule, path_matches};
pub use generation::Generation;
pub use token::ValidatedToken;

use base::{Clock, Error, Kind, Result, Secret};
use futures::future::BoxFuture;
use http::HeaderMap;
use moka::sync::Cache;
use oslo_context::RequestContext;
use oslo_http::{Asked, Authenticate};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often one request goes past everything that is remembered, to see whether keystone's generation moved: as long,
/// and no longer, is a revoked token believed if the message that says so was lost.
pub const LOOK: Duration = Duration::from_secs(2);
/// How long such a look may take before what is remembered is believed once more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whose token revives a user's that ended (upstream's `service_token_roles`).
const SERVICE_ROLE: &str = "service";

/// What keystone says of a token, and at which generation it said so.
#[derive(Clone, Debug)]
pub struct Validation {
    /// The meaning.
    pub token: ValidatedToken,
    /// Keystone's generation when it looked; never newer than what the answer is made of.
    pub generation: u64,
}

/// Whoever can say what a token stands for: keystone next door, or one over HTTP.
pub trait TokenSource: Send + Sync + 'static {
    /// The token's meaning; 401 or 404 if it has none (any more). With `late`, also of a token that ended, but no longer
    /// ago than keystone's `allow_expired_window`.
    fn validate<'a>(&'a self, token: &'a str, late: bool) -> BoxFuture<'a, Result<Validation>>;

    /// The generation that the source knows without asking anybody: keystone in this process knows its own.
    fn generation(&self) -> u64 {
        0
    }
}

/// A token's meaning, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    token: ValidatedToken,
    generation: u64,
    /// Whether it had ended and was still shown.
    late: bool,
}

/// The authenticator of every service but keystone: remembers, asks the other processes' memory, asks the source.
pub struct TokenAuth {
    source: Arc<dyn TokenSource>,
    memory: Cache<[u8; 32], Arc<Known>>,
    shared: Option<Shared>,
    generation: Generation,
    /// The types by which a service is known in the catalog and in access rules.
    types: &'static [(&'static str, &'static [&'static str])],
    ttl: Duration,
    clock: Clock,
    started: Instant,
    /// When somebody last asked the source, in milliseconds since the start; 0 is never.
    looked: AtomicU64,
}

impl TokenAuth {
    /// Remembers at most 10,000 tokens for `ttl` each (`[cache] expiration_time`).
    pub fn new(source: Arc<dyn TokenSource>, ttl: Duration, clock: Clock) -> TokenAuth {
        TokenAuth {
            source,
            memory: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(ttl)
                .build(),
            shared: None,
            generation: Generation::default(),
            types: &[],
            ttl,
            clock,
            started: Instant::now(),
            looked: AtomicU64::new(0),
        }
    }

    /// Shares what it learns with other processes that know the same secret.
    pub fn sharing(mut self, cache: oslo_cache::Cache, secret: Secret) -> TokenAuth {
        self.shared = Some(Shared::new(cache, secret, self.ttl));
        self
    }

    /// Forgets when somebody moves `generation`.
    pub fn heeding(mut self, generation: Generation) -> TokenAuth {
        self.generation = generation;
        self
    }

    /// The types of services by their names. Tokens with access rules are good for nothing at a service without types.
    pub fn knowing(mut self, types: &'static [(&'static str, &'static [&'static str])]) -> Self {
        self.types = types;
        self
    }

    fn newest_generation(&self) -> u64 {
        self.generation.newest().max(self.source.generation())
    }

    async fn validate(&self, token: &str, late: bool) -> Result<Arc<Known>> {
        // Tokens are kept as hashes: a core dump of the memory opens no doors.
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let held = self.memory.get(&hash).filter(|known| self.current(known));
        if !self.time_to_look() {
            let known = match held {
                None => self.ask_others(&hash).await,
                held => held,
            };
            let known = known.map(|known| self.unless_ended(known, late));
            return match known {
                Some(Ok(known)) => Ok(known),
                Some(Err(ended)) if !late => Err(ended),
                _ => self.ask_source(token, &hash, late).await,
            };
        }
        let Some(held) = held else {
            return self.ask_source(token, &hash, late).await;
        };
        let asked = self.ask_source(token, &hash, late);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(error)) if is_refusal(&error) => Err(error),
            // Nobody can revoke anything there just now.
            Ok(Err(_)) | Err(_) => self.unless_ended(held, late),
        }
    }

    /// Whether nothing has changed since.
    fn current(&self, known: &Known) -> bool {
        known.generation >= self.newest_generation()
    }

    /// A token that ended is one that keystone has shown for a service, to a service.
    fn unless_ended(&self, known: Arc<Known>, late: bool) -> Result<Arc<Known>> {
        let lives = known.token.expires_at > self.clock.now();
        if lives || (late && known.late) {
            return Ok(known);
        }
        Err(unauthorized())
    }

    /// One caller looks, the rest go on with what is known.
    fn time_to_look(&self) -> bool {
        let now = self.now();
        let looked = self.looked.load(Ordering::Acquire);
        let due = looked == 0 || now.saturating_sub(looked) >= LOOK.as_millis() as u64;
        let claim = |looked| {
            self.looked
                .compare_exchange(looked, now, Ordering::AcqRel, Ordering::Relaxed)
        };
        due && claim(looked).is_ok()
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    async fn ask_others(&self, hash: &[u8; 32]) -> Option<Arc<Known>> {
        let shared = self.shared.as_ref()?;
        // Who knows no generation yet cannot tell old from new.
        if self.newest_generation() == 0 {
            return None;
        }
        let known = shared.get(hash).await.filter(|known| self.current(known))?;
        self.generation.moved(known.generation);
        let known = Arc::new(known);
        self.memory.insert(*hash, Arc::clone(&known));
        Some(known)
    }

    async fn ask_source(&self, token: &str, hash: &[u8; 32], late: bool) -> Result<Arc<Known>> {
        let answer = self
            .source
            .validate(token, late)
            .await
            .inspect_err(|error| {
                if is_refusal(error) {
                    self.memory.invalidate(hash);
                    // A refusal does not say what else changed.
                    self.looked.store(0, Ordering::Release);
                }
            })?;
        self.generation.moved(answer.generation);
        self.looked.store(self.now(), Ordering::Release);
        let ended = answer.token.expires_at <= self.clock.now();
        if ended && !late {
            return Err(unauthorized());
        }
        let known = Arc::new(Known {
            token: answer.token,
            generation: answer.generation,
            late: ended,
        });
        self.memory.insert(*hash, Arc::clone(&known));
        if let Some(shared) = &self.shared {
            shared.set(hash, &known).await;
        }
        Ok(known)
    }

    /// The same, and a token that means nothing is 401. An identity service that does not answer is not the caller's
    /// problem.
    async fn validated(&self, token: &str, late: bool) -> Result<Arc<Known>> {
        let found = self.validate(token, late).await;
        found.map_err(|e| if is_refusal(&e) { unauthorized() } else { e })
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::NotFound | Kind::Unauthorized | Kind::BadRequest | Kind::Forbidden
    )
}

fn unauthorized() -> Error {
    Error::unauthorized("The request you have made requires authentication.")
}

impl TokenAuth {
    /// What the tokens in the headers stand for: the caller's, and another's who vouches for it.
    async fn tokens<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<(&'h str, Arc<Known>, Option<Arc<Known>>)> {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .filter(|t| !t.is_empty())
        };
        let token = text("x-auth-token")
            .or_else(|| text("x-storage-token"))
            .ok_or_else(unauthorized)?;
        let service = match text("x-service-token") {
            Some(service) => Some(self.validated(service, false).await?),
            None => None,
        };
        // A long piece of work may outlive the token it began with; the services that do it vouch for it.
        let late = service.as_ref().is_some_and(|s| vouches(s));
        Ok((token, self.validated(token, late).await?, service))
    }

    /// Whether the token is good for this request. What a service asks of another to do what it was asked is the first
    /// service's affair.
    fn allowed(&self, known: &Known, service: Option<&Arc<Known>>, asked: &Asked<'_>) -> bool {
        let Some(rules) = &known.token.access_rules else {
            return true;
        };
        let types = self.types.iter().find(|(name, _)| *name == asked.service);
        let types = types.map_or(&[][..], |(_, types)| types);
        let method = asked.method.as_str();
        service.is_some_and(|s| vouches(s))
            || rules
                .iter()
                .any(|rule| rule.allows(types, method, asked.path))
    }
}

/// Whether this is a service's own token: a caller's own in its place says nothing.
fn vouches(service: &Known) -> bool {
    service.token.roles.iter().any(|role| role == SERVICE_ROLE)
}

fn context(token: &str, known: &Known, service: Option<&Arc<Known>>) -> RequestContext {
    let mut ctx = known.token.context(token);
    if let Some(service) = service {
        ctx.service_roles = service.token.roles.clone();
        ctx.service_user_id = Some(service.token.user_id.clone());
    }
    ctx
}

impl Authenticate for TokenAuth {
    fn admit<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let (token, known, service) = self.tokens(asked.headers).await?;
            if !self.allowed(&known, service.as_ref(), &asked) {
                return Err(unauthorized());
            }
            Ok(context(token, &known, service.as_ref()))
        })
    }

    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let (token, known, service) = self.tokens(headers).await?;
            // Who does not say what is asked cannot be told whether it may be.
            let vouched = service.as_ref().is_some_and(|s| vouches(s));
            if known.token.access_rules.is_some() && !vouched {
                return Err(unauthorized());
            }
            Ok(context(token, &known, service.as_ref()))
        })
    }
}

#[cfg(test)]
mod tests;
