//! Certificates that a key manager with Barbican's API keeps. It is nobody of ours: an operator has one in the catalog, or there
//! is none.

use crate::catalog::get_at;
use crate::client::{Caller, Sdk};
use base::{Error, Result};
use oslo_context::RequestContext;
use oslo_http::percent_encode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const SERVICE: &str = "key-manager";
/// More than any certificate has.
const MOST: usize = 256 * 1024;

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    secret_type: String,
    #[serde(default)]
    content_types: BTreeMap<String, String>,
}

/// What a key manager has under an id.
#[derive(Clone, Debug)]
pub struct KeptSecret {
    /// `certificate`, `public`, `opaque`, …
    pub secret_type: String,
    /// The bytes: of a certificate DER, or PEM.
    pub payload: Vec<u8>,
}

impl Sdk {
    /// A certificate, with the user's token: who may read it is the key manager's to say. Of secrets that are no certificates
    /// nothing but their type is fetched.
    pub async fn certificate(
        &self,
        ctx: &RequestContext,
        region: &str,
        ca: Option<&Path>,
        id: &str,
    ) -> Result<KeptSecret> {
        let endpoints = self.endpoints(Caller::User(ctx), SERVICE).await?;
        let mut public = endpoints.into_iter().filter(|e| e.interface == "public");
        let endpoint = public.find(|e| region.is_empty() || e.region == region);
        let endpoint = endpoint.ok_or_else(|| Error::not_found("There is no key manager."))?;
        let token = ctx.token.as_ref();
        let token = token.ok_or_else(|| Error::internal("a request without a token"))?;
        // Both ways to write it in a catalog are in use.
        let url = endpoint.url.trim_end_matches('/');
        let url = url.strip_suffix("/v1").unwrap_or(url);
        let path = format!("/v1/secrets/{}", percent_encode(id));
        let json = "application/json";
        let metadata = get_at(SERVICE, url, ca, token, &path, json).await?;
        let metadata: Metadata = serde_json::from_slice(&metadata.collect(MOST).await?)
            .map_err(|e| Error::unavailable("The key manager's answer is no secret.").log(e))?;
        let mut kept = KeptSecret {
            secret_type: metadata.secret_type,
            payload: Vec::new(),
        };
        if kept.secret_type == "certificate" {
            let accept = metadata.content_types.get("default");
            let accept = accept.map_or("application/octet-stream", String::as_str);
            let path = format!("{path}/payload");
            let payload = get_at(SERVICE, url, ca, token, &path, accept).await?;
            kept.payload = payload.collect(MOST).await?.to_vec();
        }
        Ok(kept)
    }
}
