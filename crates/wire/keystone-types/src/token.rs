//! The body of `POST` and `GET /v3/auth/tokens`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `{"token": …}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenBody {
    /// The token.
    pub token: Token,
}

/// What a token stands for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Token {
    /// How its holder proved who they are.
    pub methods: Vec<String>,
    /// Who.
    pub user: UserRef,
    /// The token's own audit id and, if it came from another token, that chain's first one.
    pub audit_ids: Vec<String>,
    /// When it ends.
    pub expires_at: String,
    /// When it was made.
    pub issued_at: String,
    /// The project of the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectRef>,
    /// Whether that project acts as a domain; only for project scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_domain: Option<bool>,
    /// The domain of the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainRef>,
    /// The system scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemScope>,
    /// Roles in that scope, implied ones included; absent without a scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleRef>>,
    /// Where services are, a list of [`crate::CatalogService`]; absent without a scope or if not wanted. It is by far the
    /// largest part and most readers skip it, so it stays text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Box<RawValue>>,
}

/// A user, as a token names them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserRef {
    /// The domain they live in.
    pub domain: DomainRef,
    /// Their id.
    pub id: String,
    /// Their name.
    pub name: String,
    /// When their password ends.
    pub password_expires_at: Option<String>,
}

/// A domain by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRef {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A project by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRef {
    /// The domain it lives in; none for a project that is a domain.
    pub domain: Option<DomainRef>,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A role by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRef {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// `{"all": true}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemScope {
    /// Always true.
    pub all: bool,
}
