//! What an extra spec wants of a capability: `<is> True`, `<in> text`, `<or> a <or> b`, `>= 5`, `s== text`, or the same text.

use serde_json::Value;

/// Whether what is offered is what is wanted.
pub fn matches(offered: &Value, wanted: &str) -> bool {
    let text = match offered {
        Value::String(text) => text.clone(),
        // COMPAT: upstream's capabilities are Python's.
        Value::Bool(true) => "True".to_string(),
        Value::Bool(false) => "False".to_string(),
        Value::Null => return false,
        other => other.to_string(),
    };
    let mut words = wanted.split_whitespace();
    let (operator, operand) = (words.next().unwrap_or(""), words.next());
    let number = |holds: fn(f64, f64) -> bool| {
        let both = (text.parse::<f64>(), operand.unwrap_or("").parse::<f64>());
        matches!(both, (Ok(a), Ok(b)) if holds(a, b))
    };
    let words = |holds: fn(&str, &str) -> bool| operand.is_some_and(|o| holds(&text, o));
    match operator {
        "<is>" => operand.is_some_and(|o| oslo_http::is_true(o) == oslo_http::is_true(&text)),
        "<in>" => operand.is_some_and(|o| text.contains(o)),
        "<or>" => wanted
            .split("<or>")
            .map(str::trim)
            .any(|one| !one.is_empty() && one == text),
        // COMPAT: "=" is "at least".
        "=" | ">=" => number(|a, b| a >= b),
        "<=" => number(|a, b| a <= b),
        "==" => number(|a, b| a == b),
        "!=" => number(|a, b| a != b),
        "s==" => words(|a, b| a == b),
        "s!=" => words(|a, b| a != b),
        "s<" => words(|a, b| a < b),
        "s<=" => words(|a, b| a <= b),
        "s>" => words(|a, b| a > b),
        "s>=" => words(|a, b| a >= b),
        _ => text == wanted || offered.as_bool().is_some_and(|b| b.to_string() == wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_operator() {
        for (offered, wanted, holds) in [
            (json!("NFS"), "NFS", true),
            (json!("NFS"), "nfs", false),
            (json!(true), "<is> True", true),
            (json!("false"), "<is> True", false),
            (json!(true), "true", true),
            (json!(true), "True", true),
            (json!("nfs-file"), "<in> file", true),
            (json!("b"), "<or> a <or> b", true),
            (json!("c"), "<or> a <or> b", false),
            (json!(10), ">= 5", true),
            (json!(10), "= 5", true),
            (json!(4), "= 5", false),
            (json!("4"), "<= 5", true),
            (json!(5), "== 5.0", true),
            (json!(5), "!= 5", false),
            (json!("much"), ">= 5", false),
            (json!("abc"), "s== abc", true),
            (json!("abc"), "s!= abc", false),
            (json!("b"), "s> a", true),
            (json!("b"), "s<= a", false),
            (json!(null), "<is> False", false),
            (json!(""), "", true),
        ] {
            assert_eq!(matches(&offered, wanted), holds, "{offered} {wanted}");
        }
    }
}
