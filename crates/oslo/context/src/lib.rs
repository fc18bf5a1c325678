//! Who is asking, for which project, with which roles, under which request id. It is a parameter of everything.
//!
//! The dictionary form ([`RequestContext::to_rpc`]) carries oslo.context's keys, so that it can travel in
//! oslo.messaging's envelope to and from Python services.

use base::{Secret, Timestamp, id};
use serde::{Deserialize, Serialize};

/// The identity and circumstances of one request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestContext {
    /// `req-…`, made here.
    pub request_id: String,
    /// `req-…`, made by the client or the first service of a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_request_id: Option<String>,
    /// The caller's user id; `None` for anonymous and for the cloud's own work.
    #[serde(rename = "user")]
    pub user_id: Option<String>,
    /// The caller's name.
    pub user_name: Option<String>,
    /// The domain the user lives in.
    #[serde(rename = "user_domain")]
    pub user_domain_id: Option<String>,
    /// That domain's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_domain_name: Option<String>,
    /// The project the token is scoped to.
    pub project_id: Option<String>,
    /// Its name.
    pub project_name: Option<String>,
    /// The domain the project lives in.
    #[serde(rename = "project_domain")]
    pub project_domain_id: Option<String>,
    /// The domain the token is scoped to.
    #[serde(rename = "domain")]
    pub domain_id: Option<String>,
    /// `all` if the token is scoped to the system.
    pub system_scope: Option<String>,
    /// Names of roles, implied ones included.
    pub roles: Vec<String>,
    /// Names of the roles of the service token that came with the request.
    pub service_roles: Vec<String>,
    /// The user of the service token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_user_id: Option<String>,
    /// The token itself, to call neighbours in the caller's name.
    #[serde(rename = "auth_token")]
    pub token: Option<Secret>,
    /// When the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The cloud acting for itself, or a caller whom the service's `context_is_admin` rule takes for an administrator.
    pub is_admin: bool,
}

impl RequestContext {
    /// Nobody, with a fresh request id.
    pub fn anonymous() -> RequestContext {
        RequestContext {
            request_id: id::new_request_id(),
            ..Default::default()
        }
    }

    /// The cloud itself (reconcilers, flows resumed after a crash): every policy rule with `is_admin` or role admin passes.
    pub fn internal() -> RequestContext {
        RequestContext {
            request_id: id::new_request_id(),
            is_admin: true,
            roles: vec![
                "admin".into(),
                "manager".into(),
                "member".into(),
                "reader".into(),
                "service".into(),
            ],
            ..Default::default()
        }
    }

    /// The cloud itself, continuing the request `request_id` (so that `ferrostack trace` shows one path).
    pub fn internal_for(request_id: &str) -> RequestContext {
        RequestContext {
            request_id: request_id.to_string(),
            ..RequestContext::internal()
        }
    }

    /// Whether the caller holds the role (names compare without case, as oslo.policy does).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r.eq_ignore_ascii_case(role))
    }

    /// Whether nobody was authenticated.
    pub fn is_anonymous(&self) -> bool {
        self.user_id.is_none() && !self.is_admin
    }

    /// The caller's project, or `""`: for row-level scope, where an empty id matches nothing.
    pub fn project(&self) -> &str {
        self.project_id.as_deref().unwrap_or("")
    }

    /// The caller's user id, or `""`.
    pub fn user(&self) -> &str {
        self.user_id.as_deref().unwrap_or("")
    }

    /// Whose rows this caller may see: an administrator all, everybody else those of the token's project.
    pub fn row_scope(&self) -> RowScope<'_> {
        if self.is_admin {
            RowScope::All
        } else {
            RowScope::Project(self.project())
        }
    }

    /// oslo.context's dictionary.
    pub fn to_rpc(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.insert("user_id".into(), self.user_id.clone().into());
            map.insert("tenant".into(), self.project_id.clone().into());
            map.insert("is_admin_project".into(), true.into());
            map.insert("read_only".into(), false.into());
            map.insert("show_deleted".into(), false.into());
        }
        value
    }

    /// From oslo.context's dictionary; keys that are not known are ignored, missing ones empty.
    pub fn from_rpc(value: &serde_json::Value) -> RequestContext {
        let mut ctx: RequestContext = serde_json::from_value(value.clone()).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(|v| v.as_str()).map(str::to_string);
        ctx.user_id = ctx.user_id.or_else(|| text("user_id"));
        ctx.project_id = ctx.project_id.or_else(|| text("tenant"));
        if ctx.request_id.is_empty() {
            ctx.request_id = id::new_request_id();
        }
        ctx
    }
}

/// Whose rows a query may touch; a parameter of the SQL, not an `if` in a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowScope<'a> {
    /// Every project's.
    All,
    /// Those of one project.
    Project(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_in_oslo_dictionaries() {
        let ctx = RequestContext {
            user_id: Some("u".into()),
            project_id: Some("p".into()),
            roles: vec!["Member".into()],
            ..RequestContext::anonymous()
        };
        let back = RequestContext::from_rpc(&ctx.to_rpc());
        assert_eq!(
            (back.user(), back.project(), back.request_id.as_str()),
            ("u", "p", ctx.request_id.as_str())
        );
        assert!(back.has_role("member"));
        let python = serde_json::json!({"user_id": "u2", "tenant": "p2", "request_id": "req-1", "roles": []});
        let back = RequestContext::from_rpc(&python);
        assert_eq!((back.user(), back.project()), ("u2", "p2"));
    }

    #[test]
    fn tokens_stay_out_of_debug() {
        let ctx = RequestContext {
            token: Some("gAAAA".into()),
            ..RequestContext::anonymous()
        };
        assert!(!format!("{ctx:?}").contains("gAAAA"));
    }
}
