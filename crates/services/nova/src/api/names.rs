//! The `name` filter of lists of servers: a regular expression, as upstream has it.
//!
//! SQLite knows none, and MariaDB's may take exponential time; ours never does. Patterns that mean plain words are asked
//! of the database; for others the names are read, and those that match are asked for by id.

use crate::Nova;
use base::{Error, Result};
use oslo_db::{Cond, contains, eq, is_in, prefix};
use regex::RegexBuilder;

oslo_db::table! {
    struct Name in "instances" { id: String, display_name: String }
}

/// Compiled patterns are no larger.
const MAX_BYTES: usize = 1 << 20;

/// The servers within `scope` whose name matches.
pub(super) async fn matching(nova: &Nova, scope: Cond, pattern: &str) -> Result<Cond> {
    if let Some(plain) = plain(pattern) {
        return Ok(plain);
    }
    let built = RegexBuilder::new(pattern).size_limit(MAX_BYTES).build();
    let regex = built.map_err(|_| {
        Error::bad_request(format!(
            "Invalid filter 'name': '{pattern}' is no regular expression."
        ))
    })?;
    let found = nova.db.read(move |tx| {
        let names = tx.select::<Name>(scope.clone())?;
        let good = names
            .into_iter()
            .filter(|n| regex.is_match(&n.display_name));
        Ok(good.map(|n| n.id).collect::<Vec<_>>())
    });
    Ok(is_in("id", found.await?))
}

/// A pattern without any operator but anchors at its ends.
fn plain(pattern: &str) -> Option<Cond> {
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (end, word) = match rest.strip_suffix('$') {
        Some(word) => (true, word),
        None => (false, rest),
    };
    if word.contains(|c: char| r"\.+*?()|[]{}^$".contains(c)) {
        return None;
    }
    match (start, end) {
        (true, true) => Some(eq("display_name", word)),
        (true, false) => Some(prefix("display_name", word)),
        (false, false) => Some(contains("display_name", word)),
        (false, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_left_to_the_database() {
        for pattern in ["web", "^web", "^web$", "a b", "100%", ""] {
            assert!(plain(pattern).is_some(), "{pattern}");
        }
        for pattern in [
            "web$", "w.b", "web[0-9]", "a|b", r"web\d", "^(a+)+$", "a{2}",
        ] {
            assert!(plain(pattern).is_none(), "{pattern}");
        }
    }
}
