//! Tables of rules and assertions, and hostile ones of both.

use super::*;
use serde_json::json;
use std::time::{Duration, Instant};

fn run(version: &str, rules: Value, assertion: Value) -> Outcome<Mapped> {
    let mapping = json!({"rules": rules, "schema_version": version});
    map(
        mapping.to_string().as_bytes(),
        assertion.to_string().as_bytes(),
    )
}

fn words(outcome: Outcome<Mapped>) -> String {
    match outcome {
        Ok(mapped) => panic!("{mapped:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

fn rule(local: Value, remote: Value) -> Value {
    json!([{"local": local, "remote": remote}])
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| t.to_string()).collect()
}

fn named(name: &str) -> Domain {
    Domain {
        name: Some(name.into()),
        id: None,
    }
}

#[test]
fn names_are_put_together_and_tests_take_no_place() {
    let rules = rule(
        json!([{"user": {"name": "{0} {1}", "email": "{2}"}}, {"group": {"id": "0cd5e9"}}]),
        json!([
            {"type": "FirstName"},
            {"type": "orgPersonType", "not_any_of": ["Contractor", "Guest"]},
            {"type": "LastName"},
            {"type": "Email"},
        ]),
    );
    let assertion = json!({"FirstName": "Bob", "LastName": "Thompson", "Email": "b@example.org", "orgPersonType": "Employee"});
    let mapped = run("1.0", rules.clone(), assertion.clone()).unwrap();
    assert_eq!(mapped.user.name.as_deref(), Some("Bob Thompson"));
    assert_eq!(mapped.user.email.as_deref(), Some("b@example.org"));
    assert_eq!(mapped.user.kind, UserKind::Ephemeral);
    assert_eq!(mapped.group_ids, ["0cd5e9"]);
    assert_eq!(mapped.projects, None);
    for unfit in ["Guest", "Employee;Contractor"] {
        let mut assertion = assertion.clone();
        assertion["orgPersonType"] = unfit.into();
        assert!(words(run("1.0", rules.clone(), assertion)).starts_with("Could not map"));
    }
    let mut without = assertion;
    without.as_object_mut().unwrap().remove("Email");
    assert!(run("1.0", rules, without).is_err());
}

#[test]
fn lists_of_groups() {
    let groups = |test: Value, given: &str| {
        let mut remote = json!({"type": "groups"});
        remote
            .as_object_mut()
            .unwrap()
            .extend(test.as_object().unwrap().clone());
        let local = json!([{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"name": "D"}}]);
        let rules = rule(local, json!([{"type": "user"}, remote]));
        let mapped = run("1.0", rules, json!({"user": "u", "groups": given}));
        let names = |m: Mapped| m.groups.into_iter().map(|g| g.name).collect::<Vec<_>>();
        mapped.map(names)
    };
    for (test, given, wanted) in [
        (json!({}), "a;b", texts(&["a", "b"])),
        (json!({}), "a", texts(&["a"])),
        (json!({}), "['a', 'b']", texts(&["a", "b"])),
        (
            json!({"whitelist": ["b", "c"]}),
            "a;b;c;b",
            texts(&["b", "c"]),
        ),
        (json!({"whitelist": ["b"]}), "a", texts(&[])),
        (
            json!({"whitelist": ["^b", "x$"], "regex": true}),
            "ab;bb;cx",
            texts(&["bb", "cx"]),
        ),
        (json!({"blacklist": ["b"]}), "a;b;c", texts(&["a", "c"])),
        (
            json!({"blacklist": ["b"], "regex": true}),
            "ab;c",
            texts(&["c"]),
        ),
        // A pattern is not a text, a text not a pattern.
        (json!({"whitelist": ["a.c"]}), "abc;a.c", texts(&["a.c"])),
    ] {
        assert_eq!(
            groups(test.clone(), given).unwrap(),
            wanted,
            "{test} {given}"
        );
    }
}

#[test]
fn patterns_choose_rules() {
    let rules = json!([
        {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "user"}]},
        {"local": [{"group": {"name": "staff", "domain": {"id": "d"}}}],
         "remote": [{"type": "mail", "any_one_of": [r"@example\.(org|com)$"], "regex": true}]},
        {"local": [{"group_ids": "{0}"}], "remote": [{"type": "ids"}]},
    ]);
    let mapped = |mail: &str| {
        run(
            "1.0",
            rules.clone(),
            json!({"user": "u", "mail": mail, "ids": "1;2;1"}),
        )
        .unwrap()
    };
    let staff = mapped("a@example.org");
    assert_eq!(staff.groups.len(), 1);
    assert_eq!(staff.groups[0].domain.id.as_deref(), Some("d"));
    assert_eq!(staff.group_ids, ["1", "2"]);
    assert_eq!(mapped("a@example.org.evil").groups, []);
}

#[test]
fn groups_of_another_cloud() {
    let local = json!([{"user": {"name": "{0}", "domain": {"name": "{1}"}, "type": "local"}, "groups": "{2}"}]);
    let remote = json!([{"type": "openstack_user"}, {"type": "openstack_user_domain"}, {"type": "openstack_groups"}]);
    let run = |groups: &str| {
        let assertion = json!({"openstack_user": "u", "openstack_user_domain": "D", "openstack_groups": groups});
        run("1.0", rule(local.clone(), remote.clone()), assertion)
    };
    let mapped =
        run(r#"JSON:{"name":"g","domain":{"name":"D"}};JSON:{"name":"h","domain":{"id":"x"}}"#)
            .unwrap();
    assert_eq!(mapped.user.kind, UserKind::Local);
    assert_eq!(mapped.user.domain, Some(named("D")));
    let names: Vec<&str> = mapped.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["g", "h"]);
    for bad in ["g", "JSON:", "JSON:{}", r#"JSON:{"name":"g"}"#, "JSON:[1]"] {
        assert!(run(bad).is_err(), "{bad}");
    }
}

#[test]
fn projects_and_domains_by_version() {
    let project = json!({"name": "p-{0}", "roles": [{"name": "member"}]});
    let local = json!([{"user": {"name": "{0}"}, "projects": [project], "domain": {"id": "d"}}]);
    let rules = rule(local, json!([{"type": "u"}]));
    let first = run("1.0", rules.clone(), json!({"u": "x"})).unwrap();
    let second = run("2.0", rules, json!({"u": "x"})).unwrap();
    let projects = |m: &Mapped| m.projects.clone().unwrap();
    assert_eq!(projects(&first)[0].name, "p-x");
    assert_eq!(projects(&first)[0].roles, ["member"]);
    assert_eq!(
        (projects(&first)[0].domain.clone(), first.user.domain),
        (None, None)
    );
    let id = |d: &Option<Domain>| d.as_ref().unwrap().id.clone().unwrap();
    assert_eq!(id(&projects(&second)[0].domain), "d");
    assert_eq!(id(&second.user.domain), "d");

    let told = rule(
        json!([{"user": {"name": "{0}"}, "projects_json": "{1}"}]),
        json!([{"type": "u"}, {"type": "p"}]),
    );
    let say = |text: &str| run("3.0", told.clone(), json!({"u": "x", "p": text}));
    let mapped = say(r#"[{"name":"a;b","roles":[{"name":"r"}],"domain":{"name":"D"}}]"#).unwrap();
    assert_eq!(projects(&mapped)[0].name, "a;b");
    assert_eq!(projects(&mapped)[0].domain, Some(named("D")));
    for bad in [
        "",
        "{}",
        "[1]",
        r#"[{"name":"a"}]"#,
        r#"[{"name":"a","roles":["r"]}]"#,
    ] {
        assert!(say(bad).is_err(), "{bad}");
    }
    assert!(words(run("2.0", told, json!({}))).contains("projects_json"));
}

#[test]
fn malformed_rules_say_where() {
    let user = json!([{"user": {"name": "{0}"}}]);
    let there = json!([{"type": "a"}]);
    for (rules, wanted) in [
        (json!(null), "'rules'"),
        (json!([]), "should be non-empty"),
        (json!([1]), "rules/0"),
        (json!([{"local": []}]), "'remote' is a required property"),
        (rule(user.clone(), json!([])), "rules/0/remote"),
        (
            rule(json!([{"users": {}}]), there.clone()),
            "'users' was unexpected",
        ),
        (
            rule(json!([{"user": {"nme": "x"}}]), there.clone()),
            "rules/0/local/0/user",
        ),
        (
            rule(json!([{"user": {"type": "root"}}]), there.clone()),
            "'root' is not one of",
        ),
        (
            rule(json!([{"user": {"name": "{0.__class__}"}}]), there.clone()),
            "number of a match",
        ),
        (
            rule(json!([{"group": {"name": "g"}}]), there.clone()),
            "rules/0/local/0/group",
        ),
        (
            rule(json!([{"group": {"id": "g", "name": "h"}}]), there.clone()),
            "not valid under any",
        ),
        (
            rule(json!([{"groups": ["g"]}]), there.clone()),
            "not of type 'string'",
        ),
        (
            rule(json!([{"projects": [{"name": "p"}]}]), there),
            "'roles' is a required",
        ),
        (
            rule(user.clone(), json!([{"any_one_of": []}])),
            "'type' is a required",
        ),
        (
            rule(
                user.clone(),
                json!([{"type": "a", "any_one_of": [], "not_any_of": []}]),
            ),
            "not valid under any",
        ),
        (
            rule(user.clone(), json!([{"type": "a", "regex": true}])),
            "'regex'",
        ),
        (
            rule(user.clone(), json!([{"type": "a", "whitelist": "x"}])),
            "not of type 'array'",
        ),
        (
            rule(
                user.clone(),
                json!([{"type": "a", "whitelist": ["("], "regex": true}]),
            ),
            "regular expression",
        ),
        (
            rule(
                user.clone(),
                json!([{"type": "a", "whitelist": [1], "regex": true}]),
            ),
            "not of type 'string'",
        ),
        (
            rule(
                user,
                json!([{"type": "a", "whitelist": [], "regex": "yes"}]),
            ),
            "not of type 'boolean'",
        ),
    ] {
        let said = words(run("1.0", rules.clone(), json!({"a": "x"})));
        assert!(said.contains(wanted), "{rules}: {said}");
    }
    assert!(words(run("4.0", json!([]), json!({}))).contains("version"));
}

#[test]
fn a_place_without_a_match_is_refused() {
    let rules = rule(json!([{"user": {"name": "{1}"}}]), json!([{"type": "a"}]));
    assert!(words(run("1.0", rules, json!({"a": "x"}))).contains("{1} in a local section"));
    // Otherwise all who have none of the wanted values would be one user.
    let rules = rule(
        json!([{"user": {"name": "{0}"}}]),
        json!([{"type": "a", "whitelist": ["w"]}]),
    );
    assert!(words(run("1.0", rules, json!({"a": "x"}))).contains("no value left"));
}

#[test]
fn hostile_rules_and_assertions_are_bounded() {
    let began = Instant::now();
    let with = |patterns: Vec<String>| {
        rule(
            json!([{"user": {"name": "{0}"}}]),
            json!([{"type": "u"}, {"type": "a", "any_one_of": patterns, "regex": true}]),
        )
    };
    let value = "a".repeat(20_000);
    let assertion = json!({"u": "u", "a": format!("{}!", "a".repeat(1000))});
    let long = with(vec!["a".into()]);
    assert!(
        words(run("1.0", long, json!({"u": "u", "a": value}))).contains("too long for a pattern")
    );
    // Backtracking, with and without what only backtracking can do.
    for pattern in [
        "(a+)+$",
        "(a|aa)+$",
        r"(?=(a+)+$)b",
        r"^(a+)+\1$",
        r"(a*)*(?<!x)c",
    ] {
        let _ = run("1.0", with(vec![pattern.into()]), assertion.clone());
    }
    // Repetitions of repetitions; many patterns; long ones.
    assert!(run("1.0", with(vec!["((a{900}){900}){900}".into()]), json!({})).is_err());
    assert!(run("1.0", with(vec!["a".into(); 300]), json!({})).is_err());
    assert!(run("1.0", with(vec!["a".repeat(5000)]), json!({})).is_err());
    // Many values against many patterns, and against many texts.
    let values = vec!["b"; 1000].join(";");
    let many = with((0..250).map(|i| format!("x{i}")).collect());
    assert!(
        run(
            "1.0",
            with(vec![r"(?=(a+)+$)b".into(); 20]),
            assertion.clone()
        )
        .is_err()
    );
    assert!(words(run("1.0", many, json!({"u": "u", "a": values}))).contains("too large"));
    let texts: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let plain = rule(
        json!([{"user": {"name": "{0}"}}]),
        json!([{"type": "a", "whitelist": texts}]),
    );
    assert!(words(run("1.0", plain, json!({"a": values}))).contains("too large"));
    assert!(
        words(run(
            "1.0",
            with(vec!["x".into()]),
            json!({"u": "u", "a": ";".repeat(5000)})
        ))
        .contains("too many values")
    );
    // A text of texts of texts.
    let big = rule(
        json!([{"user": {"name": "{0}".repeat(60)}}]),
        json!([{"type": "a"}]),
    );
    assert!(words(run("1.0", big, json!({"a": value}))).contains("too long"));
    let deep = "[".repeat(100_000);
    assert!(map(deep.as_bytes(), b"{}").is_err());
    assert!(map(b"{}", deep.as_bytes()).is_err());
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
}
