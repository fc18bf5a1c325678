//! What a token may not do that was delegated: make something that outlives it or reaches further.

use crate::Keystone;
use crate::policy::wording;
use crate::token::cache::Validated;
use crate::token::payload::{BY_CERTIFICATE, Scope};
use base::{Error, Result};
use oslo_http::Req;
use std::sync::Arc;

/// The caller's own token.
pub(crate) async fn own_token(keystone: &Arc<Keystone>, req: &Req) -> Result<Arc<Validated>> {
    let token = req.ctx.token.as_ref().map_or("", |t| t.expose());
    let found = keystone.validated(token).await;
    found.map_err(|e| match e.is_not_found() {
        true => super::unauthorized(),
        false => e,
    })
}

fn refused(action: &str) -> Error {
    Error::forbidden(wording(action))
}

/// 403 for application credentials that are not `unrestricted`, and for who showed a certificate.
pub(crate) fn unless_restricted(token: &Validated, what: &str) -> Result<()> {
    let credential = token.standing.token.application_credential.as_ref();
    let method = match &token.claims.scope {
        // What it made would be good without the certificate.
        Scope::Certified { .. } => BY_CERTIFICATE,
        _ if credential.is_some_and(|c| c.restricted) => "application_credential",
        _ => return Ok(()),
    };
    Err(refused(&format!(
        "Using method '{method}' is not allowed for managing additional {what}."
    )))
}

/// 403 for trusts: an application credential would outlive them.
pub(crate) fn unless_by_trust(token: &Validated) -> Result<()> {
    match token.claims.scope {
        Scope::Trust { .. } | Scope::Oauth { .. } | Scope::Certified { .. } => {
            Err(Error::forbidden(
                "Cannot manage application credentials with a token issued via delegation.",
            ))
        }
        _ => Ok(()),
    }
}

/// 403 for application credentials of any kind: a trust would reach further.
pub(crate) fn unless_by_app_cred(token: &Validated) -> Result<()> {
    match token.claims.scope {
        Scope::AppCred { .. } => Err(refused(
            "Using method 'application_credential' is not allowed for managing trusts.",
        )),
        Scope::Oauth { .. } => Err(refused(
            "Using method 'oauth1' is not allowed for managing trusts.",
        )),
        Scope::Certified { .. } => Err(refused(
            "Using method 'oauth2_credential' is not allowed for managing trusts.",
        )),
        _ => Ok(()),
    }
}

/// 403 in these words for whatever was delegated.
pub(crate) fn unless_delegated(token: &Validated, words: &str) -> Result<()> {
    match token.claims.scope.is_delegated() {
        true => Err(Error::forbidden(words)),
        false => Ok(()),
    }
}

/// 403 if the token was delegated for another project than the one in question, or than none.
pub(crate) fn unless_elsewhere(
    token: &Validated,
    what: &str,
    project_id: Option<&str>,
) -> Result<()> {
    let scope = &token.claims.scope;
    match scope.is_delegated() && project_id != scope.project_id() {
        true => Err(refused(&format!(
            "{what} project does not match the project scope of the delegated token"
        ))),
        false => Ok(()),
    }
}
