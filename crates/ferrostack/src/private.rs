//! Files that only their owner reads: passwords, keys, tickets.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the file, over one that is there.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true);
    fill(options, path, text).map(drop)
}

/// Writes a file that must not be there, and returns it open.
pub fn create(path: &Path, text: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true);
    fill(options, path, text)
}

fn fill(mut options: OpenOptions, path: &Path, text: &str) -> Result<File> {
    let mut file = options.write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}
