//! Users' secrets, and what they prove.

pub(crate) mod certificate;
pub(crate) mod compliance;
pub(crate) mod hashes;
pub(crate) mod ldap;
pub(crate) mod mfa;
pub(crate) mod oauth1;
pub(crate) mod password;
mod sha512_crypt;
pub(crate) mod signature;
pub(crate) mod totp;

/// Whether two secrets are the same, in a time that says nothing of where they differ.
pub(crate) fn same_secret(one: &str, other: &str) -> bool {
    use sha2::{Digest, Sha256};
    Sha256::digest(one.as_bytes()) == Sha256::digest(other.as_bytes())
}
