//! The body of `POST` and `GET /v3/auth/tokens`.

use serde::{Deserialize, Deserializer, Serialize};
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
    /// The trust by which its holder acts.
    #[serde(
        rename = "OS-TRUST:trust",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub trust: Option<TrustRef>,
    /// The application credential that its holder logged in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_credential: Option<AppCredRef>,
    /// The OAuth access token that its holder logged in with.
    #[serde(rename = "OS-OAUTH1", default, skip_serializing_if = "Option::is_none")]
    pub oauth1: Option<OauthRef>,
    /// The certificate that its holder logged in with, and shows wherever it uses the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2_credential: Option<CertificateRef>,
    /// Clouds that take this one's word for who its users are; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_providers: Option<Vec<ServiceProviderRef>>,
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
    /// Who vouches for them, if they are another identity provider's.
    #[serde(
        rename = "OS-FEDERATION",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub federation: Option<FederationRef>,
    /// When their password ends: null if never, absent if they cannot have one.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub password_expires_at: Option<Option<String>>,
}

/// Null is something else than nothing.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Who vouches for a user, by what way, and the groups that this puts them in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationRef {
    /// The groups.
    pub groups: Vec<IdRef>,
    /// The identity provider.
    pub identity_provider: IdRef,
    /// The protocol.
    pub protocol: IdRef,
}

/// An OAuth access token, as a token names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthRef {
    /// Its id.
    pub access_token_id: String,
    /// The program that acts.
    pub consumer_id: String,
}

/// A certificate, as a token names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRef {
    /// Its mark.
    #[serde(rename = "x5t#S256")]
    pub thumbprint: String,
}

/// A cloud that takes this one's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceProviderRef {
    /// Where to log in there.
    pub auth_url: String,
    /// Its id.
    pub id: String,
    /// Where to send what this cloud says of a user.
    pub sp_url: String,
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

/// A trust, as a token names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRef {
    /// Its id.
    pub id: String,
    /// Who delegates.
    pub trustor_user: IdRef,
    /// Who acts.
    pub trustee_user: IdRef,
    /// Whether the token's user is the trustor.
    pub impersonation: bool,
}

/// Anything by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRef {
    /// Its id.
    pub id: String,
}

/// An application credential, as a token names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCredRef {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it may not make further credentials.
    pub restricted: bool,
    /// The requests that it is good for; absent if it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_rules: Option<Vec<AccessRule>>,
}

/// A kind of request that an application credential is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Its id.
    pub id: String,
    /// The type of the service.
    pub service: String,
    /// The path, where `*` and `{name}` stand for a part and `**` for anything.
    pub path: String,
    /// The method.
    pub method: String,
}
