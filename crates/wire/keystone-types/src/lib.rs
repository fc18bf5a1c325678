//! The identity service's contract as its neighbours see it: what a token says, its catalog, and that
//! something changed.

mod catalog;
mod rpc;
mod token;

pub use catalog::{CatalogEndpoint, CatalogService};
pub use rpc::{GENERATION_HEADER, GenerationApi, GenerationClient};
pub use token::{DomainRef, ProjectRef, RoleRef, SystemScope, Token, TokenBody, UserRef};
