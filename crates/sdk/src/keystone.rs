//! The identity service, as its neighbours need it.

use crate::client::{Caller, Sdk};
use crate::fault;
use base::{Error, Result};
use futures::future::BoxFuture;
use http::Method;
use keystone_types::{ACCESS_RULES_HEADER, GENERATION_HEADER, GenerationApi, GenerationClient};
use oslo_auth::{Generation, TokenSource, ValidatedToken, Validation};
use oslo_context::RequestContext;
use oslo_http::Body;
use oslo_messaging::{Bus, ServerHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Validates tokens by `GET /v3/auth/tokens`: every token may ask about itself, so no service token is needed, unless the
/// token has ended.
pub struct KeystoneTokens {
    sdk: Sdk,
    generation: Arc<AtomicU64>,
}

impl KeystoneTokens {
    /// `generation` is keystone's own where it lives in the same process, else one that stands still.
    pub fn new(sdk: Sdk, generation: Arc<AtomicU64>) -> KeystoneTokens {
        KeystoneTokens { sdk, generation }
    }

    async fn ask(&self, asker: &str, token: &str, query: &str) -> Result<Validation> {
        let request = http::Request::get(format!("/v3/auth/tokens?nocatalog=1{query}"))
            .header("host", "127.0.0.1")
            .header("x-auth-token", asker)
            .header("x-subject-token", token)
            .header(ACCESS_RULES_HEADER, "1.0")
            .body(Body::Empty)
            .map_err(|_| Error::unauthorized("malformed token"))?;
        let reply = self.sdk.transport().send("identity", request).await?;
        let status = reply.status.as_u16();
        let generation = reply.headers.get(GENERATION_HEADER);
        let generation = generation
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok())
            // Somebody else's keystone: what it says is believed as long as it is remembered.
            .unwrap_or(0);
        let body = reply.body.collect(1 << 20).await?;
        if status != 200 {
            return Err(fault::parse("identity", status, &body));
        }
        let token = ValidatedToken::from_body(&serde_json::from_slice(&body)?)?;
        Ok(Validation { token, generation })
    }

    /// In the service's own name, because a token that ended may not ask.
    async fn ask_late(&self, token: &str) -> Result<Validation> {
        for renew in [false, true] {
            let own = self.sdk.service_token(renew).await?;
            match self.ask(own.expose(), token, "&allow_expired=1").await {
                // 401 is about the one who asks; the token asked about would be 404.
                Err(e) if e.kind() == base::Kind::Unauthorized => {}
                answer => return answer,
            }
        }
        Err(Error::unavailable(
            "The identity service refuses this service's own credentials.",
        ))
    }
}

impl TokenSource for KeystoneTokens {
    fn validate<'a>(&'a self, token: &'a str, late: bool) -> BoxFuture<'a, Result<Validation>> {
        Box::pin(async move {
            match self.ask(token, token, "").await {
                Err(e) if late && e.kind() == base::Kind::Unauthorized => {
                    self.ask_late(token).await
                }
                answer => answer,
            }
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

struct Listener(Generation);

#[async_trait::async_trait]
impl GenerationApi for Listener {
    async fn moved(&self, _: &RequestContext, generation: u64) -> Result<()> {
        self.0.moved(generation);
        Ok(())
    }
}

impl KeystoneTokens {
    /// Hears on the bus, until the handle is dropped, that keystone's generation moved.
    pub async fn listen(bus: &Bus, generation: Generation) -> Result<ServerHandle> {
        // Without a name of its own: all it wants is what goes to everybody.
        let dispatcher = GenerationClient::dispatcher(Arc::new(Listener(generation)));
        bus.serve(&GenerationClient::target(), dispatcher).await
    }
}

impl Sdk {
    /// Whether a project exists (quota calls of nova and cinder refuse unknown ones).
    pub async fn project_exists(&self, project_id: &str) -> Result<bool> {
        let path = format!("/v3/projects/{}", oslo_http::percent_encode(project_id));
        match self
            .request(Caller::Service, "identity", Method::GET, &path, None)
            .await
        {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }
}
