//! How files look: how long they are, how they begin, and what is not left lying about.

use super::{Finding, Rust};
use crate::tree::{self, File};

/// Longer files hide their contents.
const MOST_LINES: usize = 800;
const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

pub(super) fn look(files: &[File], sources: &[Rust<'_>], found: &mut Vec<Finding>) {
    for source in sources {
        opening(source, found);
        leftovers(source, found);
    }
    lengths(files, sources, found);
    for file in files {
        machine_paths(file, found);
    }
}

fn opening(source: &Rust<'_>, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    if !tree::is_test(path) && !source.file.text.starts_with("//!") {
        found.push(Finding::new(
            path,
            1,
            "opens without `//!`: say what this room is for",
        ));
    }
}

fn leftovers(source: &Rust<'_>, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    for (at, line) in source.lines.iter().enumerate() {
        for (word, why) in [
            ("todo!(", "todo!: what is not built is not routed"),
            (
                "unimplemented!(",
                "unimplemented!: what is not built is not routed",
            ),
            ("#[ignore", "#[ignore]: mend the test or delete it"),
        ] {
            if line.code.contains(word) {
                found.push(Finding::new(path, at + 1, why));
            }
        }
        if has_bare_todo(&line.comment) {
            found.push(Finding::new(
                path,
                at + 1,
                "TODO without an issue: write TODO(#number)",
            ));
        }
        if let Some(name) = versioned_function(&line.code) {
            let why = format!("fn {name}: one function for all versions; the view knows them");
            found.push(Finding::new(path, at + 1, why));
        }
    }
}

fn has_bare_todo(comment: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    comment.match_indices("TODO").any(|(at, word)| {
        let after = &comment[at + word.len()..];
        let number = after.trim_start_matches(['(', ' ', ':']).strip_prefix('#');
        let numbered = number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        !comment[..at].ends_with(is_word) && !after.starts_with(is_word) && !numbered
    })
}

/// The name of a function defined here that carries an API version. `_v4` and `_v6` are those of IP.
fn versioned_function(code: &str) -> Option<&str> {
    let (before, rest) = code.split_once("fn ")?;
    if !(before.is_empty() || before.ends_with([' ', '('])) {
        return None;
    }
    let name = rest
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()?;
    let (_, version) = name.rsplit_once("_v")?;
    let digits = version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_digit() || c == '_');
    (digits && !matches!(version, "4" | "6")).then_some(name)
}

fn lengths(files: &[File], sources: &[Rust<'_>], found: &mut Vec<Finding>) {
    let list = files
        .iter()
        .find(|file| file.path == EXCEPTIONS)
        .map_or("", |file| file.text.as_str());
    let exceptions: Vec<(usize, &str, usize)> = list
        .lines()
        .enumerate()
        .filter_map(|(at, line)| {
            let (path, lines) = line.split('#').next()?.trim().rsplit_once(' ')?;
            Some((at + 1, path.trim(), lines.parse().ok()?))
        })
        .collect();
    let length = |path: &str| {
        sources
            .iter()
            .find(|source| source.file.path == path)
            .map(|source| source.product().count())
    };
    for (at, path, allowed) in &exceptions {
        match length(path) {
            Some(lines) if lines > MOST_LINES && lines >= *allowed => {}
            Some(lines) if lines > MOST_LINES => {
                let why =
                    format!("{path} has become shorter: write {lines} here, so that it stays so");
                found.push(Finding::new(EXCEPTIONS, *at, why));
            }
            _ => found.push(Finding::new(
                EXCEPTIONS,
                *at,
                format!("{path} needs no exception: remove the line"),
            )),
        }
    }
    for source in sources {
        let path = &source.file.path;
        let lines = source.product().count();
        let allowed = exceptions
            .iter()
            .find(|(_, name, _)| name == path)
            .map_or(MOST_LINES, |(.., lines)| *lines);
        if lines > allowed {
            let why = format!(
                "{lines} lines without tests, {allowed} are allowed: split by noun or verb"
            );
            found.push(Finding::new(path, lines, why));
        }
    }
}

/// Paths of the machine on which somebody writes do not exist anywhere else.
fn machine_paths(file: &File, found: &mut Vec<Finding>) {
    for folder in [concat!("/wo", "rk/"), concat!("/ro", "ot/")] {
        for (at, line) in file.text.lines().enumerate() {
            let begins_path = |at: usize| {
                !line[..at].ends_with(|c: char| {
                    c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '}' | '*')
                })
            };
            if line.match_indices(folder).any(|(at, _)| begins_path(at)) {
                found.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!("{folder} is a place on one machine only"),
                ));
            }
        }
    }
}
