//! Expressions that operators write (`filter_function`, `goodness_function`): numbers, text, `volume.size`, arithmetic,
//! comparisons in chains, `not`/`and`/`or` in three spellings, `a ? b : c`, and `abs`, `min`, `max`.
//!
//! Nothing can be reached from here but the facts that are handed in, an expression cannot loop, and its size and depth are limited.

use serde_json::Value as Json;

/// What an expression can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

impl Value {
    /// Whether it counts as yes.
    pub fn truth(&self) -> bool {
        match self {
            Value::Number(n) => *n != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Flag(flag) => *flag,
        }
    }

    fn number(&self) -> Result<f64, String> {
        match self {
            Value::Number(n) => Ok(*n),
            Value::Flag(flag) => Ok(f64::from(u8::from(*flag))),
            Value::Text(text) => Err(format!("'{text}' is not a number")),
        }
    }

    /// A fact or a literal: what looks like a number is one.
    fn of_text(text: &str) -> Value {
        match text.trim().parse::<f64>() {
            Ok(n) if n.is_finite() => Value::Number(n),
            _ => Value::Text(text.replace(['"', '\''], "")),
        }
    }

    fn of_json(value: &Json) -> Option<Value> {
        match value {
            Json::Bool(flag) => Some(Value::Number(f64::from(u8::from(*flag)))),
            Json::Number(n) => n.as_f64().map(Value::Number),
            Json::String(text) => Some(Value::of_text(text)),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

/// Longer expressions are refused.
const LONGEST: usize = 4096;
/// As are deeper ones.
const DEEPEST: usize = 64;

/// What `expression` is where `fact("volume", "size")` tells the facts; why not, in words for an operator.
pub fn evaluate(
    expression: &str,
    fact: &dyn Fn(&str, &str) -> Option<Json>,
) -> Result<Value, String> {
    if expression.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let mut parser = Parser {
        tokens: tokens(expression)?,
        at: 0,
        depth: 0,
        fact,
    };
    let value = parser.either()?;
    match parser.peek() {
        None => Ok(value),
        Some(rest) => Err(format!("'{}' is not expected", rest.text)),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Literal,
    Word,
    Sign,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
}

const TWO: &[&str] = &["<=", ">=", "==", "!=", "<>", "&&", "||"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
            (Kind::Literal, end.unwrap_or(rest.len()))
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            (Kind::Word, end.unwrap_or(rest.len()))
        } else if first == '"' || first == '\'' {
            let end = rest[1..]
                .find(first)
                .ok_or_else(|| "a quotation without an end".to_string())?;
            (Kind::Literal, end + 2)
        } else {
            let two = TWO.iter().any(|t| rest.starts_with(t));
            (Kind::Sign, if two { 2 } else { first.len_utf8() })
        };
        let text = rest[..length].to_string();
        out.push(Token { kind, text });
        rest = &rest[length..];
    }
    Ok(out)
}

/// Reads and calculates in one go, from the loosest binding to the tightest. All branches are calculated, as upstream
/// does with everything but `?`.
struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    fact: &'a dyn Fn(&str, &str) -> Option<Json>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Goes past the next token if it is one of `wanted`.
    fn take(&mut self, wanted: &[&str]) -> Option<String> {
        let next = self.peek()?;
        if next.kind == Kind::Literal || !wanted.contains(&next.text.as_str()) {
            return None;
        }
        let text = next.text.clone();
        self.at += 1;
        Some(text)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        self.take(&[wanted])
            .map(drop)
            .ok_or_else(|| format!("'{wanted}' is missing"))
    }

    fn either(&mut self) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("deeper than {DEEPEST} brackets"));
        }
        let mut left = self.both()?;
        while self.take(&["or", "OR", "||"]).is_some() {
            let right = self.both()?;
            left = if left.truth() { left } else { right };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Value, String> {
        let mut left = self.choice()?;
        while self.take(&["and", "AND", "&&"]).is_some() {
            let right = self.choice()?;
            left = if left.truth() { right } else { left };
        }
        Ok(left)
    }

    fn choice(&mut self) -> Result<Value, String> {
        let condition = self.comparison()?;
        if self.take(&["?"]).is_none() {
            return Ok(condition);
        }
        let yes = self.comparison()?;
        self.expect(":")?;
        let no = self.comparison()?;
        Ok(if condition.truth() { yes } else { no })
    }

    /// `1 < volume.size <= 5` is both.
    fn comparison(&mut self) -> Result<Value, String> {
        let first = self.negation()?;
        let (mut left, mut all, mut any) = (first, true, false);
        while let Some(sign) = self.take(&["<", "<=", ">", ">=", "!=", "==", "<>"]) {
            let right = self.negation()?;
            all &= compare(&left, &sign, &right)?;
            (left, any) = (right, true);
        }
        Ok(if any { Value::Flag(all) } else { left })
    }

    fn negation(&mut self) -> Result<Value, String> {
        let mut times = 0usize;
        while self.take(&["not", "NOT", "!"]).is_some() {
            times += 1;
        }
        let value = self.sum()?;
        Ok(match times {
            0 => value,
            _ => Value::Flag(value.truth() == times.is_multiple_of(2)),
        })
    }

    fn sum(&mut self) -> Result<Value, String> {
        let mut left = self.product()?;
        while let Some(sign) = self.take(&["+", "-"]) {
            let right = self.product()?;
            left = match (&left, sign.as_str(), &right) {
                (Value::Text(a), "+", Value::Text(b)) => Value::Text(format!("{a}{b}")),
                (a, "+", b) => Value::Number(a.number()? + b.number()?),
                (a, _, b) => Value::Number(a.number()? - b.number()?),
            };
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Value, String> {
        let mut left = self.signed()?;
        while let Some(sign) = self.take(&["*", "/"]) {
            let (a, b) = (left.number()?, self.signed()?.number()?);
            left = match sign.as_str() {
                "*" => Value::Number(a * b),
                _ if b == 0.0 => return Err("division by zero".to_string()),
                _ => Value::Number(a / b),
            };
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Value, String> {
        let mut sign = None;
        while let Some(text) = self.take(&["+", "-"]) {
            sign = Some(sign.unwrap_or(1.0) * if text == "-" { -1.0 } else { 1.0 });
        }
        let value = self.power()?;
        match sign {
            None => Ok(value),
            Some(sign) => Ok(Value::Number(sign * value.number()?)),
        }
    }

    fn power(&mut self) -> Result<Value, String> {
        let mut left = self.operand()?;
        while self.take(&["^"]).is_some() {
            let right = self.operand()?.number()?;
            left = Value::Number(left.number()?.powf(right));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Value, String> {
        if self.take(&["("]).is_some() {
            let value = self.either()?;
            self.expect(")")?;
            return Ok(value);
        }
        let Some(token) = self.peek().cloned() else {
            return Err("it ends where a value is expected".to_string());
        };
        self.at += 1;
        match token.kind {
            Kind::Literal => Ok(Value::of_text(&token.text)),
            Kind::Word if matches!(token.text.as_str(), "abs" | "min" | "max") => {
                self.function(&token.text)
            }
            Kind::Word => match token.text.split_once('.') {
                Some((of, name)) => (self.fact)(of, name)
                    .as_ref()
                    .and_then(Value::of_json)
                    .ok_or_else(|| format!("{} is not known", token.text)),
                None => Ok(Value::Text(token.text)),
            },
            Kind::Sign => Err(format!("'{}' is not expected", token.text)),
        }
    }

    fn function(&mut self, name: &str) -> Result<Value, String> {
        self.expect("(")?;
        let mut values = vec![self.either()?.number()?];
        while self.take(&[","]).is_some() {
            values.push(self.either()?.number()?);
        }
        self.expect(")")?;
        let all = values.iter().copied();
        let value = match (name, values.as_slice()) {
            ("abs", [one]) => one.abs(),
            ("abs", _) => return Err("abs has one argument".to_string()),
            ("min", _) => all.fold(f64::INFINITY, f64::min),
            _ => all.fold(f64::NEG_INFINITY, f64::max),
        };
        Ok(Value::Number(value))
    }
}

fn compare(left: &Value, sign: &str, right: &Value) -> Result<bool, String> {
    let order = match (left, right) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Text(_), _) | (_, Value::Text(_)) => match sign {
            "==" => return Ok(false),
            "!=" | "<>" => return Ok(true),
            _ => return Err("a number is compared with words".to_string()),
        },
        (a, b) => a.number()?.partial_cmp(&b.number()?),
    };
    let order = order.ok_or_else(|| "what is not a number is compared".to_string())?;
    Ok(match sign {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "==" => order.is_eq(),
        _ => order.is_ne(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fact(of: &str, name: &str) -> Option<Json> {
        let facts = json!({
            "volume": {"size": 5, "name": "db"},
            "stats": {"free_capacity_gb": 50.5, "total_capacity_gb": "100", "host": "h1@a"},
            "capabilities": {"QoS_support": true, "nothing": null},
        });
        facts.get(of)?.get(name).cloned()
    }

    fn is(text: &str) -> Result<Value, String> {
        evaluate(text, &fact)
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("1+2*3", 7.0),
            ("(1+2)*3", 9.0),
            ("2^3", 8.0),
            ("-2 + 5", 3.0),
            ("10/4", 2.5),
            ("max(1, 2, min(9, 7))", 7.0),
            ("abs(-5)", 5.0),
            ("volume.size * 2", 10.0),
            ("stats.total_capacity_gb / 4", 25.0),
            ("volume.size < 10 ? 100 : 50", 100.0),
            ("(volume.size > 10) ? 100 : 50", 50.0),
        ] {
            assert_eq!(is(text), Ok(Value::Number(value)), "{text}");
        }
    }

    #[test]
    fn flags() {
        for (text, value) in [
            ("volume.size < 10", true),
            ("1 < volume.size <= 5", true),
            ("1 < volume.size < 5", false),
            ("volume.size < 10 and stats.free_capacity_gb > 60", false),
            ("volume.size < 10 || stats.free_capacity_gb > 60", true),
            // As upstream has it, "not" is of what stands next to it: of 5, and false is less than 10.
            ("not volume.size < 10", true),
            ("not (volume.size < 10)", false),
            ("!(volume.size < 10)", false),
            ("stats.host == \"h1@a\"", true),
            ("stats.host == 'h2@a'", false),
            ("stats.host != 5", true),
            ("capabilities.QoS_support == 1", true),
        ] {
            assert_eq!(is(text).map(|v| v.truth()), Ok(value), "{text}");
        }
        assert_eq!(is("5 and 7"), Ok(Value::Number(7.0)));
        assert_eq!(is("0 or 'x'"), Ok(Value::Text("x".into())));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for text in [
            "",
            "1 +",
            "(1",
            "1)",
            "volume.colour",
            "capabilities.nothing",
            "1 / 0",
            "stats.host < 5",
            "'open",
            "abs(1, 2)",
            "1 ? 2",
            "import os",
            "\u{fffd}",
        ] {
            assert!(is(text).is_err(), "{text}");
        }
        assert!(is(&format!("{}1{}", "(".repeat(500), ")".repeat(500))).is_err());
        assert!(is(&"1+".repeat(5000)).is_err());
        assert!(is(&format!("1{}", "+1".repeat(1000))).is_ok());
    }
}
