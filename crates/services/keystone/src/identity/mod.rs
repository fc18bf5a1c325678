//! Users' secrets, and what they prove.

pub(crate) mod compliance;
pub(crate) mod hashes;
pub(crate) mod mfa;
pub(crate) mod password;
pub(crate) mod signature;
pub(crate) mod totp;
