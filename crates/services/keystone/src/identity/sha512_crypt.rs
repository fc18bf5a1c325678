//! SHA512-crypt, as very old Keystones hashed passwords: read, never written.

use sha2::{Digest, Sha512};

/// What its notation calls a base64: by the lowest bits first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many rounds a hash means that names none.
const DEFAULT_ROUNDS: u32 = 5_000;

/// A stored hash, taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Stored<'h> {
    rounds: u32,
    salt: &'h str,
    digest: &'h str,
}

impl<'h> Stored<'h> {
    /// From what stands behind `$6$`: `rounds=5000$salt$digest`, or without the rounds.
    pub(super) fn parse(text: &'h str, most: u32) -> Option<Stored<'h>> {
        let (rounds, text) = match text.strip_prefix("rounds=") {
            Some(rest) => {
                let (rounds, rest) = rest.split_once('$')?;
                (rounds.parse().ok()?, rest)
            }
            None => (DEFAULT_ROUNDS, text),
        };
        let (salt, digest) = text.split_once('$')?;
        let whole = digest.len() == 86 && digest.bytes().all(|b| DIGITS.contains(&b));
        let fits = salt.len() <= 16 && (1_000..=most).contains(&rounds);
        (whole && fits).then_some(Stored {
            rounds,
            salt,
            digest,
        })
    }

    /// The digest of this password, written as the stored one is.
    pub(super) fn of(&self, password: &[u8]) -> String {
        written(&derive(password, self.salt.as_bytes(), self.rounds))
    }

    pub(super) fn digest(&self) -> &[u8] {
        self.digest.as_bytes()
    }
}

/// So many bytes of a digest that is repeated.
fn repeated(digest: &[u8], length: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(length).collect()
}

fn derive(password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let other = Sha512::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Sha512::new();
    first.update(password);
    first.update(salt);
    first.update(repeated(&other, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => first.update(other),
            _ => first.update(password),
        }
        bits >>= 1;
    }
    let mut digest = first.finalize();
    let mut of_password = Sha512::new();
    for _ in 0..password.len() {
        of_password.update(password);
    }
    let password = repeated(&of_password.finalize(), password.len());
    let mut of_salt = Sha512::new();
    for _ in 0..16 + usize::from(digest[0]) {
        of_salt.update(salt);
    }
    let salt = repeated(&of_salt.finalize(), salt.len());
    for round in 0..rounds {
        let mut next = Sha512::new();
        let odd = round % 2 == 1;
        match odd {
            true => next.update(&password),
            false => next.update(digest),
        }
        if round % 3 != 0 {
            next.update(&salt);
        }
        if round % 7 != 0 {
            next.update(&password);
        }
        match odd {
            true => next.update(digest),
            false => next.update(&password),
        }
        digest = next.finalize();
    }
    digest.to_vec()
}

/// Its own order of the bytes: three from the thirds of the digest, turned by one at each step.
fn written(digest: &[u8]) -> String {
    let mut text = String::with_capacity(86);
    let mut write = |mut bits: u32, digits: usize| {
        for _ in 0..digits {
            text.push(char::from(DIGITS[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    let byte = |at: usize| u32::from(digest[at]);
    for step in 0..21 {
        let of = |third: usize| byte(step + 21 * ((third + step) % 3));
        write(of(0) << 16 | of(1) << 8 | of(2), 4);
    }
    write(byte(63), 2);
    text
}
