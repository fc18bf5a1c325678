//! Checks and policy files: read, compiled, asked. Whatever is in them, nobody gets both a yes and its contrary.

use crate::overrides::{Overrides, parse_overrides};
use crate::parse::parse;
use crate::rule::Rule;
use crate::ruleset::Ruleset;
use oslo_context::RequestContext;
use serde_json::{Value, json};
use std::sync::LazyLock;

struct World {
    rules: Vec<Rule>,
    callers: Vec<RequestContext>,
    targets: Vec<Value>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let rule = |name: &str, check: &str| Rule {
        name: name.into(),
        check_str: check.into(),
        scope_types: Vec::new(),
        description: None,
        operations: Vec::new(),
        deprecated_rule: None,
        deprecated_for_removal: false,
    };
    let caller = |project: Option<&str>, roles: &[&str]| RequestContext {
        user_id: project.map(|_| "u".to_string()),
        project_id: project.map(str::to_string),
        roles: roles.iter().map(|r| r.to_string()).collect(),
        ..RequestContext::default()
    };
    World {
        rules: vec![
            rule("admin", "role:admin"),
            rule("owner", "project_id:%(project_id)s"),
            rule("default", "rule:admin or rule:owner"),
        ],
        callers: vec![
            caller(None, &[]),
            caller(Some("p"), &["member", "reader"]),
            caller(Some("q"), &["admin"]),
        ],
        targets: vec![
            json!({}),
            json!({"project_id": "p", "user_id": "u", "shared": true, "n": 7, "null": null}),
            json!({"target": {"user.id": "u", "user": {"domain": {"id": "d"}}}, "l": ["p"]}),
        ],
    }
});

/// Whether any caller may do `rule` to anything, and what each may.
fn answers(rules: &Ruleset, rule: &str) -> Vec<bool> {
    let index = rules.find(rule).expect("it was just compiled");
    let each = WORLD.callers.iter().flat_map(|caller| {
        let ask = move |target: &Value| rules.allows(index, caller, target);
        WORLD.targets.iter().map(ask)
    });
    each.collect()
}

/// A check, a list of lists of checks in JSON, or a whole file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    check(&Value::from(text));
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let _ = parse(&value);
    }
    let Ok(overrides) = parse_overrides(text) else {
        return;
    };
    let rules = Ruleset::compile(&WORLD.rules, &overrides, true);
    for (name, value) in &overrides {
        let answers = answers(&rules, name);
        if parse(value).is_err() {
            assert!(
                !answers.contains(&true),
                "{name}: {value} is not understood"
            );
        }
    }
}

fn check(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let Ok(_) = parse(value) else {
        return;
    };
    let named = [
        ("it", text.to_string()),
        ("not", format!("not ( {text} )")),
        ("not not", format!("not ( not ( {text} ) )")),
        ("same", format!("( {text} )")),
        ("never", format!("( {text} ) and !")),
        ("always", format!("( {text} ) or @")),
        // What is not there is neither true nor false.
        ("unknown", format!("( {text} ) and rule:nowhere")),
        ("not known", format!("not ( ( {text} ) or rule:nowhere )")),
    ];
    // What says nothing says "anyone", and is nothing that could be put into parentheses.
    if text.trim().is_empty() {
        return;
    }
    let overrides: Overrides = named
        .into_iter()
        .map(|(name, check)| (name.to_string(), Value::from(check)))
        .collect();
    let rules = Ruleset::compile(&WORLD.rules, &overrides, true);
    let [it, not, twice, same, never, always] =
        ["it", "not", "not not", "same", "never", "always"].map(|name| answers(&rules, name));
    assert!(!never.contains(&true), "{text}");
    for name in ["unknown", "not known"] {
        assert!(!answers(&rules, name).contains(&true), "{text}");
    }
    // A check that is deep enough already is too deep in parentheses; it then denies.
    if parse(&overrides["always"]).is_ok() {
        assert!(!always.contains(&false), "{text}");
    }
    for n in 0..it.len() {
        assert!(!(it[n] && not[n]), "both {text} and its contrary");
        assert!(!(twice[n] && not[n]), "both not {text} and its contrary");
        // Inside itself a rule is undecided, so each may decide less than another, but nothing else.
        assert!(!(same[n] && not[n]), "both ({text}) and its contrary");
    }
    if !text.contains("rule:") && parse(&overrides["not not"]).is_ok() {
        assert_eq!(it, same, "{text}");
        assert_eq!(it, twice, "{text}");
    }
}
