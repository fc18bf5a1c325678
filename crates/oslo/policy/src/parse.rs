//! From check strings to checks. The grammar is oslo.policy's: words separated by blanks, parentheses at their
//! ends, `not` before `and` before `or`; a list of lists is an `or` of `and`s; nothing at all means "anyone".

use crate::check::{Check, Field, FieldValue, Part, Template};
use crate::credentials::Credential;
use crate::target::Key;
use regex::Regex;
use serde_json::Value;

/// How deep parentheses and `not`s may nest.
const MAX_DEPTH: usize = 64;

/// Reads a check from a policy file. The error says what is wrong with it, for the operator.
pub(crate) fn parse(check: &Value) -> Result<Check<String>, String> {
    match check {
        Value::String(text) => parse_text(text),
        Value::Array(any) => parse_lists(any),
        _ => Err("a check is a text or a list".into()),
    }
}

fn parse_lists(any: &[Value]) -> Result<Check<String>, String> {
    if any.is_empty() {
        return Ok(Check::True);
    }
    let mut alternatives = Vec::new();
    for inner in any {
        match inner {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => alternatives.push(parse_leaf(text)?),
            Value::Array(all) if all.is_empty() => {}
            Value::Array(all) => {
                let texts = all
                    .iter()
                    .map(|check| check.as_str().ok_or("a check is a text"));
                let checks = texts.map(|text| parse_leaf(text?));
                alternatives.push(one_or(checks.collect::<Result<Vec<_>, _>>()?, Check::And));
            }
            _ => return Err("a list of checks holds texts and lists of texts".into()),
        }
    }
    if alternatives.is_empty() {
        Ok(Check::False)
    } else {
        Ok(one_or(alternatives, Check::Or))
    }
}

fn one_or(
    mut checks: Vec<Check<String>>,
    join: fn(Vec<Check<String>>) -> Check<String>,
) -> Check<String> {
    match checks.len() {
        1 => checks.remove(0),
        _ => join(checks),
    }
}

fn parse_text(text: &str) -> Result<Check<String>, String> {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Ok(Check::True);
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
    };
    let check = parser.any(0)?;
    match parser.next() {
        None => Ok(check),
        Some(token) => Err(format!(
            "`{}` is not expected where it stands",
            token.text()
        )),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    And,
    Or,
    Not,
    Word(&'t str),
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Open => "(",
            Token::Close => ")",
            Token::And => "and",
            Token::Or => "or",
            Token::Not => "not",
            Token::Word(word) => word,
        }
    }
}

/// Parentheses count only at the ends of a word: those of `%(key)s` are inside it.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for chunk in text.split_whitespace() {
        let word = chunk.trim_start_matches('(');
        tokens.extend((word.len()..chunk.len()).map(|_| Token::Open));
        let bare = word.trim_end_matches(')');
        match bare {
            "" => {}
            _ if bare.eq_ignore_ascii_case("and") => tokens.push(Token::And),
            _ if bare.eq_ignore_ascii_case("or") => tokens.push(Token::Or),
            _ if bare.eq_ignore_ascii_case("not") => tokens.push(Token::Not),
            _ => tokens.push(Token::Word(bare)),
        }
        tokens.extend((bare.len()..word.len()).map(|_| Token::Close));
    }
    tokens
}

struct Parser<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    fn eat(&mut self, wanted: Token<'_>) -> bool {
        let found = self
            .tokens
            .get(self.at)
            .is_some_and(|token| *token == wanted);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Check<String>, String> {
        let mut checks = vec![self.all(depth)?];
        while self.eat(Token::Or) {
            checks.push(self.all(depth)?);
        }
        Ok(one_or(checks, Check::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Check<String>, String> {
        let mut checks = vec![self.one(depth)?];
        while self.eat(Token::And) {
            checks.push(self.one(depth)?);
        }
        Ok(one_or(checks, Check::And))
    }

    fn one(&mut self, depth: usize) -> Result<Check<String>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        match self.next() {
            Some(Token::Not) => Ok(Check::Not(Box::new(self.one(depth + 1)?))),
            Some(Token::Open) => {
                let check = self.any(depth + 1)?;
                if self.eat(Token::Close) {
                    Ok(check)
                } else {
                    Err("a `(` is not closed".into())
                }
            }
            Some(Token::Word(word)) => parse_leaf(word),
            Some(token) => Err(format!(
                "`{}` is not expected where it stands",
                token.text()
            )),
            None => Err("it ends in the middle".into()),
        }
    }
}

/// One `kind:match`.
fn parse_leaf(word: &str) -> Result<Check<String>, String> {
    match word {
        "@" => return Ok(Check::True),
        "!" => return Ok(Check::False),
        _ => {}
    }
    let Some((kind, rest)) = split_kind(word) else {
        return Err(format!("`{word}` is not of the form kind:match"));
    };
    match kind {
        "rule" => Ok(Check::Rule(rest.to_string())),
        "role" => Ok(Check::Role(parse_template(rest)?)),
        "field" => Ok(Check::Field(parse_field(rest)?)),
        "http" | "https" => Err(format!(
            "`{kind}:` checks ask another server and are not offered"
        )),
        _ => {
            let template = parse_template(rest)?;
            if let Some(constant) = parse_literal(kind) {
                return Ok(Check::Constant(constant, template));
            }
            Ok(match Credential::parse(kind) {
                Some(credential) => Check::Credential(credential, template),
                // As with a dictionary that lacks the key: certainly not equal.
                None => Check::False,
            })
        }
    }
}

/// Splits at the first colon; a quoted kind may contain colons.
fn split_kind(word: &str) -> Option<(&str, &str)> {
    if let Some(quote) = word.chars().next().filter(|c| matches!(c, '\'' | '"'))
        && let Some(end) = word[1..].find(quote)
    {
        let (kind, rest) = word.split_at(end + 2);
        return rest.strip_prefix(':').map(|rest| (kind, rest));
    }
    word.split_once(':')
}

/// A Python literal on the left side, as its `str()`.
fn parse_literal(kind: &str) -> Option<String> {
    for quote in ['\'', '"'] {
        if let Some(inner) = kind
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return Some(inner.to_string());
        }
    }
    let number = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_digit());
    (number || matches!(kind, "True" | "False" | "None")).then(|| kind.to_string())
}

/// Text with `%(key)s` and `%%`, as Python's `%` operator reads it.
fn parse_template(text: &str) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let inside = rest
            .strip_prefix('(')
            .and_then(|inside| inside.split_once(")s"));
        let Some((key, after)) = inside else {
            return Err(format!("`{text}`: a `%` that does not begin `%(key)s`"));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Key(Key::new(key)));
        rest = after;
    }
    literal.push_str(rest);
    if parts.is_empty() {
        return Ok(Template::Text(literal));
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    match parts.as_slice() {
        [Part::Key(key)] => Ok(Template::Key(key.clone())),
        _ => Ok(Template::Mixed(parts)),
    }
}

/// `RESOURCE:ATTRIBUTE=VALUE`; the attribute may contain colons (`router:external`), a `~` begins a pattern.
fn parse_field(text: &str) -> Result<Field, String> {
    let parts = text
        .split_once(':')
        .and_then(|(_, rest)| rest.split_once('='));
    let Some((attribute, value)) = parts else {
        return Err(format!(
            "`field:{text}` is not of the form field:resource:attribute=value"
        ));
    };
    let value = match value.strip_prefix('~') {
        None => FieldValue::Is(value.to_string()),
        // Python's `match` begins at the start of the text.
        Some(pattern) => FieldValue::Like(
            Regex::new(&format!("^(?:{pattern})")).map_err(|e| format!("`field:{text}`: {e}"))?,
        ),
    };
    Ok(Field {
        attribute: attribute.to_string(),
        value,
    })
}
