//! Users of other identity providers: what was said of them, and who that makes them here.

pub(crate) mod front_end;
pub(crate) mod login;
pub mod mapping;
pub(crate) mod saml;
pub(crate) mod shadow;
