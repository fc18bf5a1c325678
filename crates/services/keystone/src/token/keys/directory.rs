//! Upstream's repository: a directory of numbered files.

use super::{Numbered, fresh};
use crate::token::fernet::Key;
use base::{Error, Result};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Reads the repository, making it if there is none.
pub(super) fn ensure(directory: &Path) -> Result<Numbered> {
    if numbers(directory)?.is_empty() {
        for (number, key) in fresh() {
            write_key(directory, number, &key)?;
        }
    }
    load(directory)
}

pub(super) fn rotate(directory: &Path, max_active: usize) -> Result<()> {
    let all = numbers(directory)?;
    let next = all.last().map_or(1, |n| n + 1).max(1);
    if all.first() == Some(&0) {
        std::fs::rename(directory.join("0"), directory.join(next.to_string()))?;
    } else {
        write_key(directory, next, &Key::random())?;
    }
    write_key(directory, 0, &Key::random())?;
    let all = numbers(directory)?;
    let beyond = all.len().saturating_sub(max_active);
    for old in all.iter().filter(|n| **n > 0).take(beyond) {
        std::fs::remove_file(directory.join(old.to_string()))?;
    }
    Ok(())
}

fn numbers(directory: &Path) -> Result<Vec<u64>> {
    if !directory.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|n| n.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn load(directory: &Path) -> Result<Numbered> {
    let mut keys = Vec::new();
    for number in numbers(directory)?.into_iter().rev() {
        match std::fs::read_to_string(directory.join(number.to_string())) {
            Ok(text) => keys.push((number, Key::parse(&text)?)),
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
