//! The identity service's contract as its neighbours see it: what a token says, and its catalog.

mod catalog;
mod token;

pub use catalog::{CatalogEndpoint, CatalogService};
pub use token::{DomainRef, ProjectRef, RoleRef, SystemScope, Token, TokenBody, UserRef};
