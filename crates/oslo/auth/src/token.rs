//! What keystone says a token stands for, without its catalog.

use crate::access::AccessRule;
use base::{Error, Result, Secret, Timestamp};
use oslo_context::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A valid token's meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidatedToken {
    /// Who.
    pub user_id: String,
    /// Their name.
    pub user_name: String,
    /// The domain they live in, id and name.
    pub user_domain: (String, String),
    /// The project of the scope: id, name.
    pub project: Option<(String, String)>,
    /// The domain that project lives in: id, name.
    pub project_domain: Option<(String, String)>,
    /// The domain of the scope.
    pub domain_id: Option<String>,
    /// Whether the scope is the system.
    pub system: bool,
    /// Role names, implied ones included.
    pub roles: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The requests that it is good for, if not for all.
    #[serde(default)]
    pub access_rules: Option<Vec<AccessRule>>,
}

impl ValidatedToken {
    /// Reads the body of `GET /v3/auth/tokens`.
    pub fn from_body(body: &Value) -> Result<ValidatedToken> {
        let token = &body["token"];
        let text = |v: &Value| v.as_str().map(str::to_string);
        let pair = |v: &Value| Some((text(&v["id"])?, text(&v["name"]).unwrap_or_default()));
        let user = &token["user"];
        let expires = token["expires_at"].as_str().unwrap_or("");
        Ok(ValidatedToken {
            user_id: text(&user["id"])
                .ok_or_else(|| Error::internal("a token body without user"))?,
            user_name: text(&user["name"]).unwrap_or_default(),
            user_domain: pair(&user["domain"]).unwrap_or_default(),
            project: pair(&token["project"]),
            project_domain: pair(&token["project"]["domain"]),
            domain_id: text(&token["domain"]["id"]),
            system: token["system"]["all"].as_bool().unwrap_or(false),
            roles: token["roles"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|r| text(&r["name"]))
                .collect(),
            expires_at: Timestamp::parse(expires)?,
            access_rules: AccessRule::of_token(token)?,
        })
    }

    /// The context of a request that came with `token`; its request id is set by the HTTP layer.
    pub fn context(&self, token: &str) -> RequestContext {
        RequestContext {
            user_id: Some(self.user_id.clone()),
            user_name: Some(self.user_name.clone()),
            user_domain_id: Some(self.user_domain.0.clone()),
            user_domain_name: Some(self.user_domain.1.clone()),
            project_id: self.project.as_ref().map(|p| p.0.clone()),
            project_name: self.project.as_ref().map(|p| p.1.clone()),
            project_domain_id: self.project_domain.as_ref().map(|d| d.0.clone()),
            domain_id: self.domain_id.clone(),
            system_scope: self.system.then(|| "all".to_string()),
            roles: self.roles.clone(),
            token: Some(Secret::new(token)),
            expires_at: Some(self.expires_at),
            ..RequestContext::default()
        }
    }
}
