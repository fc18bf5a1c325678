//! Keys of keypairs: making RSA keys, reading public keys, fingerprints.

use base::{Error, Result, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey};
use sha1::Sha1;

/// Bits of generated keys: what old guests and old clients take, too.
const BITS: usize = 2048;

/// A generated key.
pub struct Generated {
    /// PEM (PKCS#1, which every SSH library reads).
    pub private_key: Secret,
    /// `ssh-rsa AAAA… Generated-by-Nova`.
    pub public_key: String,
    /// See [`ssh_fingerprint`].
    pub fingerprint: String,
}

/// Makes an RSA key. Takes a fraction of a second: call it on a blocking thread.
pub fn generate() -> Result<Generated> {
    let key =
        RsaPrivateKey::new(&mut OsRng, BITS).map_err(|e| Error::internal(format!("rsa: {e}")))?;
    let pem = key
        .to_pkcs1_pem(LineEnding::LF)
        .map_err(|e| Error::internal(format!("rsa: {e}")))?;
    let mut blob = Vec::new();
    push(&mut blob, b"ssh-rsa");
    push(&mut blob, &mpint(key.e()));
    push(&mut blob, &mpint(key.n()));
    Ok(Generated {
        private_key: Secret::new(pem.as_str()),
        public_key: format!("ssh-rsa {} Generated-by-Nova\n", STANDARD.encode(&blob)),
        fingerprint: colons(&Md5::digest(&blob)),
    })
}

/// SSH's string: length and bytes.
fn push(blob: &mut Vec<u8>, bytes: &[u8]) {
    blob.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    blob.extend_from_slice(bytes);
}

/// SSH's big integer is signed, so a leading one bit needs a zero byte before it.
fn mpint(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes.first().is_some_and(|b| b & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    bytes
}

fn colons(digest: &[u8]) -> String {
    digest
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn invalid(reason: &str) -> Error {
    Error::bad_request(format!("Keypair data is invalid: {reason}")).class("InvalidKeypair")
}

/// Checks an OpenSSH public key and gives its md5 fingerprint in colon form.
pub fn ssh_fingerprint(public_key: &str) -> Result<String> {
    let failed = || invalid("failed to generate fingerprint");
    let mut words = public_key.split_whitespace();
    let (algorithm, encoded) = (
        words.next().ok_or_else(failed)?,
        words.next().ok_or_else(failed)?,
    );
    let blob = STANDARD.decode(encoded).map_err(|_| failed())?;
    // The blob names its algorithm first, which must be the one in front of it.
    let mut expected = Vec::new();
    push(&mut expected, algorithm.as_bytes());
    let known = algorithm.starts_with("ssh-")
        || algorithm.starts_with("ecdsa-sha2-")
        || algorithm.starts_with("sk-");
    if !known || blob.len() <= expected.len() || !blob.starts_with(&expected) || !whole(&blob) {
        return Err(failed());
    }
    Ok(colons(&Md5::digest(&blob)))
}

/// Whether the blob is a sequence of whole strings: a truncated paste is not.
fn whole(mut blob: &[u8]) -> bool {
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let Some(rest) = rest.get(u32::from_be_bytes(*length) as usize..) else {
            return false;
        };
        blob = rest;
    }
    blob.is_empty()
}

/// Checks that `pem` is a certificate in PEM and gives its sha1 fingerprint in colon form.
pub fn x509_fingerprint(pem: &str) -> Result<String> {
    let failed = || invalid("failed to generate X509 fingerprint");
    let inner = pem
        .split("-----BEGIN CERTIFICATE-----")
        .nth(1)
        .ok_or_else(failed)?;
    let inner = inner
        .split("-----END CERTIFICATE-----")
        .next()
        .ok_or_else(failed)?;
    let text: String = inner.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| failed())?;
    if der.first() != Some(&0x30) {
        return Err(failed());
    }
    Ok(colons(&Sha1::digest(&der)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_read_back() {
        let made = generate().unwrap();
        assert!(
            made.private_key
                .expose()
                .starts_with("-----BEGIN RSA PRIVATE KEY-----")
        );
        assert_eq!(ssh_fingerprint(&made.public_key).unwrap(), made.fingerprint);
    }

    #[test]
    fn a_known_key() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS mv";
        assert_eq!(ssh_fingerprint(key).unwrap().len(), 47);
        for bad in [
            "",
            "ssh-rsa",
            "ssh-rsa AAAA",
            "ssh-rsa JUNK",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPK",
        ] {
            assert!(ssh_fingerprint(bad).is_err(), "{bad}");
        }
    }
}
