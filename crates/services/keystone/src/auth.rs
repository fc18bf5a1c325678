//! Keystone as its own authenticator: the same validation, without HTTP in between.

use crate::Keystone;
use crate::federation::front_end;
use crate::token::cache::Validated;
use crate::token::payload::Scope;
use base::{Kind, Result};
use futures::future::BoxFuture;
use http::HeaderMap;
use oslo_context::RequestContext;
use oslo_http::{Asked, Authenticate};
use std::sync::Arc;

/// Token to context, by asking keystone in this process.
pub struct LocalAuth {
    keystone: Arc<Keystone>,
}

impl LocalAuth {
    pub(crate) fn new(keystone: Arc<Keystone>) -> LocalAuth {
        LocalAuth { keystone }
    }

    async fn means(&self, token: &str) -> Result<Arc<Validated>> {
        let found = self.keystone.validated(token).await;
        found.map_err(|e| match e.kind() {
            Kind::NotFound => crate::api::unauthorized(),
            _ => e,
        })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .filter(|t| !t.is_empty())
}

/// Whose token vouches for another's.
const SERVICE_ROLE: &str = "service";
/// The type by which access rules know this service.
const TYPE: &str = "identity";

impl LocalAuth {
    /// Whether the token is good for this request. Everybody may ask about tokens, so that they can be used elsewhere.
    fn allowed(valid: &Validated, asked: &Asked<'_>) -> bool {
        let Some(rules) = valid.access_rules() else {
            return true;
        };
        let (method, path) = (asked.method.as_str(), asked.path);
        let asks = method == "GET" && path.trim_end_matches('/') == "/v3/auth/tokens";
        asks || rules.iter().any(|rule| {
            rule.service == TYPE
                && rule.method == method
                && oslo_auth::path_matches(&rule.path, path)
        })
    }

    /// Whether the certificate that the token is bound to, if it is, came with the request.
    fn shows_certificate(&self, valid: &Validated, headers: &HeaderMap) -> bool {
        let Scope::Certified { thumbprint, .. } = &valid.claims.scope else {
            return true;
        };
        let shown = front_end::certificate(&self.keystone.conf.federation, headers);
        matches!(shown, Ok(Some(shown)) if shown.thumbprint == *thumbprint)
    }

    async fn context(
        &self,
        headers: &HeaderMap,
        asked: Option<Asked<'_>>,
    ) -> Result<RequestContext> {
        let token = header(headers, "x-auth-token").ok_or_else(crate::api::unauthorized)?;
        let valid = self.means(token).await?;
        let mut ctx = valid.context_of(token);
        if let Some(service) = header(headers, "x-service-token") {
            let service = self.means(service).await?;
            ctx.service_roles = service.standing.context.roles.clone();
            ctx.service_user_id = service.standing.context.user_id.clone();
        }
        let allowed = match asked {
            Some(asked) => LocalAuth::allowed(&valid, &asked),
            None => valid.access_rules().is_none(),
        } && self.shows_certificate(&valid, headers);
        // What a service asks to do what it was asked is that service's affair.
        let vouched = || ctx.service_roles.iter().any(|role| role == SERVICE_ROLE);
        if !allowed && !vouched() {
            return Err(crate::api::unauthorized());
        }
        Ok(ctx)
    }
}

impl Authenticate for LocalAuth {
    fn admit<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(self.context(asked.headers, Some(asked)))
    }

    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(self.context(headers, None))
    }
}
