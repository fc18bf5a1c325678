//! The identity service's contract as its neighbours see it: what a token says, its catalog, and that
//! something changed.

mod catalog;
mod rpc;
mod token;

pub use catalog::{CatalogEndpoint, CatalogService};
pub use rpc::{ACCESS_RULES_HEADER, GENERATION_HEADER, GenerationApi, GenerationClient};
pub use token::{
    AccessRule, AppCredRef, CertificateRef, DomainRef, FederationRef, IdRef, OauthRef, ProjectRef,
    RoleRef, ServiceProviderRef, SystemScope, Token, TokenBody, TrustRef, UserRef,
};
