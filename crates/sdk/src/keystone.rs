//! The identity service, as its neighbours need it.

use crate::client::{Caller, Sdk};
use crate::fault;
use base::{Error, Result};
use futures::future::BoxFuture;
use http::Method;
use oslo_auth::{TokenSource, ValidatedToken};
use oslo_http::Body;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Validates tokens by `GET /v3/auth/tokens`: every token may ask about itself, so no service token is needed.
pub struct KeystoneTokens {
    sdk: Sdk,
    generation: Arc<AtomicU64>,
}

impl KeystoneTokens {
    /// `generation` is keystone's count of revocations where it lives in the same process, else one that stands still.
    pub fn new(sdk: Sdk, generation: Arc<AtomicU64>) -> KeystoneTokens {
        KeystoneTokens { sdk, generation }
    }
}

impl TokenSource for KeystoneTokens {
    fn validate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<ValidatedToken>> {
        Box::pin(async move {
            let request = http::Request::get("/v3/auth/tokens?nocatalog=1")
                .header("host", "127.0.0.1")
                .header("x-auth-token", token)
                .header("x-subject-token", token)
                .body(Body::Empty)
                .map_err(|_| Error::unauthorized("malformed token"))?;
            let reply = self.sdk.transport().send("identity", request).await?;
            let status = reply.status.as_u16();
            let body = reply.body.collect(1 << 20).await?;
            if status != 200 {
                return Err(fault::parse("identity", status, &body));
            }
            ValidatedToken::from_body(&serde_json::from_slice(&body)?)
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
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
