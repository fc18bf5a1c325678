//! Signatures of images: who names a certificate of the key manager's, and signs the data with its key, is held to it.

use crate::Glance;
use crate::db::images::Image;
use crate::upload::hex;
use base::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dsa::pkcs8::DecodePublicKey;
use dsa::pkcs8::der::Decode;
use dsa::signature::hazmat::PrehashVerifier;
use oslo_context::RequestContext;
use rsa::traits::PublicKeyParts;
use rsa::{Pss, RsaPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use std::path::PathBuf;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

base::str_enum! {
    /// How the data is hashed.
    pub enum HashMethod {
        Sha224 = "SHA-224",
        Sha256 = "SHA-256",
        Sha384 = "SHA-384",
        Sha512 = "SHA-512",
    }
}

base::str_enum! {
    /// What signs. Upstream has four binary curves more.
    pub enum KeyType {
        RsaPss = "RSA-PSS",
        Secp384r1 = "ECC_SECP384R1",
        Secp521r1 = "ECC_SECP521R1",
        Dsa = "DSA",
    }
}

/// What an image says of its signature. All four are said, or nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    signature: String,
    hash_method: String,
    key_type: String,
    certificate: String,
}

impl Signed {
    /// What the properties say.
    pub fn of(image: &Image) -> Option<Signed> {
        let said = |name: &str| image.properties.get(name).cloned();
        Some(Signed {
            signature: said("img_signature")?,
            hash_method: said("img_signature_hash_method")?,
            key_type: said("img_signature_key_type")?,
            certificate: said("img_signature_certificate_uuid")?,
        })
    }

    /// Where nobody can look at the data, it is not believed.
    pub fn refuse(image: &Image) -> Result<()> {
        match Signed::of(image) {
            Some(_) => Err(failed(
                &image.row.id,
                "the data of a signed image are uploaded or imported",
            )),
            None => Ok(()),
        }
    }
}

/// A signature with the key that it is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signature {
    said: Signed,
    pub hash_method: HashMethod,
    key_type: KeyType,
    /// Base64 of the public key in DER.
    key: String,
}

/// Upstream's words.
fn failed(image: &str, why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!(
        "Signature verification failed for image {image}: Signature verification for the image failed: {why}."
    ))
}

enum Key {
    Rsa(RsaPublicKey),
    Secp384r1(p384::ecdsa::VerifyingKey),
    Secp521r1(p521::ecdsa::VerifyingKey),
    Dsa(dsa::VerifyingKey),
}

impl Key {
    fn parse(key_type: KeyType, der: &[u8]) -> Option<Key> {
        Some(match key_type {
            KeyType::RsaPss => Key::Rsa(RsaPublicKey::from_public_key_der(der).ok()?),
            KeyType::Secp384r1 => {
                let key = p384::PublicKey::from_public_key_der(der).ok()?;
                let point = key.to_sec1_bytes();
                Key::Secp384r1(p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?)
            }
            KeyType::Secp521r1 => {
                let key = p521::PublicKey::from_public_key_der(der).ok()?;
                let point = key.to_sec1_bytes();
                Key::Secp521r1(p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?)
            }
            KeyType::Dsa => Key::Dsa(dsa::VerifyingKey::from_public_key_der(der).ok()?),
        })
    }

    fn verifies(&self, method: HashMethod, digest: &[u8], signature: &[u8]) -> bool {
        match self {
            Key::Rsa(key) => {
                // The longest salt that fits, as upstream's verifier and OpenSSL's signer have it.
                let length = key.n().bits().saturating_sub(1).div_ceil(8);
                let Some(salt) = length.checked_sub(digest.len() + 2) else {
                    return false;
                };
                let scheme = match method {
                    HashMethod::Sha224 => Pss::new_with_salt::<Sha224>(salt),
                    HashMethod::Sha256 => Pss::new_with_salt::<Sha256>(salt),
                    HashMethod::Sha384 => Pss::new_with_salt::<Sha384>(salt),
                    HashMethod::Sha512 => Pss::new_with_salt::<Sha512>(salt),
                };
                key.verify(scheme, digest, signature).is_ok()
            }
            Key::Secp384r1(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            Key::Secp521r1(key) => {
                // A short hash is a small number: the crate wants it in its whole length.
                let mut whole = [0; 66];
                whole[66 - digest.len()..].copy_from_slice(digest);
                p521::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify_prehash(&whole, &signature).is_ok())
            }
            Key::Dsa(key) => dsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
        }
    }
}

impl Signature {
    /// What the data of an image will be held to: nothing of one that is not signed. The certificate is fetched with the caller's
    /// token, and what does not fit together is refused before any data arrives.
    pub async fn of(
        glance: &Glance,
        ctx: &RequestContext,
        image: &Image,
    ) -> Result<Option<Signature>> {
        let Some(said) = Signed::of(image) else {
            return Ok(None);
        };
        let failed = |why: String| failed(&image.row.id, why);
        if BASE64_STANDARD.decode(&said.signature).is_err() {
            let words = "The signature data was not properly encoded using base64";
            return Err(failed(words.to_string()));
        }
        let hash_method = HashMethod::parse(&said.hash_method).map_err(|_| {
            failed(format!(
                "Invalid signature hash method: {}",
                said.hash_method
            ))
        })?;
        let key_type = KeyType::parse(&said.key_type)
            .map_err(|_| failed(format!("Invalid signature key type: {}", said.key_type)))?;
        let id = &said.certificate;
        let ca = glance.conf.auth_ca_cert.as_deref();
        let region = &glance.conf.endpoint_region_name;
        let kept = glance.sdk.certificate(ctx, region, ca, id).await;
        let kept = kept
            .map_err(|e| failed(format!("Unable to retrieve certificate with ID: {id}")).log(e))?;
        if kept.secret_type != "certificate" {
            return Err(failed(format!(
                "Invalid certificate format: {}",
                kept.secret_type
            )));
        }
        let der = match kept.payload.starts_with(b"-----BEGIN") {
            true => parse_x509_pem(&kept.payload).map(|(_, pem)| pem.contents),
            false => Ok(kept.payload),
        };
        let unreadable = || failed(format!("Unable to load certificate with ID: {id}"));
        let der = der.map_err(|e| unreadable().log(e))?;
        let parsed = parse_x509_certificate(&der).map_err(|e| unreadable().log(e))?;
        let certificate = parsed.1;
        let valid = certificate.validity();
        let now = glance.clock.now().0 / 1_000_000;
        let ended = |when: &str, time: &ASN1Time| {
            failed(format!("Certificate is not valid {when}: {time}"))
        };
        if now < valid.not_before.timestamp() {
            return Err(ended("before", &valid.not_before));
        }
        if now > valid.not_after.timestamp() {
            return Err(ended("after", &valid.not_after));
        }
        let der = certificate.public_key().raw.to_vec();
        if Key::parse(key_type, &der).is_none() {
            return Err(failed(format!(
                "Invalid public key type for signature key type: {key_type}"
            )));
        }
        Ok(Some(Signature {
            said,
            hash_method,
            key_type,
            key: BASE64_STANDARD.encode(der),
        }))
    }

    /// Whether it is still what the image says.
    pub fn is_of(&self, image: &Image) -> bool {
        Signed::of(image).as_ref() == Some(&self.said)
    }

    /// 400 unless the key signed data with this digest (hexadecimal digits).
    pub fn verify(&self, image: &str, digest: &str) -> Result<()> {
        let key = BASE64_STANDARD.decode(&self.key).map_err(Error::internal)?;
        let key = Key::parse(self.key_type, &key);
        let key = key.ok_or_else(|| Error::internal("a key that could be read once"))?;
        let signature = BASE64_STANDARD.decode(&self.said.signature);
        let signature = signature.map_err(Error::internal)?;
        let digest = unhex(digest).ok_or_else(|| Error::internal("a digest that is none"))?;
        match key.verifies(self.hash_method, &digest, &signature) {
            true => Ok(()),
            false => Err(failed(image, "Signature verification failed")),
        }
    }

    /// The same for a file of this machine.
    pub async fn verify_file(&self, image: &str, path: PathBuf) -> Result<()> {
        let method = self.hash_method;
        let read = move || -> Result<String> {
            let mut file = std::fs::File::open(path)?;
            match method {
                HashMethod::Sha224 => digest_of::<Sha224>(&mut file),
                HashMethod::Sha256 => digest_of::<Sha256>(&mut file),
                HashMethod::Sha384 => digest_of::<Sha384>(&mut file),
                HashMethod::Sha512 => digest_of::<Sha512>(&mut file),
            }
        };
        let digest = tokio::task::spawn_blocking(read).await;
        self.verify(image, &digest.map_err(Error::internal)??)
    }
}

/// The digest of a whole file, in hexadecimal digits.
pub fn digest_of<D: Digest + std::io::Write>(file: &mut std::fs::File) -> Result<String> {
    let mut hash = D::new();
    std::io::copy(file, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    digits.map(byte).collect()
}
