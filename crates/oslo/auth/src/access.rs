//! The requests that an application credential with access rules is good for.

use base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One kind of request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// The type of the service, `compute`.
    pub service: String,
    /// The path, where `*` and `{name}` stand for a part and `**` for anything.
    pub path: String,
    /// The method.
    pub method: String,
}

impl AccessRule {
    /// Whether the rule is about this request to a service that is known by any of `types`.
    pub fn allows(&self, types: &[&str], method: &str, path: &str) -> bool {
        self.method == method
            && types.contains(&self.service.as_str())
            && path_matches(&self.path, path)
    }

    /// Those of a token's `application_credential`; none if it has no rules.
    pub(crate) fn of_token(token: &Value) -> Result<Option<Vec<AccessRule>>> {
        let rules = &token["application_credential"]["access_rules"];
        if rules.is_null() {
            return Ok(None);
        }
        // Rules that cannot be read allow nothing; they do not allow everything.
        let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
        let rules = rules
            .iter()
            .filter_map(|r| AccessRule::deserialize(r).ok())
            .collect();
        Ok(Some(rules))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Literal(u8),
    /// One byte or more, but no slash.
    Part,
    /// Anything.
    Any,
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let bytes = pattern.as_bytes();
    let (mut pieces, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let closed = bytes[at..].iter().position(|b| *b == b'}');
        match (byte, closed) {
            (b'{', Some(length)) => {
                pieces.push(Piece::Part);
                at += length;
            }
            (b'*', _) if bytes.get(at + 1) == Some(&b'*') => {
                pieces.push(Piece::Any);
                at += 1;
            }
            (b'*', _) => pieces.push(Piece::Part),
            _ => pieces.push(Piece::Literal(byte)),
        }
        at += 1;
    }
    pieces
}

/// Whether the pattern is about the path. All ways are followed side by side, so no pattern takes long.
pub fn path_matches(pattern: &str, path: &str) -> bool {
    let pieces = pieces(pattern);
    // `open[i]`: what was read so far fits the first `i` pieces.
    let mut open = vec![false; pieces.len() + 1];
    open[0] = true;
    skip_any(&pieces, &mut open);
    for byte in path.bytes() {
        let mut next = vec![false; pieces.len() + 1];
        for (at, piece) in pieces.iter().enumerate().filter(|(at, _)| open[*at]) {
            match piece {
                Piece::Literal(wanted) => next[at + 1] |= *wanted == byte,
                Piece::Part if byte != b'/' => {
                    next[at] = true;
                    next[at + 1] = true;
                }
                Piece::Part => {}
                Piece::Any => next[at] = true,
            }
        }
        skip_any(&pieces, &mut next);
        open = next;
    }
    open[pieces.len()]
}

/// `**` may stand for nothing.
fn skip_any(pieces: &[Piece], open: &mut [bool]) {
    for (at, piece) in pieces.iter().enumerate() {
        if open[at] && *piece == Piece::Any {
            open[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("/v2.1/servers", "/v2.1/servers", true),
            ("/v2.1/servers", "/v2.1/servers/", false),
            ("/v2.1/servers", "/v2x1/servers", false),
            ("/v2.1/servers/*", "/v2.1/servers/1", true),
            ("/v2.1/servers/*", "/v2.1/servers/", false),
            ("/v2.1/servers/*", "/v2.1/servers/1/action", false),
            (
                "/v2.1/servers/{server_id}/action",
                "/v2.1/servers/1/action",
                true,
            ),
            ("/v2.1/servers/{a}-{b}", "/v2.1/servers/x-y-z", true),
            ("/v2.1/**", "/v2.1/", true),
            ("/v2.1/**", "/v2.1/a/b/c", true),
            ("/v2.1/**", "/v2.0/a", false),
            ("**/a/*", "/x/y/a/b", true),
            ("**/a/*", "/x/y/a/b/c", false),
            ("/v1/***", "/v1/a/b", true),
            ("/{", "/{", true),
            ("", "", true),
            ("", "/", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(path_matches(pattern, path), expected, "{pattern} {path}");
        }
        let slow = format!("/{}x", "**a".repeat(70));
        assert!(!path_matches(&slow, &"a".repeat(4000)));
    }

    #[test]
    fn a_token_without_readable_rules_is_good_for_nothing() {
        let token = |rules: &str| {
            let text = format!(r#"{{"application_credential": {{"id": "a"{rules}}}}}"#);
            AccessRule::of_token(&serde_json::from_str(&text).unwrap()).unwrap()
        };
        assert_eq!(token(""), None);
        assert_eq!(token(r#", "access_rules": []"#), Some(vec![]));
        assert_eq!(token(r#", "access_rules": "all""#), Some(vec![]));
        assert_eq!(token(r#", "access_rules": [{"path": "/"}]"#), Some(vec![]));
        let one = token(
            r#", "access_rules": [{"id": "r", "path": "/v1/*", "method": "GET", "service": "toy"}]"#,
        );
        let rule = one.unwrap().pop().unwrap();
        assert!(rule.allows(&["toy"], "GET", "/v1/a"));
        assert!(!rule.allows(&["toy"], "HEAD", "/v1/a"));
        assert!(!rule.allows(&["game"], "GET", "/v1/a"));
        assert!(!rule.allows(&[], "GET", "/v1/a"));
    }
}
