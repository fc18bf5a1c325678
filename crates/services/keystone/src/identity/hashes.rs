//! The formats of stored passwords, as passlib writes them: bcrypt, bcrypt_sha256, scrypt and pbkdf2_sha512; sha512_crypt is
//! read only. A hash says
//! itself how it was made, so users keep theirs when the configured algorithm changes, or when they come from another
//! Keystone.
//!
//! It also says how much work it is to compare with: what would take minutes, or most of the memory, is refused.

use crate::config::{HashAlgorithm, IdentityConf};
use crate::identity::sha512_crypt;
use base::{Error, Result};
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::{Digest, Sha256, Sha512};

/// bcrypt looks at so many bytes; upstream cuts there too.
const BCRYPT_MAX: usize = 72;
/// What bcrypt itself knows.
const MOST_BCRYPT_ROUNDS: u32 = 31;
/// About twenty seconds. Nothing is hashed that is slower; what others hashed so is compared apart from the rest.
const MOST_OWN_BCRYPT_ROUNDS: u32 = 18;
/// A few seconds.
const MOST_PBKDF2_ROUNDS: u32 = 10_000_000;
/// 256 MiB, four times what Keystone's default wants; and as much again for each of at most so many rounds.
const MOST_SCRYPT_MEMORY: u64 = 1 << 28;
const MOST_SCRYPT_WORK: u64 = 1 << 30;
/// The column of hashes has room for a salt of this size.
const MOST_SALT: usize = 96;

const BCRYPT_SHA256: &str = "$bcrypt-sha256$";
const SCRYPT: &str = "$scrypt$";
const PBKDF2_SHA512: &str = "$pbkdf2-sha512$";
const SHA512_CRYPT: &str = "$6$";
const SCRYPT_LENGTH: usize = 32;
const PBKDF2_LENGTH: usize = 64;
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::BCRYPT, NO_PAD);

/// How new passwords are hashed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipe {
    Bcrypt { rounds: u32 },
    BcryptSha256 { rounds: u32 },
    Scrypt { cost: Scrypt, salt: usize },
    Pbkdf2Sha512 { rounds: u32, salt: usize },
}

/// scrypt's parameters; N is two to the power of `log_n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scrypt {
    log_n: u8,
    r: u32,
    p: u32,
}

/// A stored hash, taken apart. What it asks for is within bounds.
#[derive(Debug, PartialEq)]
enum Stored<'h> {
    Bcrypt {
        rounds: u32,
        hash: &'h str,
    },
    BcryptSha256 {
        rounds: u32,
        version: u8,
        /// bcrypt's own notation of the rest.
        bcrypt: String,
        salt: &'h str,
    },
    Scrypt {
        cost: Scrypt,
        salt: Vec<u8>,
        digest: Vec<u8>,
    },
    Pbkdf2Sha512 {
        rounds: u32,
        salt: Vec<u8>,
        digest: Vec<u8>,
    },
    Sha512Crypt(sha512_crypt::Stored<'h>),
}

fn option(name: &str, value: impl std::fmt::Display, must: &str) -> Error {
    Error::bad_request(format!("[identity] {name} is {value}, must be {must}"))
}

impl Recipe {
    /// As the operator wants it.
    pub(crate) fn of(conf: &IdentityConf) -> Result<Recipe> {
        const ROUNDS: &str = "password_hash_rounds";
        let salt = usize::try_from(conf.salt_bytesize.unwrap_or(16)).unwrap_or(usize::MAX);
        if salt > MOST_SALT {
            return Err(option("salt_bytesize", salt, "0 to 96"));
        }
        let rounds = conf.password_hash_rounds;
        match conf.password_hash_algorithm {
            HashAlgorithm::Bcrypt | HashAlgorithm::BcryptSha256 => {
                let rounds = rounds.unwrap_or(12);
                if !(4..=MOST_OWN_BCRYPT_ROUNDS).contains(&rounds) {
                    return Err(option(ROUNDS, rounds, "4 to 18"));
                }
                Ok(match conf.password_hash_algorithm {
                    HashAlgorithm::Bcrypt => Recipe::Bcrypt { rounds },
                    _ => Recipe::BcryptSha256 { rounds },
                })
            }
            HashAlgorithm::Scrypt => {
                let log_n = rounds.unwrap_or(16);
                let (r, p) = (conf.scrypt_block_size, conf.scrypt_parallelism);
                let cost = Scrypt {
                    log_n: u8::try_from(log_n).unwrap_or(u8::MAX),
                    r: r.unwrap_or(8),
                    p: p.unwrap_or(1),
                };
                if cost.params().is_none() {
                    return Err(option(
                        ROUNDS,
                        log_n,
                        "1 to 18 with the default block size and parallelism: at most 256 MiB for one password",
                    ));
                }
                Ok(Recipe::Scrypt { cost, salt })
            }
            HashAlgorithm::Pbkdf2Sha512 => {
                let rounds = rounds.unwrap_or(60_000);
                if !(1..=MOST_PBKDF2_ROUNDS).contains(&rounds) {
                    return Err(option(ROUNDS, rounds, "1 to 10000000"));
                }
                Ok(Recipe::Pbkdf2Sha512 { rounds, salt })
            }
        }
    }

    /// bcrypt's least, for what nobody guesses at any speed.
    pub(crate) fn least() -> Recipe {
        Recipe::Bcrypt { rounds: 4 }
    }

    /// The hash to keep.
    pub(crate) fn hash(&self, password: &[u8]) -> Result<String> {
        match self {
            Recipe::Bcrypt { rounds } => {
                bcrypt::hash(cut(password), *rounds).map_err(Error::internal)
            }
            Recipe::BcryptSha256 { rounds } => {
                let salt: [u8; 16] = std::array::from_fn(|_| rand::random());
                let salt_text = BCRYPT_BASE64.encode(salt);
                let inner = sha256_with_salt(password, &salt_text);
                let parts = bcrypt::hash_with_salt(inner, *rounds, salt);
                let whole = parts.map_err(Error::internal)?.to_string();
                let digest = &whole[whole.len() - 31..];
                Ok(format!(
                    "{BCRYPT_SHA256}v=2,t=2b,r={rounds}${salt_text}${digest}"
                ))
            }
            Recipe::Scrypt { cost, salt } => {
                let salt = random(*salt);
                let digest = cost.derive(password, &salt, SCRYPT_LENGTH);
                let digest = digest.ok_or_else(|| Error::internal("scrypt's parameters"))?;
                let Scrypt { log_n, r, p } = cost;
                let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
                Ok(format!("{SCRYPT}ln={log_n},r={r},p={p}${salt}${digest}"))
            }
            Recipe::Pbkdf2Sha512 { rounds, salt } => {
                let salt = random(*salt);
                let digest = pbkdf2(password, &salt, *rounds, PBKDF2_LENGTH);
                let (salt, digest) = (adapted(&salt), adapted(&digest));
                Ok(format!("{PBKDF2_SHA512}{rounds}${salt}${digest}"))
            }
        }
    }

    /// What nobody's password hashes to, at the same cost.
    pub(crate) fn nobody(&self) -> String {
        let (zeros, none) = (".".repeat(22), ".".repeat(31));
        match self {
            Recipe::Bcrypt { rounds } => format!("$2b${rounds:02}${zeros}{none}"),
            Recipe::BcryptSha256 { rounds } => {
                format!("{BCRYPT_SHA256}v=2,t=2b,r={rounds}${zeros}${none}")
            }
            Recipe::Scrypt { cost, salt } => {
                let Scrypt { log_n, r, p } = cost;
                let salt = STANDARD_NO_PAD.encode(vec![0; *salt]);
                let digest = STANDARD_NO_PAD.encode([0; SCRYPT_LENGTH]);
                format!("{SCRYPT}ln={log_n},r={r},p={p}${salt}${digest}")
            }
            Recipe::Pbkdf2Sha512 { rounds, salt } => {
                let (salt, digest) = (adapted(&vec![0; *salt]), adapted(&[0; PBKDF2_LENGTH]));
                format!("{PBKDF2_SHA512}{rounds}${salt}${digest}")
            }
        }
    }
}

impl Scrypt {
    /// `None` for what is no cost, or too high a one.
    fn params(self) -> Option<scrypt::Params> {
        let memory = 128u64
            .checked_mul(1u64.checked_shl(u32::from(self.log_n))?)?
            .checked_mul(u64::from(self.r))?;
        let work = memory.checked_mul(u64::from(self.p))?;
        if self.log_n == 0 || memory > MOST_SCRYPT_MEMORY || work > MOST_SCRYPT_WORK {
            return None;
        }
        scrypt::Params::new(self.log_n, self.r, self.p, SCRYPT_LENGTH).ok()
    }

    fn derive(self, password: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut digest = vec![0; length];
        scrypt::scrypt(password, salt, &self.params()?, &mut digest).ok()?;
        Some(digest)
    }
}

/// Whether the password is the one behind a stored hash. `None` for a hash that is of no known kind, or that asks for more
/// work than any that was made in earnest.
pub(crate) fn verify(password: &[u8], hash: &str) -> Option<bool> {
    match Stored::parse(hash)? {
        Stored::Bcrypt { hash, .. } => bcrypt::verify(cut(password), hash).ok(),
        Stored::Sha512Crypt(stored) => Some(same(stored.of(password).as_bytes(), stored.digest())),
        Stored::BcryptSha256 {
            version,
            bcrypt,
            salt,
            ..
        } => {
            let inner = match version {
                1 => STANDARD.encode(Sha256::digest(password)),
                _ => sha256_with_salt(password, salt),
            };
            bcrypt::verify(inner, &bcrypt).ok()
        }
        Stored::Scrypt { cost, salt, digest } => {
            let found = cost.derive(password, &salt, digest.len())?;
            Some(same(&found, &digest))
        }
        Stored::Pbkdf2Sha512 {
            rounds,
            salt,
            digest,
        } => Some(same(
            &pbkdf2(password, &salt, rounds, digest.len()),
            &digest,
        )),
    }
}

/// Whether comparing takes longer than that of any hash that is made here: minutes, at worst a day.
pub(crate) fn is_slow(hash: &str) -> bool {
    match Stored::parse(hash) {
        Some(Stored::Bcrypt { rounds, .. } | Stored::BcryptSha256 { rounds, .. }) => {
            rounds > MOST_OWN_BCRYPT_ROUNDS
        }
        _ => false,
    }
}

impl Stored<'_> {
    fn parse(hash: &str) -> Option<Stored<'_>> {
        if let Some(rest) = hash.strip_prefix(BCRYPT_SHA256) {
            return bcrypt_sha256(rest);
        }
        if let Some(rest) = hash.strip_prefix(SCRYPT) {
            let [params, salt, digest] = parts(rest)?;
            let cost = Scrypt {
                log_n: param(params, "ln")?.parse().ok()?,
                r: param(params, "r")?.parse().ok()?,
                p: param(params, "p")?.parse().ok()?,
            };
            cost.params()?;
            let digest = unadapted(digest).filter(|d| d.len() == SCRYPT_LENGTH)?;
            let salt = unadapted(salt)?;
            return Some(Stored::Scrypt { cost, salt, digest });
        }
        if let Some(rest) = hash.strip_prefix(PBKDF2_SHA512) {
            let [rounds, salt, digest] = parts(rest)?;
            let rounds = rounds.parse().ok();
            return Some(Stored::Pbkdf2Sha512 {
                rounds: rounds.filter(|r| (1..=MOST_PBKDF2_ROUNDS).contains(r))?,
                salt: unadapted(salt)?,
                digest: unadapted(digest).filter(|d| d.len() == PBKDF2_LENGTH)?,
            });
        }
        if let Some(rest) = hash.strip_prefix(SHA512_CRYPT) {
            let stored = sha512_crypt::Stored::parse(rest, MOST_PBKDF2_ROUNDS)?;
            return Some(Stored::Sha512Crypt(stored));
        }
        let [kind, rounds, _] = parts(hash.strip_prefix('$')?)?;
        let rounds = bcrypt_within(kind, rounds)?;
        Some(Stored::Bcrypt { rounds, hash })
    }
}

/// `v=2,t=2b,r=12$salt$digest`, or `2b,12$salt$digest` as passlib wrote it before 1.7.3.
fn bcrypt_sha256(rest: &str) -> Option<Stored<'_>> {
    let [params, salt, digest] = parts(rest)?;
    let (version, kind, rounds) = match param(params, "v") {
        Some(version) => (
            version.parse().ok().filter(|v| matches!(v, 1 | 2))?,
            param(params, "t")?,
            param(params, "r")?,
        ),
        None => {
            let (kind, rounds) = params.split_once(',')?;
            (1, kind, rounds)
        }
    };
    let rounds = bcrypt_within(kind, rounds)?;
    Some(Stored::BcryptSha256 {
        rounds,
        version,
        bcrypt: format!("${kind}${rounds:02}${salt}{digest}"),
        salt,
    })
}

fn bcrypt_within(kind: &str, rounds: &str) -> Option<u32> {
    let rounds = rounds.parse().ok()?;
    let known = matches!(kind, "2a" | "2b" | "2x" | "2y");
    (known && (4..=MOST_BCRYPT_ROUNDS).contains(&rounds)).then_some(rounds)
}

fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let found: Vec<&str> = text.splitn(N + 1, '$').collect();
    found.try_into().ok()
}

/// The value of `name` in `a=1,b=2`.
fn param<'t>(params: &'t str, name: &str) -> Option<&'t str> {
    let mut pairs = params.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// What bcrypt hashes instead of the password, however long that is.
fn sha256_with_salt(password: &[u8], salt: &str) -> String {
    // Any length of key is a key to HMAC; the error cannot occur.
    let mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes());
    let mut mac = mac.unwrap_or_else(|_| unreachable!());
    mac.update(password);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32, length: usize) -> Vec<u8> {
    let mut digest = vec![0; length];
    pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut digest);
    digest
}

/// passlib's base64: `.` for `+`, nothing at the end. It reads both, and so do we.
fn adapted(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes).replace('+', ".")
}

fn unadapted(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.replace('.', "+")).ok()
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn cut(password: &[u8]) -> &[u8] {
    &password[..password.len().min(BCRYPT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes() -> Vec<Recipe> {
        let algorithms = HashAlgorithm::ALL.iter();
        let recipe = |algorithm: &HashAlgorithm| {
            let conf = IdentityConf {
                password_hash_algorithm: *algorithm,
                password_hash_rounds: Some(4),
                ..IdentityConf::default()
            };
            Recipe::of(&conf).unwrap()
        };
        algorithms.map(recipe).collect()
    }

    #[test]
    fn every_algorithm_knows_its_own() {
        for recipe in recipes() {
            let long = "ä".repeat(60);
            for password in ["", "secret", &long] {
                let hash = recipe.hash(password.as_bytes()).unwrap();
                assert!(hash.len() <= 255, "{hash}");
                assert_ne!(hash, recipe.hash(password.as_bytes()).unwrap());
                assert_eq!(verify(password.as_bytes(), &hash), Some(true), "{hash}");
                assert_eq!(verify(b"Secret", &hash), Some(false), "{hash}");
            }
            let end = recipe.hash(long.as_bytes()).unwrap();
            let other = format!("{}x", &long[..118]);
            // Only bcrypt by itself looks no further than 72 bytes.
            let cut = matches!(recipe, Recipe::Bcrypt { .. });
            assert_eq!(verify(other.as_bytes(), &end), Some(cut), "{end}");
            assert_eq!(verify(b"secret", &recipe.nobody()), Some(false));
        }
        let most = Recipe::Pbkdf2Sha512 {
            rounds: 1,
            salt: MOST_SALT,
        };
        assert!(most.hash(b"secret").unwrap().len() <= 255);
    }

    /// Made by passlib 1.7.4, or of its documentation, and of crypt_blowfish's tests.
    #[test]
    fn others_hashes() {
        let long = "päss".repeat(40);
        for (password, hash) in [
            (
                "U*U",
                "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            ),
            (
                "password",
                "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
            ),
            (
                "password",
                "$bcrypt-sha256$2a,12$LrmaIX5x4TRtAwEfwJZa1.$2ehnw6LvuIUTM0iz4iz9hTxv21B6KFO",
            ),
            (
                "password",
                "$pbkdf2-sha512$1000$6r3XmpPyXus9x9i7N0boPQ$CPS5lVpMx6g.YPpj5QDzf/0NmNW.tdX2jU7BGpVQ05ks5Lcc8k2.rw69N0YNazQ2dU75XCXrSS0.JpEZgqrxKw",
            ),
            (
                "password",
                "$scrypt$ln=10,r=8,p=1$1jrHOMc4ByAEwPjfW0vpPQ$ODhgvXqMczhD2dmGagc7Rnb2ViTf7yUHGCHIPvUzAL8",
            ),
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                long.as_str(),
                "$6$rounds=1000$0123456789abcdef$MExRJvvB1nKYKdvwNajRj2dyUrudCWUPy2SOQ5Op3AhRqYL/u008FuaCUtAB8TB7kE9UoEq.epeLNZjYsAWfV0",
            ),
        ] {
            assert_eq!(verify(password.as_bytes(), hash), Some(true), "{hash}");
            assert_eq!(verify(b"Password", hash), Some(false), "{hash}");
            assert!(!is_slow(hash));
        }
    }

    #[test]
    fn slow_ones_are_known_before_they_are_tried() {
        let salt = "n79VH.0Q2TMWmt3Oqt9uku";
        let digest = "Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";
        assert!(!is_slow(&format!("$2b$18${salt}{digest}")));
        for rounds in 19..=31 {
            assert!(is_slow(&format!("$2b${rounds}${salt}{digest}")));
            let wrapped = format!("$bcrypt-sha256$v=2,t=2b,r={rounds}${salt}${digest}");
            assert!(is_slow(&wrapped), "{wrapped}");
        }
    }

    #[test]
    fn hostile_parameters_are_not_even_tried() {
        let salt = "n79VH.0Q2TMWmt3Oqt9uku";
        let digest = "Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";
        let thirty_two = STANDARD_NO_PAD.encode([0; 32]);
        for hash in [
            format!("$2b$32${salt}{digest}"),
            format!("$2b$99999999999${salt}{digest}"),
            format!("$bcrypt-sha256$v=2,t=2b,r=32${salt}${digest}"),
            format!("$6$rounds=4294967295${salt}${}", "a".repeat(86)),
            format!("$6$rounds=999$salt${}", "a".repeat(86)),
            format!("$6$salt${}", "a".repeat(85)),
            format!("$6$longer-than-sixteen${}", "a".repeat(86)),
            format!("$bcrypt-sha256$v=3,t=2b,r=4${salt}${digest}"),
            format!("$scrypt$ln=30,r=8,p=1${salt}${thirty_two}"),
            format!("$scrypt$ln=63,r=4294967295,p=1${salt}${thirty_two}"),
            format!("$scrypt$ln=64,r=1,p=1${salt}${thirty_two}"),
            format!("$scrypt$ln=16,r=8,p=4294967295${salt}${thirty_two}"),
            format!("$scrypt$ln=16,r=0,p=1${salt}${thirty_two}"),
            format!("$scrypt$ln=4,r=8,p=1${salt}$"),
            format!("$pbkdf2-sha512$4294967295${salt}${thirty_two}{thirty_two}"),
            format!("$pbkdf2-sha512$0${salt}${thirty_two}"),
            format!("$pbkdf2-sha512$10${salt}$"),
            "$6$rounds=5000$salt$digest".into(),
            "plain".into(),
            "$".into(),
            String::new(),
        ] {
            assert_eq!(Stored::parse(&hash), None, "{hash}");
            assert_eq!(verify(b"secret", &hash), None, "{hash}");
        }
    }

    #[test]
    fn what_an_operator_may_ask_for() {
        let of = |algorithm, rounds, r| {
            Recipe::of(&IdentityConf {
                password_hash_algorithm: algorithm,
                password_hash_rounds: Some(rounds),
                scrypt_block_size: r,
                ..IdentityConf::default()
            })
        };
        for (algorithm, rounds, r) in [
            (HashAlgorithm::Bcrypt, 3, None),
            (HashAlgorithm::Bcrypt, 31, None),
            (HashAlgorithm::BcryptSha256, 32, None),
            (HashAlgorithm::Scrypt, 0, None),
            (HashAlgorithm::Scrypt, 20, None),
            (HashAlgorithm::Scrypt, 18, Some(9)),
            (HashAlgorithm::Scrypt, 300, None),
            (HashAlgorithm::Pbkdf2Sha512, 0, None),
            (HashAlgorithm::Pbkdf2Sha512, 4_000_000_000, None),
        ] {
            assert!(of(algorithm, rounds, r).is_err(), "{algorithm:?} {rounds}");
        }
        assert!(of(HashAlgorithm::Scrypt, 18, Some(8)).is_ok());
    }
}
