//! Scopes, words, overrides and their reloading, deprecated defaults, circles.

use crate::{admin, member, with_domain_scope, with_system_scope};
use base::Kind;
use oslo_context::RequestContext;
use oslo_policy::{Enforcer, Target};
use std::path::PathBuf;

const RULES: &str = "
- {name: context_is_admin, check_str: 'role:admin'}
- {name: 'thing:get', check_str: 'role:reader and project_id:%(project_id)s', scope_types: [project],
   description: Show a thing., operations: [{method: GET, path: '/things/{id}'}]}
- {name: 'thing:audit', check_str: 'role:reader', scope_types: [system, domain]}
- name: 'thing:delete'
  check_str: role:manager
  deprecated_rule: {name: 'thing:remove', check_str: 'role:member', since: '2.0'}
";

/// A file of its own for each test, gone at the end.
struct File(PathBuf);

impl File {
    fn new() -> File {
        File(std::env::temp_dir().join(format!("oslo-policy-{}.yaml", base::new_id())))
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the temporary directory is writable");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn enforcer(file: &File) -> Enforcer {
    Enforcer::new(RULES, Some(file.0.clone())).expect("rules are well formed")
}

fn plain() -> Enforcer {
    Enforcer::from_defaults(RULES).expect("rules are well formed")
}

#[test]
fn denial_names_the_rule() {
    let error = plain()
        .enforce("thing:get", &member(), &Target::project("p2"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert_eq!(
        error.message(),
        "Policy doesn't allow thing:get to be performed."
    );
    assert!(
        plain()
            .enforce("thing:get", &member(), &Target::project("p1"))
            .is_ok()
    );
    assert!(
        plain()
            .enforce("thing:unknown", &admin(), &Target::none())
            .is_err()
    );
    let neutron = plain().with_wording(
        |rule| format!("{rule} is disallowed by policy"),
        Some("PolicyNotAuthorized"),
    );
    let error = neutron
        .enforce("thing:get", &member(), &Target::none())
        .unwrap_err();
    assert_eq!(error.message(), "thing:get is disallowed by policy");
    assert_eq!(error.error_class(), Some("PolicyNotAuthorized"));
}

#[test]
fn tokens_of_another_scope_are_refused() {
    let enforcer = plain();
    let error = enforcer
        .enforce("thing:audit", &member(), &Target::none())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert_eq!(
        error.message(),
        "thing:audit requires a scope of ['system', 'domain'], request was made with project scope."
    );
    assert!(enforcer.check("thing:audit", &with_system_scope(), &Target::none()));
    assert!(enforcer.check("thing:audit", &with_domain_scope(), &Target::none()));
    assert!(!enforcer.check("thing:get", &with_system_scope(), &Target::project("p1")));
    let lenient = plain().with_enforce_scope(false);
    assert!(lenient.check("thing:audit", &member(), &Target::none()));
    assert!(enforcer.check("thing:audit", &RequestContext::internal(), &Target::none()));
}

#[test]
fn the_operators_file_is_followed() {
    let file = File::new();
    let enforcer = enforcer(&file);
    let may = |rule: &str| enforcer.check(rule, &member(), &Target::project("p2"));
    assert!(!may("thing:get"), "no file, no override");

    file.write("'thing:get': role:member\n'my:own': '!'\n");
    enforcer.refresh();
    assert!(may("thing:get"));
    assert!(enforcer.has_rule("my:own") && !may("my:own"));

    file.write("'thing:get': [unclosed\n");
    enforcer.refresh();
    assert!(
        may("thing:get"),
        "a broken file leaves the policy as it was"
    );

    file.write(r#"{"thing:get": "rule:my:own", "my:own": [["role:member", "user_id:u1"]]}"#);
    enforcer.refresh();
    assert!(
        may("thing:get"),
        "JSON, a rule of the operator's own, a list of lists"
    );

    file.write("'thing:get': role:member or\n'thing:delete': '@'\n");
    enforcer.refresh();
    assert!(
        !may("thing:get") && may("thing:delete"),
        "a malformed check denies, alone"
    );

    file.write("'thing:get':\n'thing:delete': ''\n");
    enforcer.refresh();
    assert!(
        !may("thing:get") && may("thing:delete"),
        "null is not the empty check"
    );

    file.write("# nothing\n");
    enforcer.refresh();
    assert!(!may("thing:delete"));

    file.write("'thing:get': ''\n");
    enforcer.refresh();
    assert!(may("thing:get"));
    std::fs::remove_file(&file.0).expect("it is there");
    enforcer.refresh();
    assert!(!may("thing:get"), "without the file the defaults are back");
}

#[test]
fn scopes_stay_when_the_check_is_overridden() {
    let file = File::new();
    file.write("'thing:audit': '@'\n");
    assert!(!enforcer(&file).check("thing:audit", &member(), &Target::none()));
}

#[test]
fn deprecated_defaults() {
    assert!(!plain().check("thing:delete", &member(), &Target::none()));
    let old = plain().with_enforce_new_defaults(false);
    assert!(old.check("thing:delete", &member(), &Target::none()));

    let file = File::new();
    file.write("'thing:remove': role:reader\n");
    assert!(
        enforcer(&file).check("thing:delete", &member(), &Target::none()),
        "an override by the old name"
    );
    file.write("'thing:remove': rule:thing:delete\n");
    assert!(
        !enforcer(&file).check("thing:delete", &member(), &Target::none()),
        "only an alias"
    );
    file.write("'thing:delete': '!'\n");
    let strict = enforcer(&file).with_enforce_new_defaults(false);
    assert!(
        !strict.check("thing:delete", &member(), &Target::none()),
        "an override has the last word"
    );
}

#[test]
fn circles_deny_and_end() {
    let file = File::new();
    let wide = vec!["rule:loop"; 40].join(" or ");
    file.write(&format!(
        "a: rule:b\nb: not rule:c\nc: rule:a\nself: not rule:self\nloop: {wide}\nok: rule:self or role:member\n"
    ));
    let enforcer = enforcer(&file);
    let may = |rule: &str| enforcer.check(rule, &member(), &Target::none());
    for rule in ["a", "b", "c", "self", "loop"] {
        assert!(!may(rule), "{rule}");
    }
    assert!(may("ok"));
}

#[test]
fn endless_chains_end() {
    let file = File::new();
    let chain: String = (0..5000)
        .map(|n| format!("r{n}: rule:r{}\n", n + 1))
        .collect();
    file.write(&format!("{chain}r5000: '@'\n"));
    let enforcer = enforcer(&file);
    assert!(!enforcer.check("r0", &member(), &Target::none()));
    assert!(enforcer.check("r4990", &member(), &Target::none()));
}

#[test]
fn administrators_are_marked() {
    let enforcer = plain();
    let (mut boss, mut other) = (admin(), member());
    enforcer.mark_admin(&mut boss);
    enforcer.mark_admin(&mut other);
    assert!(boss.is_admin && !other.is_admin);
}

#[test]
fn rules_can_be_listed() {
    let enforcer = plain();
    let rule = enforcer
        .rules()
        .iter()
        .find(|rule| rule.name == "thing:get")
        .expect("it is there");
    assert_eq!(rule.description.as_deref(), Some("Show a thing."));
    assert_eq!(
        (
            rule.operations[0].method.as_str(),
            rule.operations[0].path.as_str()
        ),
        ("GET", "/things/{id}")
    );
}
