//! The key repository, in keystone's format: a directory of numbered files; 0 is staged, the highest is primary.
//!
//! New tokens are sealed with the primary key and opened with any. A rotation makes the staged key primary (every
//! node knows it by then), stages a new one and forgets the oldest.

use crate::token::fernet::Key;
use arc_swap::ArcSwap;
use base::{Error, Result};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The keys of this process, newest first.
pub(crate) struct Keys {
    directory: Option<PathBuf>,
    max_active: usize,
    current: ArcSwap<Vec<Key>>,
    /// Held while files change.
    rotating: Mutex<()>,
}

impl Keys {
    /// Reads the repository, making it if there is none.
    pub(crate) fn open(directory: Option<PathBuf>, max_active: u64) -> Result<Keys> {
        let max_active = usize::try_from(max_active).unwrap_or(usize::MAX).max(2);
        let keys = match &directory {
            None => vec![Key::random(), Key::random()],
            Some(directory) => {
                if numbered(directory)?.is_empty() {
                    write_key(directory, 0, &Key::random())?;
                    write_key(directory, 1, &Key::random())?;
                }
                load(directory)?
            }
        };
        Ok(Keys {
            directory,
            max_active,
            current: ArcSwap::from_pointee(keys),
            rotating: Mutex::new(()),
        })
    }

    /// All keys, the one to seal with first.
    pub(crate) fn all(&self) -> Arc<Vec<Key>> {
        self.current.load_full()
    }

    /// Takes up what another process changed; says whether there was anything.
    pub(crate) fn reload(&self) -> Result<bool> {
        let Some(directory) = &self.directory else {
            return Ok(false);
        };
        let keys = load(directory)?;
        let changed = keys != **self.current.load();
        if changed {
            self.current.store(Arc::new(keys));
        }
        Ok(changed)
    }

    /// Makes the staged key primary, stages a new one, forgets the oldest beyond the number to keep.
    pub(crate) fn rotate(&self) -> Result<()> {
        let _alone = self.rotating.lock().unwrap_or_else(|e| e.into_inner());
        let Some(directory) = &self.directory else {
            // In memory the staged key is the last one.
            let mut keys = self.all().as_ref().clone();
            let staged = keys.pop().unwrap_or_else(Key::random);
            keys.insert(0, staged);
            keys.truncate(self.max_active - 1);
            keys.push(Key::random());
            self.current.store(Arc::new(keys));
            return Ok(());
        };
        let numbers = numbered(directory)?;
        let next = numbers.last().map_or(1, |n| n + 1).max(1);
        if numbers.first() == Some(&0) {
            std::fs::rename(directory.join("0"), directory.join(next.to_string()))?;
        } else {
            write_key(directory, next, &Key::random())?;
        }
        write_key(directory, 0, &Key::random())?;
        let numbers = numbered(directory)?;
        for old in numbers
            .iter()
            .filter(|n| **n > 0)
            .take(numbers.len().saturating_sub(self.max_active))
        {
            std::fs::remove_file(directory.join(old.to_string()))?;
        }
        self.reload().map(drop)
    }
}

fn numbered(directory: &Path) -> Result<Vec<u64>> {
    if !directory.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn load(directory: &Path) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for number in numbered(directory)?.into_iter().rev() {
        match std::fs::read_to_string(directory.join(number.to_string())) {
            Ok(text) => keys.push(Key::parse(&text)?),
            // Another process rotates just now.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    if keys.is_empty() {
        return Err(Error::internal(format!(
            "no token keys in {}",
            directory.display()
        )));
    }
    Ok(keys)
}

/// Written beside and moved, so that nobody reads half a key.
fn write_key(directory: &Path, number: u64, key: &Key) -> Result<()> {
    let draft = directory.join(format!("{number}.tmp"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(key.show().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(draft, directory.join(number.to_string()))?;
    Ok(())
}
