//! The files of the workspace, without what is built or kept beside it.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Folders at any depth that hold no text of ours.
const SKIPPED: &[&str] = &["target", ".git", "state", "node_modules"];

/// What may be read as text of ours; data files keep upstream's words.
const TEXTS: &[&str] = &["rs", "toml", "md", "sh", "sql", "txt", "yaml", "yml"];

/// A text file with its path from the root, slashes forward.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files, sorted by path.
pub(crate) fn texts(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(root, &path, files)?;
        } else if kind.is_file() && is_text(&path) {
            // A file that is not UTF-8, or has just gone, is not text of ours.
            if let Ok(text) = std::fs::read_to_string(&path) {
                files.push(File {
                    path: relative(root, &path),
                    text,
                });
            }
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => extension.to_str().is_some_and(|e| TEXTS.contains(&e)),
        None => path
            .parent()
            .is_some_and(|folder| folder.ends_with("script")),
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    path.to_string_lossy().replace('\\', "/")
}

/// Whether a Rust file is test code as a whole.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/benches/")
        || path.starts_with("crates/oslo/testing/")
}
