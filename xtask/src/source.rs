//! Rust text taken apart just far enough: per line, the code without texts and comments, and the comment.

/// One line of a source file.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Line {
    /// Code; string and character literals are emptied, comments removed.
    pub(crate) code: String,
    /// What stands in comments.
    pub(crate) comment: String,
    /// Whether it is inside a `#[cfg(test)]` item.
    pub(crate) test: bool,
}

enum State {
    Code,
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
    Text,
    /// Until a quote and this many `#`.
    RawText(usize),
}

pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut state = State::Code;
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied());
        at += 1;
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(std::mem::take(&mut line));
            continue;
        }
        state = match state {
            State::Code => match (c, next) {
                ('/', Some('/')) => State::LineComment,
                ('/', Some('*')) => {
                    at += 1;
                    State::BlockComment(1)
                }
                ('"', _) => {
                    line.code.push('"');
                    State::Text
                }
                ('r', Some('"' | '#')) if !ends_in_word(&line.code) || line.code.ends_with('b') => {
                    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                    if chars.get(at + hashes) == Some(&'"') {
                        at += hashes + 1;
                        line.code.push('"');
                        State::RawText(hashes)
                    } else {
                        line.code.push(c);
                        State::Code
                    }
                }
                ('\'', Some(first)) => {
                    // A character, unless it is a lifetime.
                    let length = if first == '\\' {
                        chars[at + 1..]
                            .iter()
                            .skip(1)
                            .position(|c| *c == '\'')
                            .map(|end| end + 4)
                    } else {
                        (chars.get(at + 1) == Some(&'\'')).then_some(3)
                    };
                    at += length.map_or(0, |length| length - 1);
                    line.code.push('\'');
                    State::Code
                }
                _ => {
                    line.code.push(c);
                    State::Code
                }
            },
            State::LineComment => {
                line.comment.push(c);
                State::LineComment
            }
            State::BlockComment(depth) => match (c, next) {
                ('*', Some('/')) => {
                    at += 1;
                    if depth == 1 {
                        State::Code
                    } else {
                        State::BlockComment(depth - 1)
                    }
                }
                ('/', Some('*')) => {
                    at += 1;
                    State::BlockComment(depth + 1)
                }
                _ => {
                    line.comment.push(c);
                    State::BlockComment(depth)
                }
            },
            State::Text => match c {
                '\\' => {
                    // A line that ends in a backslash still ends.
                    at += usize::from(next.is_some_and(|next| next != '\n'));
                    State::Text
                }
                '"' => State::Code,
                _ => State::Text,
            },
            State::RawText(hashes) => {
                let closes = c == '"'
                    && chars[at..]
                        .iter()
                        .take(hashes)
                        .filter(|c| **c == '#')
                        .count()
                        == hashes;
                at += if closes { hashes } else { 0 };
                if closes {
                    State::Code
                } else {
                    State::RawText(hashes)
                }
            }
        };
    }
    if !line.code.is_empty() || !line.comment.is_empty() {
        lines.push(line);
    }
    mark_tests(&mut lines);
    lines
}

fn ends_in_word(code: &str) -> bool {
    code.chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// Marks what stands under `#[cfg(test)]`, to the brace that closes it or the semicolon that ends it.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].code.contains("#[cfg(test)]") {
            at += 1;
            continue;
        }
        let (mut depth, mut opened, mut rest) = (0_i64, false, true);
        while at < lines.len() && rest {
            lines[at].test = true;
            let code = lines[at].code.replace("#[cfg(test)]", "");
            for c in code.chars() {
                match c {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => depth -= 1,
                    ';' if !opened => rest = false,
                    _ => {}
                }
            }
            rest &= !(opened && depth <= 0);
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_comments_are_set_apart() {
        let code = |text: &str| {
            lines(text)
                .iter()
                .map(|line| line.code.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(code("let a = \"x // {\"; // b"), ["let a = \"; "]);
        assert_eq!(
            code("r#\"a \" b\"# + br\"c\" + 'x' + '\\'' + '\\u{7d}' + &'a str"),
            ["\" + b\" + ' + ' + ' + &'a str"]
        );
        assert_eq!(code("a /* { /* } */ x */ b"), ["a  b"]);
        assert_eq!(
            code("let a = \"x \\\n y\\\"z\" + b"),
            ["let a = \"", " + b"]
        );
        assert_eq!(lines("x // why")[0].comment, "/ why");
    }

    #[test]
    fn tests_are_marked() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { \"}\" }\n}\nfn c() {}\n#[cfg(test)]\nuse x;\nfn d() {}\n";
        let marks: Vec<bool> = lines(text).iter().map(|line| line.test).collect();
        assert_eq!(
            marks,
            [false, true, true, true, true, false, true, true, false]
        );
    }
}
