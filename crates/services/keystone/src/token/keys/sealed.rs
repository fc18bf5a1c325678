//! Keys in rows: each sealed, with its purpose and number, by a key made of the cloud's secret. Who reads the database
//! reads no keys, and who writes to it cannot make any.

use super::Numbered;
use crate::db::keys::KeyRow;
use crate::token::fernet::{self, Key};
use base::{Error, Result, Secret};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seals and opens rows.
#[derive(Clone)]
pub(crate) struct Seal(Key);

impl Seal {
    pub(crate) fn new(secret: &Secret) -> Seal {
        let secret = secret.expose().as_bytes();
        // Any length of key is a key to HMAC; the error cannot occur.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
        mac.update(b"keystone keys");
        Seal(Key::of(mac.finalize().into_bytes().into()))
    }

    pub(crate) fn seal_all(&self, purpose: &str, keys: &Numbered) -> Result<Vec<KeyRow>> {
        let row = |(number, key): &(u64, Key)| self.seal_text(purpose, *number, &key.show());
        keys.iter().map(row).collect()
    }

    pub(crate) fn open_all(&self, purpose: &str, rows: &[KeyRow]) -> Result<Numbered> {
        rows.iter().map(|row| self.open(purpose, row)).collect()
    }

    fn open(&self, purpose: &str, row: &KeyRow) -> Result<(u64, Key)> {
        let (number, text) = self.open_text(purpose, row)?;
        Ok((number, Key::parse(&text)?))
    }

    /// The row of a key that is written as one word.
    pub(crate) fn seal_text(&self, purpose: &str, number: u64, key: &str) -> Result<KeyRow> {
        Ok(KeyRow {
            purpose: purpose.to_string(),
            number: i64::try_from(number).map_err(Error::internal)?,
            sealed: self.0.seal(label(purpose, number, key).as_bytes(), 0),
        })
    }

    pub(crate) fn open_text(&self, purpose: &str, row: &KeyRow) -> Result<(u64, String)> {
        let number = row.number.unsigned_abs();
        let opened = fernet::open(std::slice::from_ref(&self.0), &row.sealed);
        let text = opened.and_then(|(bytes, _)| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| {
            Error::internal(format!(
                "key {number} for {purpose} in the database was sealed with another secret: STATE/secrets.json must be that of the controller that made it"
            ))
        })?;
        let key = text.rsplit(' ').next().unwrap_or_default();
        match label(purpose, number, key) == text {
            true => Ok((number, key.to_string())),
            false => Err(Error::internal(format!(
                "key {number} for {purpose} in the database is the row of another key"
            ))),
        }
    }
}

fn label(purpose: &str, number: u64, key: &str) -> String {
    format!("{purpose} {number} {key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::keys::{CREDENTIALS, TOKENS, fresh, rotated};

    #[test]
    fn rows_open_with_the_secret_alone_and_in_their_place_alone() {
        let seal = Seal::new(&"secret".into());
        let keys = fresh();
        let mut rows = seal.seal_all(TOKENS, &keys).unwrap();
        assert!(seal.open_all(TOKENS, &rows).unwrap() == keys);
        for (row, (_, key)) in rows.iter().zip(&keys) {
            assert!(!row.sealed.contains(&key.show()[..20]));
        }
        assert!(Seal::new(&"guess".into()).open_all(TOKENS, &rows).is_err());
        assert!(seal.open_all(CREDENTIALS, &rows).is_err());
        rows[0].number = 2;
        assert!(seal.open_all(TOKENS, &rows).is_err());
    }

    #[test]
    fn rotations() {
        let first = fresh();
        let numbers = |keys: &Numbered| keys.iter().map(|(n, _)| *n).collect::<Vec<_>>();
        let second = rotated(first.clone(), 3, Key::random);
        assert_eq!(numbers(&second), [2, 1, 0]);
        assert!(second[0].1 == first[1].1, "the staged key is primary");
        assert!(second[1].1 == first[0].1);
        let third = rotated(second.clone(), 3, Key::random);
        assert_eq!(numbers(&third), [3, 2, 0]);
        assert!(third[0].1 == second[2].1);
        assert_eq!(
            numbers(&rotated(third, usize::MAX, Key::random)),
            [4, 3, 2, 0]
        );
    }
}
