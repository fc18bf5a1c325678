//! The generated pages of `docs/reference`. What only the binary knows (options, routes, rules) the binary prints;
//! what stands in the sources is collected here.

use crate::source;
use crate::tree;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Pages collected from the sources: file name, and what makes it.
const COLLECTED: &[(&str, fn(&Path) -> Result<String>)] = &[("compat.md", compat)];

pub(crate) fn docs(root: &Path) -> Result<()> {
    let reference = root.join("docs/reference");
    std::fs::create_dir_all(&reference)?;
    for (name, make) in COLLECTED {
        std::fs::write(reference.join(name), make(root)?).with_context(|| (*name).to_string())?;
    }
    from_the_binary(root, &reference)
}

/// `ferrostack docs FOLDER` writes the pages that are made from its tables.
#[allow(clippy::disallowed_methods, reason = "xtask is no part of the product")]
fn from_the_binary(root: &Path, reference: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "-q", "-p", "ferrostack", "--", "docs"])
        .arg(reference)
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("`ferrostack docs` failed");
    }
    Ok(())
}

/// Behaviour that is odd only because clients rely on it: every `// COMPAT:` comment, by crate.
fn compat(root: &Path) -> Result<String> {
    let mut by_crate: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in tree::texts(root)?
        .iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.ends_with(".rs"))
    {
        let Some((name, _)) = file.path.split_once("/src/") else {
            continue;
        };
        let lines = source::lines(&file.text);
        for (at, line) in lines.iter().enumerate() {
            let Some(words) = line
                .comment
                .trim_start_matches(['/', ' '])
                .strip_prefix("COMPAT:")
            else {
                continue;
            };
            let mut words = words.trim().to_string();
            let more = lines[at + 1..]
                .iter()
                .take_while(|next| next.code.trim().is_empty() && !next.comment.is_empty());
            for next in more {
                let _ = write!(
                    words,
                    " {}",
                    next.comment.trim_start_matches(['/', ' ']).trim()
                );
            }
            let entry = format!("- {words} (`{}`)", file.path);
            by_crate
                .entry(name.trim_start_matches("crates/").to_string())
                .or_default()
                .push(entry);
        }
    }
    let mut page = String::from(
        "# Compatibility\n\nWhat looks odd and is so because clients rely on it. Generated from `// COMPAT:` comments; do not edit.\n",
    );
    for (name, entries) in by_crate {
        let _ = write!(page, "\n## {name}\n\n{}\n", entries.join("\n"));
    }
    Ok(page)
}
