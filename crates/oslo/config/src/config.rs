//! The file and the environment, read once at start.

use crate::nearest::hint;
use crate::section::{OptionDoc, Reader, Section, unknown_option};
use base::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use toml::{Table, Value};

/// What our environment variables begin with.
pub const ENV_PREFIX: &str = "FERROSTACK_";

/// The environment of this process, for [`Config::load`]. Variables that are not Unicode are left out.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// One variable of the environment, unless unset or empty. For what is not an option, such as the place of the
/// file with the options.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The configuration of a process.
#[derive(Debug)]
pub struct Config {
    /// What the file is called in messages.
    source: String,
    tables: Table,
    /// `FERROSTACK_<SECTION>__<OPTION>`: section as in the variable -> (option, text).
    env: BTreeMap<String, Vec<(String, String)>>,
    /// Section -> its options, of all who asked or were announced.
    known: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Config {
    /// Reads the file, if one is given, and the environment.
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config> {
        let Some(path) = path else {
            return Config::parse("", env);
        };
        let source = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::bad_request(format!("configuration {source}: {e}")))?;
        Config::from_text(&source, &text, env)
    }

    /// From text, mostly for tests.
    pub fn parse(text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
        Config::from_text("(no file)", text, env)
    }

    /// Defaults only.
    pub fn empty() -> Config {
        Config {
            source: "(no file)".into(),
            tables: Table::new(),
            env: BTreeMap::new(),
            known: Mutex::default(),
        }
    }

    fn from_text(
        source: &str,
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config> {
        let tables: Table = toml::from_str(text).map_err(|e| {
            // The error's own display quotes the line, which may hold a password.
            let line = e.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            Error::bad_request(format!(
                "configuration {source}, line {line}: {}",
                e.message()
            ))
        })?;
        let mut ours: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (name, value) in env {
            let Some((section, option)) = name
                .strip_prefix(ENV_PREFIX)
                .and_then(|n| n.split_once("__"))
            else {
                continue;
            };
            ours.entry(section.to_string())
                .or_default()
                .push((option.to_string(), value));
        }
        Ok(Config {
            source: source.to_string(),
            tables,
            env: ours,
            known: Mutex::default(),
        })
    }

    /// Takes a section; whatever is wrong in it is said at once. Several crates may each take their part of
    /// the same table.
    pub fn section<T: Section>(&self) -> Result<T> {
        self.know(&T::options());
        let table = match self.tables.get(T::NAME) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(_) => {
                return Err(self.error(&format!("{} is an option outside of any table", T::NAME)));
            }
        };
        let env = self
            .env
            .get(&env_name(T::NAME))
            .map_or(&[][..], Vec::as_slice);
        let mut reader = Reader::new(T::NAME, table, env);
        let section = T::read(&mut reader);
        reader.done().map_err(|problems| self.error(&problems))?;
        Ok(section)
    }

    /// Announces options of parts of the house that do not run in this process, so that one file may serve all.
    pub fn know(&self, options: &[OptionDoc]) {
        let mut known = self.known();
        for option in options {
            known
                .entry(option.section.clone())
                .or_default()
                .insert(option.name.clone());
        }
    }

    /// After every section is taken: refuses what nobody knows, naming what it resembles.
    pub fn finish(&self) -> Result<()> {
        let known = self.known();
        let mut problems = Vec::new();
        for (section, value) in &self.tables {
            match (value, known.get(section)) {
                (Value::Table(table), Some(options)) => {
                    for (name, value) in table.iter().filter(|(name, _)| !options.contains(*name)) {
                        problems.push(unknown_option(section, name, value, names(options)));
                    }
                }
                (Value::Table(_), None) => {
                    let hint = hint(section, known.keys().map(String::as_str));
                    problems.push(format!("[{section}]: there is no such table{hint}"));
                }
                _ => problems.push(format!("{section} is an option outside of any table")),
            }
        }
        for (section, options) in &self.env {
            let of = known
                .iter()
                .find(|(name, _)| env_name(name) == *section)
                .map(|(_, of)| of);
            for (option, _) in options {
                let variable = format!("{ENV_PREFIX}{section}__{option}");
                match of {
                    None => {
                        let sections: Vec<String> =
                            known.keys().map(|name| env_name(name)).collect();
                        let hint = hint(section, sections.iter().map(String::as_str));
                        problems.push(format!("{variable}: there is no such table{hint}"));
                    }
                    Some(of) if !of.iter().any(|name| name.eq_ignore_ascii_case(option)) => {
                        problems.push(format!(
                            "{variable}: there is no such option{}",
                            hint(option, names(of))
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(self.error(&problems.join("\n")))
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        // Nobody panics while holding it, and a set of names cannot be half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, problems: &str) -> Error {
        Error::bad_request(format!("configuration {}: {problems}", self.source))
    }
}

fn names(options: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    options.iter().map(String::as_str)
}

/// A section's name inside a variable's.
fn env_name(section: &str) -> String {
    section
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}
