//! Where the keys of signed tokens are: in upstream's two directories, one with `private.pem`, one with the public keys of
//! all keystones; or as pairs in the database, sealed and numbered like other keys; or they die with the process.

use super::keys::{Private, Public};
use super::{open, sign};
use crate::db::keys::KeyRow;
use crate::token::Claims;
use crate::token::keys::{SIGNATURES, Seal, rotated};
use arc_swap::ArcSwap;
use base::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const PRIVATE_FILE: &str = "private.pem";

enum Repository {
    Process(Mutex<Numbered>),
    Directories { private: PathBuf, public: PathBuf },
    Database(Seal),
}

/// What is signed with, and what is believed.
#[derive(PartialEq)]
struct Current {
    /// `None` where only others sign.
    private: Option<Private>,
    public: Vec<Public>,
}

/// Makes and reads signed tokens.
pub(crate) struct Jws {
    repository: Repository,
    current: ArcSwap<Current>,
}

type Numbered = Vec<(u64, Private)>;

fn fresh() -> Result<Numbered> {
    Ok(vec![(1, Private::random()?), (0, Private::random()?)])
}

fn of_pairs(pairs: Numbered) -> Result<Current> {
    let public = pairs
        .iter()
        .map(|(_, pair)| pair.public().clone())
        .collect();
    let primary = pairs.into_iter().next();
    let (_, private) = primary.ok_or_else(|| Error::internal("no keys for signed tokens"))?;
    Ok(Current {
        private: Some(private),
        public,
    })
}

impl Jws {
    fn new(repository: Repository, current: Current) -> Jws {
        Jws {
            repository,
            current: ArcSwap::from_pointee(current),
        }
    }

    /// Keys that die with the process.
    pub(crate) fn of_process() -> Result<Jws> {
        let pairs = fresh()?;
        let current = of_pairs(pairs.clone())?;
        Ok(Jws::new(Repository::Process(Mutex::new(pairs)), current))
    }

    /// Those in directories. `signs` says whether a private key is needed.
    pub(crate) fn open_directories(private: PathBuf, public: PathBuf, signs: bool) -> Result<Jws> {
        let current = load(&private, &public)?;
        if signs && current.private.is_none() {
            let file = private.join(PRIVATE_FILE);
            return Err(Error::bad_request(format!(
                "{} does not exist; make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
                file.display()
            )));
        }
        let repository = Repository::Directories { private, public };
        Ok(Jws::new(repository, current))
    }

    /// Those of rows.
    pub(crate) fn open_rows(seal: Seal, rows: &[KeyRow]) -> Result<Jws> {
        let current = of_pairs(unsealed(&seal, rows)?)?;
        Ok(Jws::new(Repository::Database(seal), current))
    }

    /// Rows to begin with.
    pub(crate) fn fresh_rows(seal: &Seal) -> Result<Vec<KeyRow>> {
        sealed(seal, &fresh()?)
    }

    /// What a rotation makes of rows.
    pub(crate) fn rotated_rows(
        seal: &Seal,
        rows: &[KeyRow],
        max_active: usize,
    ) -> Result<Vec<KeyRow>> {
        let staged = Private::random()?;
        let pairs = rotated(unsealed(seal, rows)?, max_active, || staged.clone());
        sealed(seal, &pairs)
    }

    /// Rotates keys that are nowhere else. Those in directories are their operator's; those in the database rotate there.
    pub(crate) fn rotate(&self, max_active: usize) -> Result<()> {
        let Repository::Process(pairs) = &self.repository else {
            return Ok(());
        };
        let mut pairs = pairs.lock().unwrap_or_else(|e| e.into_inner());
        let staged = Private::random()?;
        *pairs = rotated(pairs.clone(), max_active, || staged.clone());
        self.take_up(of_pairs(pairs.clone())?);
        Ok(())
    }

    /// The seal of keys that are in the database.
    pub(crate) fn seal(&self) -> Option<&Seal> {
        match &self.repository {
            Repository::Database(seal) => Some(seal),
            _ => None,
        }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String> {
        let current = self.current.load();
        let private = current.private.as_ref();
        sign(
            private.ok_or_else(|| Error::internal("no key to sign tokens with"))?,
            claims,
        )
    }

    pub(crate) fn read(&self, token: &str) -> Option<Claims> {
        open(&self.current.load().public, token)
    }

    fn take_up(&self, new: Current) -> bool {
        let changed = new != **self.current.load();
        if changed {
            self.current.store(Arc::new(new));
            tracing::info!("keys of signed tokens were rotated");
        }
        changed
    }

    /// Takes up what another process changed in the directories; says whether there was anything. What cannot be used
    /// does not end what is in use.
    pub(crate) fn reload(&self) -> bool {
        let Repository::Directories { private, public } = &self.repository else {
            return false;
        };
        match load(private, public) {
            Ok(new) if new.private.is_none() && self.current.load().private.is_some() => {
                tracing::error!(
                    "the private key of signed tokens is gone; the last one stays in use"
                );
                false
            }
            Ok(new) => self.take_up(new),
            Err(error) => {
                tracing::error!(%error, "new keys of signed tokens are no use");
                false
            }
        }
    }

    /// Takes up what the database holds.
    pub(crate) fn take_up_rows(&self, rows: &[KeyRow]) {
        let Some(seal) = self.seal() else { return };
        match unsealed(seal, rows).and_then(of_pairs) {
            Ok(new) => {
                self.take_up(new);
            }
            Err(error) => tracing::error!(%error, "new keys of signed tokens are no use"),
        }
    }

    /// Whether another process may change files under us.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.repository, Repository::Directories { .. })
    }
}

fn sealed(seal: &Seal, pairs: &Numbered) -> Result<Vec<KeyRow>> {
    let row = |(number, pair): &(u64, Private)| seal.seal_text(SIGNATURES, *number, &pair.show());
    pairs.iter().map(row).collect()
}

fn unsealed(seal: &Seal, rows: &[KeyRow]) -> Result<Numbered> {
    let pair = |row: &KeyRow| {
        let (number, text) = seal.open_text(SIGNATURES, row)?;
        Ok((number, Private::parse(&text)?))
    };
    rows.iter().map(pair).collect()
}

/// The public keys of all files that are one, and the private key, whose public one must be among them: else nobody would
/// believe what it signs.
fn load(private: &Path, public: &Path) -> Result<Current> {
    let mut keys = Vec::new();
    let unreadable = |folder: &Path, e: std::io::Error| {
        Error::bad_request(format!(
            "keys of signed tokens in {}: {e}",
            folder.display()
        ))
    };
    for file in std::fs::read_dir(public).map_err(|e| unreadable(public, e))? {
        let path = file?.path();
        match std::fs::read_to_string(&path)
            .ok()
            .as_deref()
            .and_then(Public::from_pem)
        {
            Some(key) => keys.push(key),
            None => tracing::warn!(file = %path.display(), "is no public key of P-256 or RSA"),
        }
    }
    if keys.is_empty() {
        return Err(Error::bad_request(format!(
            "there is no public key in {}; make one of each private key with: openssl pkey -pubout",
            public.display()
        )));
    }
    let private = match std::fs::read_to_string(private.join(PRIVATE_FILE)) {
        Ok(text) => Some(Private::from_pem(&text)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(unreadable(private, e)),
    };
    if let Some(private) = &private
        && !keys.contains(private.public())
    {
        return Err(Error::bad_request(format!(
            "the public key of {PRIVATE_FILE} is not in {}; make it with: openssl pkey -pubout",
            public.display()
        )));
    }
    Ok(Current {
        private,
        public: keys,
    })
}
