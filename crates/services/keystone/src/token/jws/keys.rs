//! Key pairs for signed tokens, in PEM as `openssl` and upstream write them.

use base::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use std::sync::Arc;

const ES256: &str = "ES256";
const RS256: &str = "RS256";
/// DER of the algorithm of a public key: EC with P-256, and RSA.
const EC_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The half that signs.
#[derive(Clone)]
pub(super) struct Private {
    /// PKCS#8.
    der: Vec<u8>,
    pair: Pair,
    public: Public,
}

#[derive(Clone)]
enum Pair {
    Es256(Arc<EcdsaKeyPair>),
    Rs256(Arc<RsaKeyPair>),
}

/// The half that everybody may know.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Public {
    /// A point.
    Es256(Vec<u8>),
    /// PKCS#1.
    Rs256(Vec<u8>),
}

impl PartialEq for Private {
    fn eq(&self, other: &Private) -> bool {
        self.public == other.public
    }
}

impl Private {
    pub(super) fn random() -> Result<Private> {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let der = made.map_err(|_| Error::internal("no randomness for a key"))?;
        Private::of(der.as_ref())
    }

    fn of(der: &[u8]) -> Result<Private> {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        let (pair, public) = match ec {
            Ok(pair) => {
                let public = Public::Es256(pair.public_key().as_ref().to_vec());
                (Pair::Es256(Arc::new(pair)), public)
            }
            Err(_) => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| {
                    Error::internal("a private key is neither of P-256 nor RSA in PKCS#8")
                })?;
                let public = Public::Rs256(pair.public_key().as_ref().to_vec());
                (Pair::Rs256(Arc::new(pair)), public)
            }
        };
        Ok(Private {
            der: der.to_vec(),
            pair,
            public,
        })
    }

    /// Reads a file of a key.
    pub(super) fn from_pem(text: &str) -> Result<Private> {
        let der = pem(text, "PRIVATE KEY");
        let der = der.ok_or_else(|| Error::internal("a private key is not PKCS#8 in PEM"))?;
        Private::of(&der)
    }

    /// Reads what [`Private::show`] wrote.
    pub(super) fn parse(text: &str) -> Result<Private> {
        let der = STANDARD.decode(text);
        Private::of(&der.map_err(|_| Error::internal("a private key is not base64"))?)
    }

    pub(super) fn show(&self) -> String {
        STANDARD.encode(&self.der)
    }

    pub(super) fn public(&self) -> &Public {
        &self.public
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.public.algorithm()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let signed = match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        };
        signed.map_err(|_| Error::internal("a token could not be signed"))
    }
}

impl Public {
    /// Reads a file of a key. `None` for one of another kind.
    pub(super) fn from_pem(text: &str) -> Option<Public> {
        let der = pem(text, "PUBLIC KEY")?;
        let mut whole = value(&mut &der[..], SEQUENCE)?;
        let algorithm = value(&mut whole, SEQUENCE)?;
        let (unused, key) = value(&mut whole, BIT_STRING)?.split_first()?;
        match (algorithm, unused) {
            (EC_P256, 0) => Some(Public::Es256(key.to_vec())),
            (RSA, 0) => Some(Public::Rs256(key.to_vec())),
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Public::Es256(_) => ES256,
            Public::Rs256(_) => RS256,
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Public::Es256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            Public::Rs256(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// The content of the DER value of that tag that comes next.
fn value<'d>(input: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    let (found, rest) = input.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (bytes, rest) = rest.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    (*found == tag).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with openssl genpkey and openssl pkey -pubout.
    const EC_PRIVATE: &str = include_str!("../../../tests/keys/ec.pem");
    const EC_PUBLIC: &str = include_str!("../../../tests/keys/ec.pub.pem");
    const RSA_PRIVATE: &str = include_str!("../../../tests/keys/rsa.pem");
    const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa.pub.pem");

    #[test]
    fn keys_of_openssl() {
        for (private, public, algorithm) in [
            (EC_PRIVATE, EC_PUBLIC, ES256),
            (RSA_PRIVATE, RSA_PUBLIC, RS256),
        ] {
            let private = Private::from_pem(private).unwrap();
            let public = Public::from_pem(public).unwrap();
            assert_eq!(private.public(), &public);
            assert_eq!(public.algorithm(), algorithm);
            let signature = private.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"Message", &signature));
            let again = Private::parse(&private.show()).unwrap();
            assert!(again == private);
        }
        assert!(Private::from_pem(EC_PUBLIC).is_err());
        assert_eq!(Public::from_pem(EC_PRIVATE), None);
        let half = &EC_PUBLIC[..60];
        assert_eq!(Public::from_pem(half), None);
        // A header that promises more than there is.
        let broken = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----";
        assert_eq!(Public::from_pem(broken), None);
    }
}
