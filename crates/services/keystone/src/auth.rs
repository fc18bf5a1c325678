//! Keystone as its own and its neighbours' authenticator: the same validation, without HTTP in between.

use crate::Keystone;
use base::{Kind, Result};
use futures::future::BoxFuture;
use http::HeaderMap;
use oslo_auth::{TokenSource, ValidatedToken};
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
            let valid = self
                .keystone
                .validated(token)
                .await
                .map_err(|e| match e.kind() {
                    Kind::NotFound => crate::api::unauthorized(),
                    _ => e,
                })?;
            let mut ctx = valid.context_of(token);
            if let Some(service) = header(headers, "x-service-token") {
                // A bad service token lends no service roles, and does not spoil a good user token.
                if let Ok(service) = self.keystone.validated(service).await {
                    ctx.service_roles = service.standing.context.roles.clone();
                    ctx.service_user_id = service.standing.context.user_id.clone();
                }
            }
            Ok(ctx)
        })
    }
}

impl Keystone {
    /// What a token stands for; 404 if it has no meaning (any more).
    pub async fn validate(self: &Arc<Self>, token: &str) -> Result<ValidatedToken> {
        let valid = self.validated(token).await?;
        let said = &valid.standing.token;
        let domain_of = |p: &keystone_types::ProjectRef| {
            p.domain.as_ref().map(|d| (d.id.clone(), d.name.clone()))
        };
        Ok(ValidatedToken {
            user_id: said.user.id.clone(),
            user_name: said.user.name.clone(),
            user_domain: (said.user.domain.id.clone(), said.user.domain.name.clone()),
            project: said
                .project
                .as_ref()
                .map(|p| (p.id.clone(), p.name.clone())),
            project_domain: said.project.as_ref().and_then(domain_of),
            domain_id: said.domain.as_ref().map(|d| d.id.clone()),
            system: said.system.is_some(),
            roles: valid.standing.context.roles.clone(),
            expires_at: valid.expires_at(),
        })
    }
}

/// Lets every service in this process validate without HTTP: `TokenAuth::new(built.auth, …)`.
impl TokenSource for LocalAuth {
    fn validate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<ValidatedToken>> {
        Box::pin(async move { self.keystone.validate(token).await })
    }

    fn generation(&self) -> u64 {
        self.keystone.generation_now()
    }
}
