//! Keystone as its own authenticator: the same validation, without HTTP in between.

use crate::Keystone;
use crate::token::cache::Validated;
use base::{Kind, Result};
use futures::future::BoxFuture;
use http::HeaderMap;
use oslo_context::RequestContext;
use oslo_http::Authenticate;
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

impl Authenticate for LocalAuth {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let token = header(headers, "x-auth-token").ok_or_else(crate::api::unauthorized)?;
            let valid = self.means(token).await?;
            let mut ctx = valid.context_of(token);
            if let Some(service) = header(headers, "x-service-token") {
                let service = self.means(service).await?;
                ctx.service_roles = service.standing.context.roles.clone();
                ctx.service_user_id = service.standing.context.user_id.clone();
            }
            Ok(ctx)
        })
    }
}
