//! `{0} of {1}`: texts with places for what the rule's remote part matched, and Python's way to write lists of texts.

use super::{Outcome, Refusal};

/// Longer texts are not made.
const MAX_TEXT: usize = 16 << 10;
/// More places than anybody needs.
const MAX_PIECES: usize = 64;

/// The values of each match that fills a place.
pub(super) type Matches = Vec<Vec<String>>;

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Match(usize),
}

/// A text with places.
#[derive(Debug, PartialEq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads `{n}`, `{}` (the next one), `{{` and `}}`. Nothing else of Python's language of formats is taken.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut plain = String::new();
        let mut next = 0;
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let tail = &rest[at..];
            if let Some(after) = tail.strip_prefix("{{") {
                plain.push('{');
                rest = after;
                continue;
            }
            if let Some(after) = tail.strip_prefix("}}") {
                plain.push('}');
                rest = after;
                continue;
            }
            let inner = tail.strip_prefix('{').and_then(|t| t.split_once('}'));
            let (number, after) = inner.ok_or_else(|| format!("'{text}' has a lone brace"))?;
            let index = match number {
                "" => {
                    next += 1;
                    next - 1
                }
                digits if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                    digits.parse().unwrap_or(usize::MAX)
                }
                _ => return Err(format!("'{{{number}}}' is not the number of a match")),
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Match(index));
            if pieces.len() > MAX_PIECES {
                return Err(format!("'{text}' has too many places"));
            }
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template(pieces))
    }

    /// The one match that it consists of.
    pub(super) fn lone_match(&self) -> Option<usize> {
        match self.0.as_slice() {
            [Piece::Match(index)] => Some(*index),
            _ => None,
        }
    }

    /// The text with its places filled; several values look as Python shows a list.
    pub(super) fn fill(&self, matches: &Matches) -> Outcome<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Match(index) => match found(matches, *index)? {
                    [value] => out.push_str(value),
                    values => out.push_str(&shown(values)),
                },
            }
            if out.len() > MAX_TEXT {
                return Err(Refusal::Assertion("A mapped value is too long".into()));
            }
        }
        Ok(out)
    }

    /// The same of something that must name one thing: a place without a value, or with several, names none.
    pub(super) fn fill_one(&self, matches: &Matches) -> Outcome<String> {
        for piece in &self.0 {
            if let Piece::Match(index) = piece
                && found(matches, *index)?.is_empty()
            {
                return Err(Refusal::Assertion(
                    "An attribute that names somebody has no value left".into(),
                ));
            }
        }
        self.fill(matches)
    }

    /// The texts of a list: the values of a match, or a list written as Python writes it, or the text alone.
    pub(super) fn fill_list(&self, matches: &Matches) -> Outcome<Vec<String>> {
        if let Some(index) = self.lone_match() {
            let values = found(matches, index)?;
            if values.len() != 1 {
                return Ok(values.to_vec());
            }
        }
        let text = self.fill(matches)?;
        Ok(list(&text).unwrap_or_else(|| vec![text]))
    }
}

pub(super) fn found(matches: &Matches, index: usize) -> Outcome<&[String]> {
    let values = matches.get(index).map(Vec::as_slice);
    values.ok_or_else(|| {
        Refusal::Mapping(format!(
            "Local section in mapping refers to a remote match that doesn't exist (e.g. {{{index}}} in a local section)."
        ))
    })
}

/// `['a', "it's"]`
fn shown(values: &[String]) -> String {
    let mut out = String::from("[");
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let quote = match value.contains('\'') && !value.contains('"') {
            true => '"',
            false => '\'',
        };
        out.push(quote);
        for c in value.chars() {
            if c == quote || c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        out.push(quote);
        if out.len() > MAX_TEXT {
            break;
        }
    }
    out.push(']');
    out
}

/// The texts of a list as Python writes it; nothing if it is anything else.
fn list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.trim_start();
    let mut values = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            return after.is_empty().then_some(values);
        }
        let (value, after) = quoted(rest)?;
        values.push(value);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with(']') => {}
            None => return None,
        }
    }
}

/// A quoted text and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, escaped) = chars.next()?;
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '\'' | '"' => escaped,
                    _ => return None,
                });
            }
            _ if c == quote => return Some((out, &text[at + c.len_utf8()..])),
            _ => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, matches: &[&[&str]]) -> Outcome<String> {
        let owned = |values: &&[&str]| values.iter().map(|v| v.to_string()).collect();
        let matches: Matches = matches.iter().map(owned).collect();
        Template::parse(text).unwrap().fill(&matches)
    }

    #[test]
    fn places() {
        let matches: &[&[&str]] = &[&["Bob"], &["a", "it's", "\\"]];
        for (text, wanted) in [
            ("{0} Smith", "Bob Smith"),
            ("{}-{}", "Bob-['a', \"it's\", '\\\\']"),
            ("{{0}}", "{0}"),
            ("", ""),
        ] {
            assert_eq!(filled(text, matches).unwrap(), wanted, "{text}");
        }
        assert!(matches!(filled("{2}", matches), Err(Refusal::Mapping(_))));
        for bad in [
            "{",
            "}",
            "{0",
            "{0.__class__}",
            "{0!r}",
            "{0:>9}",
            "{-1}",
            "{x}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists() {
        let texts = |texts: &[&str]| Some(texts.iter().map(|t| t.to_string()).collect::<Vec<_>>());
        assert_eq!(
            list("['a', \"it's\", 'c\\'d']"),
            texts(&["a", "it's", "c'd"])
        );
        assert_eq!(list("[]"), texts(&[]));
        assert_eq!(list(" ['a',] "), texts(&["a"]));
        for other in [
            "a",
            "[",
            "['a'",
            "['a' 'b']",
            "[1]",
            "['a']x",
            "['a'], 'b'",
            "[['a']]",
        ] {
            assert_eq!(list(other), None, "{other}");
        }
        // What is shown is read again as it was.
        let values = ["x".to_string(), "y'\"\\]".to_string()];
        assert_eq!(list(&shown(&values)).unwrap(), values);
    }
}
