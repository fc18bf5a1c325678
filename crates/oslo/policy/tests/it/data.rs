//! Upstream's own rules: each service's embedded defaults are understood to the last one.

use crate::{admin, member};
use oslo_context::RequestContext;
use oslo_policy::{Enforcer, target};
use serde_json::{Value, json};
use std::path::Path;

fn service(name: &str) -> Enforcer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../services")
        .join(name)
        .join("policy.yaml");
    let text = std::fs::read_to_string(&path).expect("the service has a policy.yaml");
    Enforcer::from_defaults(&text).expect("it is understood")
}

const SERVICES: &[&str] = &[
    "keystone",
    "glance",
    "placement",
    "nova",
    "neutron",
    "cinder",
];

#[test]
fn every_default_is_understood_and_refers_to_rules_that_exist() {
    for name in SERVICES {
        let enforcer = service(name);
        assert!(enforcer.rules().len() > 20, "{name}");
        for rule in enforcer.rules() {
            for word in rule.check_text().split([' ', '(', ')']) {
                if let Some(other) = word.strip_prefix("rule:") {
                    assert!(
                        enforcer.has_rule(other),
                        "{name}: {} refers to {other}",
                        rule.name
                    );
                }
            }
        }
    }
}

#[test]
fn no_default_but_the_open_ones_lets_anonymous_callers_in() {
    for name in SERVICES {
        let enforcer = service(name);
        for rule in enforcer.rules() {
            let open = matches!(
                rule.check_text().as_str(),
                "" | "@" | "rule:regular_user" | "rule:default"
            );
            let by_target = ["'", "True:", "None:", "field:", "not ", "rule:shared"]
                .iter()
                .any(|word| rule.check_text().contains(word));
            if !open && !by_target {
                let allowed = enforcer.check(&rule.name, &RequestContext::anonymous(), &json!({}));
                assert!(!allowed, "{name}: {} = {}", rule.name, rule.check_text());
            }
        }
    }
}

#[test]
fn usual_decisions() {
    let mine = target(&[("project_id", "p1"), ("user_id", "u1")]);
    let theirs = target(&[("project_id", "p2"), ("user_id", "u2")]);
    let image =
        |visibility: &str| json!({"project_id": "p2", "owner": "p2", "visibility": visibility});
    let user = |id: &str| json!({"target": {"user": {"id": id, "domain_id": "d9"}}});
    let cases: &[(&str, &str, RequestContext, &Value, bool)] = &[
        (
            "nova",
            "os_compute_api:servers:create",
            member(),
            &mine,
            true,
        ),
        (
            "nova",
            "os_compute_api:servers:create",
            member(),
            &theirs,
            false,
        ),
        (
            "nova",
            "os_compute_api:os-hypervisors:list",
            member(),
            &mine,
            false,
        ),
        (
            "nova",
            "os_compute_api:os-hypervisors:list",
            admin(),
            &mine,
            true,
        ),
        ("cinder", "volume:create", member(), &mine, true),
        ("cinder", "volume:get", member(), &theirs, false),
        (
            "placement",
            "placement:resource_providers:list",
            member(),
            &mine,
            false,
        ),
        (
            "placement",
            "placement:resource_providers:list",
            admin(),
            &mine,
            true,
        ),
        ("glance", "get_image", member(), &image("public"), true),
        ("glance", "get_image", member(), &image("private"), false),
        ("keystone", "identity:get_user", member(), &user("u1"), true),
        (
            "keystone",
            "identity:get_user",
            member(),
            &user("u2"),
            false,
        ),
        (
            "keystone",
            "identity:create_user",
            admin(),
            &user("u2"),
            true,
        ),
        ("neutron", "get_network", member(), &mine, true),
        (
            "neutron",
            "get_network",
            member(),
            &json!({"project_id": "p2", "shared": true}),
            true,
        ),
        (
            "neutron",
            "get_network",
            member(),
            &json!({"project_id": "p2", "shared": false}),
            false,
        ),
        ("neutron", "create_network:shared", member(), &mine, false),
        ("neutron", "create_network:shared", admin(), &mine, true),
    ];
    for (name, rule, ctx, target, expected) in cases {
        let enforcer = service(name);
        assert!(enforcer.has_rule(rule), "{name} {rule}");
        assert_eq!(
            enforcer.check(rule, ctx, *target),
            *expected,
            "{name} {rule} on {target}"
        );
    }
}
