//! Fernet: AES-128-CBC and HMAC-SHA256 over a version, a time and a payload. Padding is stripped, as keystone does.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use base::{Error, Result};
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// URL-safe, written without padding and read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);
const VERSION: u8 = 0x80;
const HEADER: usize = 1 + 8 + 16;
const TAG: usize = 32;

/// A key: 16 bytes that sign and 16 that encrypt.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn random() -> Key {
        use rand::RngCore;
        let mut bytes = [0u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        Key(bytes)
    }

    /// A key made elsewhere.
    pub(crate) fn of(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// Reads a key file.
    pub(crate) fn parse(text: &str) -> Result<Key> {
        let bytes = BASE64
            .decode(text.trim())
            .ok()
            .and_then(|b| b.try_into().ok());
        bytes
            .map(Key)
            .ok_or_else(|| Error::internal("a token key is not 32 bytes in base64"))
    }

    /// The content of a key file.
    pub(crate) fn show(&self) -> String {
        format!("{}=", NO_PAD_ENGINE.encode(self.0))
    }

    /// A key for another purpose that changes with this one.
    pub(crate) fn derived(&self, purpose: &str) -> Key {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!());
        mac.update(purpose.as_bytes());
        Key(mac.finalize().into_bytes().into())
    }

    fn mac(&self, data: &[u8]) -> Hmac<Sha256> {
        // Any length of key is a key to HMAC; the error cannot occur.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0[..16]).unwrap_or_else(|_| unreachable!());
        mac.update(data);
        mac
    }

    pub(crate) fn seal(&self, payload: &[u8], seconds: u64) -> String {
        use rand::RngCore;
        let mut iv = [0u8; 16];
        rand::rng().fill_bytes(&mut iv);
        let mut out = Vec::with_capacity(HEADER + payload.len() + 16 + TAG);
        out.push(VERSION);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&iv);
        let key: [u8; 16] = std::array::from_fn(|i| self.0[16 + i]);
        out.extend(
            cbc::Encryptor::<aes::Aes128>::new(&key.into(), &iv.into())
                .encrypt_padded_vec_mut::<Pkcs7>(payload),
        );
        let tag = self.mac(&out).finalize().into_bytes();
        out.extend_from_slice(&tag);
        BASE64.encode(out)
    }

    /// With the padding that other readers of Fernet insist on.
    pub(crate) fn seal_padded(&self, payload: &[u8], seconds: u64) -> String {
        let mut text = self.seal(payload, seconds);
        let missing = text.len().next_multiple_of(4) - text.len();
        text.extend(std::iter::repeat_n('=', missing));
        text
    }

    /// The payload and its time, if this key sealed it.
    fn open(&self, data: &[u8]) -> Option<(Vec<u8>, u64)> {
        let (body, tag) = data.split_at_checked(data.len().checked_sub(TAG)?)?;
        if body.len() < HEADER || body[0] != VERSION {
            return None;
        }
        self.mac(body).verify_slice(tag).ok()?;
        let seconds = u64::from_be_bytes(body[1..9].try_into().ok()?);
        let iv: [u8; 16] = body[9..HEADER].try_into().ok()?;
        let key: [u8; 16] = self.0[16..].try_into().ok()?;
        let plain = cbc::Decryptor::<aes::Aes128>::new(&key.into(), &iv.into())
            .decrypt_padded_vec_mut::<Pkcs7>(&body[HEADER..])
            .ok()?;
        Some((plain, seconds))
    }
}

const NO_PAD_ENGINE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD);

/// Opens a token with the first of the keys that fits.
pub(crate) fn open(keys: &[Key], token: &str) -> Option<(Vec<u8>, u64)> {
    let data = BASE64.decode(token).ok()?;
    keys.iter().find_map(|key| key.open(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generate and verify vectors of the Fernet specification.
    #[test]
    fn specification() {
        let key = Key::parse("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").unwrap();
        let token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(
            open(std::slice::from_ref(&key), token),
            Some((b"hello".to_vec(), 499_162_800))
        );
        let sealed = key.seal(b"hello", 7);
        assert!(!sealed.contains('='));
        assert_eq!(
            open(&[Key::random(), key.clone()], &sealed),
            Some((b"hello".to_vec(), 7))
        );
        assert_eq!(open(&[Key::random()], &sealed), None);
        for bad in [
            "",
            "gAAA",
            "%%%",
            &sealed[..sealed.len() - 4],
            &format!("{sealed}AAAA"),
        ] {
            assert_eq!(open(std::slice::from_ref(&key), bad), None, "{bad}");
        }
        assert!(Key::parse(&key.show()).unwrap() == key);
    }
}
