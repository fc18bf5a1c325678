//! Key repositories, in keystone's manner: numbered keys, 0 is staged, the highest is primary. They are in the database,
//! sealed with the secret of the cloud, or in a directory in upstream's format, or die with the process.
//!
//! New tokens are sealed with the primary key and opened with any. A rotation makes the staged key primary (every
//! process knows it by then), stages a new one and forgets the oldest.

mod directory;
mod sealed;

pub(crate) use sealed::Seal;

use crate::db::keys::KeyRow;
use crate::token::fernet::Key;
use arc_swap::ArcSwap;
use base::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What keys are for; the name is that of their rows.
pub(crate) const TOKENS: &str = "token";
/// Pairs of keys that sign tokens.
pub(crate) const SIGNATURES: &str = "jws";
/// Credentials outlive every token, so their keys are others and no rotation forgets them.
pub(crate) const CREDENTIALS: &str = "credential";

/// Numbered keys, the primary first and the staged one last.
pub(crate) type Numbered = Vec<(u64, Key)>;

/// Where keys are kept.
pub(crate) enum Repository {
    Process,
    Directory(PathBuf),
    Database(Seal),
}

/// The keys of this process for one purpose.
pub(crate) struct Keys {
    pub(crate) repository: Repository,
    pub(crate) purpose: &'static str,
    max_active: usize,
    current: ArcSwap<Vec<Key>>,
    /// Held while files change.
    rotating: Mutex<()>,
}

/// The first keys of a new repository.
pub(crate) fn fresh() -> Numbered {
    vec![(1, Key::random()), (0, Key::random())]
}

/// What a rotation makes of these keys.
pub(crate) fn rotated<K>(
    mut keys: Vec<(u64, K)>,
    max_active: usize,
    random: impl Fn() -> K,
) -> Vec<(u64, K)> {
    let next = keys.first().map_or(0, |(number, _)| *number) + 1;
    let staged = keys.pop_if(|(number, _)| *number == 0);
    keys.insert(0, (next, staged.map_or_else(&random, |(_, key)| key)));
    keys.truncate(max_active - 1);
    keys.push((0, random()));
    keys
}

impl Keys {
    pub(crate) fn new(
        purpose: &'static str,
        repository: Repository,
        keys: Numbered,
        max_active: u64,
    ) -> Keys {
        let keys = keys.into_iter().map(|(_, key)| key).collect();
        Keys {
            repository,
            purpose,
            max_active: usize::try_from(max_active).unwrap_or(usize::MAX).max(2),
            current: ArcSwap::from_pointee(keys),
            rotating: Mutex::new(()),
        }
    }

    /// Those of a directory, which is made if there is none.
    pub(crate) fn open(purpose: &'static str, directory: PathBuf, max_active: u64) -> Result<Keys> {
        let keys = directory::ensure(&directory)?;
        let repository = Repository::Directory(directory);
        Ok(Keys::new(purpose, repository, keys, max_active))
    }

    /// All keys, the one to seal with first.
    pub(crate) fn all(&self) -> Arc<Vec<Key>> {
        self.current.load_full()
    }

    pub(crate) fn max_active(&self) -> usize {
        self.max_active
    }

    fn take_up(&self, keys: Numbered) -> bool {
        let keys: Vec<Key> = keys.into_iter().map(|(_, key)| key).collect();
        let changed = keys != **self.current.load();
        if changed {
            self.current.store(Arc::new(keys));
        }
        changed
    }

    /// Takes up what the database holds. Keys that another secret sealed are none: what is known stays in use.
    pub(crate) fn take_up_rows(&self, rows: &[KeyRow]) {
        let Repository::Database(seal) = &self.repository else {
            return;
        };
        match seal.open_all(self.purpose, rows) {
            Ok(keys) if keys.is_empty() => {
                tracing::error!(
                    purpose = self.purpose,
                    "the keys are gone from the database"
                );
            }
            Ok(keys) => {
                if self.take_up(keys) {
                    tracing::info!(purpose = self.purpose, "keys were rotated");
                }
            }
            Err(error) => tracing::error!(purpose = self.purpose, %error, "new keys are no use"),
        }
    }

    /// Takes up what another process changed in the directory; says whether there was anything.
    pub(crate) fn reload(&self) -> Result<bool> {
        match &self.repository {
            Repository::Directory(directory) => Ok(self.take_up(directory::load(directory)?)),
            _ => Ok(false),
        }
    }

    /// Makes the staged key primary, stages a new one, forgets the oldest beyond the number to keep. Keys in the
    /// database rotate there.
    pub(crate) fn rotate(&self) -> Result<()> {
        let _alone = self.rotating.lock().unwrap_or_else(|e| e.into_inner());
        match &self.repository {
            Repository::Directory(directory) => {
                directory::rotate(directory, self.max_active)?;
                self.reload().map(drop)
            }
            Repository::Process => {
                let keys = self.all();
                let last = keys.len() as u64 - 1;
                let numbered = keys.iter().enumerate();
                let numbered = numbered.map(|(at, key)| (last - at as u64, key.clone()));
                self.take_up(rotated(numbered.collect(), self.max_active, Key::random));
                Ok(())
            }
            Repository::Database(_) => Err(Error::internal("keys in the database rotate there")),
        }
    }
}

/// The keys that an earlier version of this cloud kept in a directory, if it did.
pub(crate) fn left_in(directory: &Path) -> Result<Option<Numbered>> {
    match directory.is_dir() {
        true => directory::load(directory).map(Some),
        false => Ok(None),
    }
}
