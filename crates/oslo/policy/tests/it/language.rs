//! Check strings and what they come to.

use crate::{admin, member, with_domain_scope, with_system_scope};
use oslo_context::RequestContext;
use oslo_policy::{Enforcer, Lookup};
use serde_json::{Value, json};

/// An enforcer with one rule `r` among a few to refer to.
fn enforcer(check: &Value) -> Enforcer {
    let rules = json!([
        {"name": "r", "check_str": check},
        {"name": "yes", "check_str": "@"},
        {"name": "no", "check_str": "!"},
        {"name": "owner", "check_str": "project_id:%(project_id)s"},
    ]);
    Enforcer::from_defaults(&rules.to_string()).expect("rules are well formed")
}

fn holds(check: impl Into<Value>, ctx: &RequestContext, target: Value) -> bool {
    enforcer(&check.into()).check("r", ctx, &target)
}

#[test]
fn expressions() {
    let p1 = json!({"project_id": "p1"});
    let nested =
        json!({"target": {"user": {"id": "u1", "domain_id": "d1"}, "trust.trustor_user_id": "u1"}});
    let flat = json!({"target.user.id": "u1"});
    let neutron = json!({"network:tenant_id": "p1", "tenant_id": "p1", "shared": true,
        "router:external": false, "device_owner": "network:dhcp", "target_tenant": "*"});
    let image =
        json!({"visibility": "public", "owner": "p1", "member_id": null, "flag": true, "size": 5});
    let none = json!({});
    let cases: &[(&str, &Value, bool)] = &[
        ("", &none, true),
        ("   ", &none, true),
        ("@", &none, true),
        ("!", &none, false),
        ("not !", &none, true),
        ("not not @", &none, true),
        ("role:member", &none, true),
        ("role:READER", &none, true),
        ("role:admin", &none, false),
        ("rule:yes", &none, true),
        ("rule:no", &none, false),
        ("rule:owner", &p1, true),
        ("rule:absent", &none, false),
        ("not rule:absent", &none, false),
        ("@ or ! and !", &none, true),
        ("(@ or !) and !", &none, false),
        ("! and ! or @", &none, true),
        ("not ! and @", &none, true),
        ("not (! or @)", &none, false),
        ("@ AND NOT !", &none, true),
        ("((@))", &none, true),
        ("( @ )", &none, true),
        ("(role:member and project_id:%(project_id)s)", &p1, true),
        (
            "project_id:%(project_id)s",
            &json!({"project_id": "p2"}),
            false,
        ),
        ("project_id:%(project_id)s", &none, false),
        ("not project_id:%(project_id)s", &none, true),
        ("project_id:p1", &none, true),
        ("tenant:%(tenant)s", &json!({"tenant": "p1"}), true),
        ("tenant_id:%(tenant_id)s", &p1, true),
        (
            "project_id:%(project_id)s",
            &json!({"tenant_id": "p1"}),
            true,
        ),
        ("user_id:%(target.user.id)s", &nested, true),
        ("user_id:%(target.user.id)s", &flat, true),
        ("user_id:%(target.trust.trustor_user_id)s", &nested, true),
        ("user_id:%(target.user.name)s", &nested, false),
        ("user_domain_id:%(target.user.domain_id)s", &nested, true),
        ("user_domain_id:d1 and project_domain_id:d2", &none, true),
        ("token.project.domain.id:d2", &none, true),
        ("user:u1 and token.user.domain.id:d1", &none, true),
        ("service_roles:service", &none, true),
        ("service_roles:other", &none, false),
        ("roles:reader", &none, true),
        ("is_admin:True", &none, false),
        ("is_admin:False", &none, true),
        ("is_admin_project:True", &none, true),
        ("system_scope:all", &none, false),
        ("system_scope:None", &none, true),
        ("unheard_of:x", &none, false),
        ("'public':%(visibility)s", &image, true),
        ("\"public\":%(visibility)s", &image, true),
        ("'private':%(visibility)s", &image, false),
        ("'a:b':%(x)s", &json!({"x": "a:b"}), true),
        ("True:%(flag)s", &image, true),
        ("False:%(flag)s", &image, false),
        ("None:%(member_id)s", &image, true),
        ("None:%(owner)s", &image, false),
        ("None:%(absent)s", &image, false),
        ("5:%(size)s", &image, true),
        ("'x-p1-y':x-%(owner)s-y", &image, true),
        ("'5%':%(size)s%%", &image, true),
        ("project_id:%(network:tenant_id)s", &neutron, true),
        ("tenant_id:%(network:tenant_id)s", &neutron, true),
        ("project_id:%(network:project_id)s", &neutron, true),
        ("field:networks:shared=True", &neutron, true),
        ("field:networks:shared=False", &neutron, false),
        ("field:networks:router:external=True", &neutron, false),
        ("field:networks:router:external=False", &neutron, true),
        ("field:port:device_owner=~^network:", &neutron, true),
        ("field:port:device_owner=~dhcp", &neutron, false),
        ("field:rbac_policy:target_tenant=*", &neutron, true),
        (
            "not field:rbac_policy:target_tenant=* and not field:rbac_policy:absent=*",
            &neutron,
            false,
        ),
        ("field:networks:absent=True", &neutron, false),
        ("project_id:%(list)s", &json!({"list": ["p1"]}), false),
    ];
    for (check, target, expected) in cases {
        assert_eq!(
            holds(*check, &member(), (*target).clone()),
            *expected,
            "{check} on {target}"
        );
    }
}

#[test]
fn scopes_and_flags_of_other_callers() {
    let keystone =
        "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.domain_id)s)";
    let target = json!({"target": {"domain_id": "d1"}});
    assert!(holds(keystone, &with_system_scope(), json!({})));
    assert!(holds(keystone, &with_domain_scope(), target.clone()));
    assert!(!holds(keystone, &member(), target.clone()));
    assert!(holds(
        "token.domain.id:%(target.domain_id)s",
        &with_domain_scope(),
        target
    ));
    assert!(holds(
        "is_admin:True",
        &RequestContext::internal(),
        json!({})
    ));
    assert!(!holds(
        "role:admin",
        &RequestContext::anonymous(),
        json!({})
    ));
    assert!(holds("role:admin", &admin(), json!({})));
}

#[test]
fn nobody_owns_what_belongs_to_nobody() {
    let null = json!({"project_id": null, "user_id": null});
    assert!(!holds(
        "project_id:%(project_id)s",
        &with_system_scope(),
        null.clone()
    ));
    assert!(!holds(
        "user_id:%(user_id)s",
        &RequestContext::anonymous(),
        null
    ));
}

/// Attributes as a service keeps them, without an object around.
struct Row(&'static [(&'static str, Value)]);

impl Lookup for Row {
    fn lookup(&self, attribute: &str) -> Option<&Value> {
        let mut found = self.0.iter().filter(|(name, _)| *name == attribute);
        found.next().map(|(_, value)| value)
    }
}

#[test]
fn a_target_need_not_be_an_object() {
    const ROW: Row = Row(&[
        ("tenant_id", Value::Null),
        ("shared", Value::Bool(true)),
        ("network:tenant_id", Value::Bool(false)),
    ]);
    let owned = [
        ("tenant_id", Value::from("p1")),
        ("parent", json!({"project": {"tenant_id": "p1"}})),
    ];
    let owned = Row(Box::leak(Box::new(owned)));
    let cases: &[(&str, &Row, bool)] = &[
        ("field:networks:shared=True", &ROW, true),
        ("field:networks:shared=True", &owned, false),
        ("project_id:%(project_id)s", &owned, true),
        ("project_id:%(tenant_id)s", &owned, true),
        ("project_id:%(parent.project.project_id)s", &owned, true),
        ("project_id:%(parent.project)s", &owned, false),
        ("project_id:%(project_id)s", &ROW, false),
        ("not project_id:%(absent)s", &owned, true),
        ("False:%(network:project_id)s", &ROW, true),
    ];
    for (check, row, expected) in cases {
        let enforcer = enforcer(&Value::from(*check));
        assert_eq!(enforcer.check("r", &member(), *row), *expected, "{check}");
    }
}

#[test]
fn lists_of_lists() {
    let owner = json!([["role:member", "project_id:%(project_id)s"], ["role:admin"]]);
    assert!(holds(owner.clone(), &member(), json!({"project_id": "p1"})));
    assert!(!holds(
        owner.clone(),
        &member(),
        json!({"project_id": "p2"})
    ));
    assert!(holds(owner, &admin(), json!({"project_id": "p2"})));
    assert!(holds(json!([]), &member(), json!({})));
    assert!(!holds(json!([[]]), &member(), json!({})));
    assert!(holds(
        json!(["role:admin", "role:member"]),
        &member(),
        json!({})
    ));
}

const MALFORMED: &[&str] = &[
    "(",
    ")",
    "@ )",
    "( @",
    "and",
    "@ and",
    "or @",
    "@ @",
    "not",
    "role",
    "http://x/y",
    "https://x/%(y)s",
    "project_id:%(project_id",
    "project_id:%(project_id)d",
    "x:%",
    "field:networks",
    "field:networks:shared",
    "field:port:name=~(",
    "@ and (not)",
    "'open:%(x)s and",
    "()",
];

#[test]
fn malformed_checks_are_refused_at_load() {
    for check in MALFORMED {
        let rules = json!([{"name": "r", "check_str": check}]).to_string();
        let error = Enforcer::from_defaults(&rules).err();
        assert!(
            error.is_some_and(|e| e.to_string().contains("rule r")),
            "{check}"
        );
    }
}

#[test]
fn deep_nesting_is_refused_not_overflowed() {
    for check in [
        format!("{}@{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{}@", "not ".repeat(100_000)),
    ] {
        let rules = json!([{"name": "r", "check_str": check}]).to_string();
        assert!(Enforcer::from_defaults(&rules).is_err());
    }
    assert!(holds(
        format!("{}@{}", "(".repeat(50), ")".repeat(50)),
        &member(),
        json!({})
    ));
}

#[test]
fn no_text_panics() {
    let pieces = [
        "(",
        ")",
        " ",
        "and",
        "or",
        "not",
        "@",
        "!",
        "role:",
        "rule:r",
        "%(",
        ")s",
        "%",
        "'",
        "\"",
        ":",
        "field:",
        "=",
        "~",
        "é",
        "project_id:%(a.b)s",
        "[",
        "\\",
        "True:",
        "0",
    ];
    let target = json!({"a": {"b": "p1"}});
    let mut state: u64 = 42;
    let mut draw = |limit: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % limit
    };
    for _ in 0..20_000 {
        let check: String = (0..draw(12)).map(|_| pieces[draw(pieces.len())]).collect();
        let rules = json!([{"name": "r", "check_str": check}]).to_string();
        if let Ok(enforcer) = Enforcer::from_defaults(&rules) {
            enforcer.check("r", &member(), &target);
        }
    }
}
