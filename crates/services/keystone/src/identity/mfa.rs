//! Which methods together prove who somebody is.

use crate::db::Extra;
use crate::token::payload;
use serde_json::Value;

/// The rules of a user's options, each a list of methods: one of the rules must be met. None if any proof will do.
///
/// Methods that keystone does not know are left out of a rule, and rules of none that it knows out of the list.
pub(crate) fn rules(options: &Extra) -> Vec<Vec<String>> {
    let enabled = options.get("multi_factor_auth_enabled");
    if enabled.and_then(Value::as_bool) == Some(false) {
        return vec![];
    }
    let rules = options.get("multi_factor_auth_rules");
    let rules = rules
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let read = |rule: &Value| {
        let methods = rule.as_array()?.iter().map(Value::as_str);
        let methods: Vec<&str> = methods.collect::<Option<_>>()?;
        let taken = methods.into_iter().filter(|m| payload::method(m).is_some());
        let taken: Vec<String> = taken.map(str::to_string).collect();
        (!taken.is_empty()).then_some(taken)
    };
    rules.iter().filter_map(read).collect()
}

/// The rules without methods that this cloud does not take: a method that an operator switched off locks nobody out.
pub(crate) fn offered(rules: Vec<Vec<String>>, methods: &[String]) -> Vec<Vec<String>> {
    let rules = rules.into_iter().map(|mut rule| {
        rule.retain(|method| methods.contains(method));
        rule
    });
    rules.filter(|rule| !rule.is_empty()).collect()
}

/// Whether these methods meet one of the rules.
pub(crate) fn met(rules: &[Vec<String>], methods: &[&'static str]) -> bool {
    let given = |method: &String| methods.contains(&method.as_str());
    rules.is_empty() || rules.iter().any(|rule| rule.iter().all(given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(options: Value) -> Vec<Vec<String>> {
        rules(options.as_object().unwrap())
    }

    #[test]
    fn one_rule_must_be_met() {
        let both =
            json!({"multi_factor_auth_rules": [["password", "token"], ["application_credential"]]});
        let rules = of(both.clone());
        assert!(met(&rules, &["token", "password"]));
        assert!(met(&rules, &["application_credential"]));
        assert!(!met(&rules, &["password"]));
        assert!(!met(&rules, &["token"]));
        let mut off = both;
        off["multi_factor_auth_enabled"] = json!(false);
        assert!(met(&of(off), &["password"]));
        assert!(met(&of(json!({})), &["password"]));
    }

    #[test]
    fn what_is_not_offered_locks_nobody_out() {
        let rules = of(json!({"multi_factor_auth_rules": [["password", "retina"]]}));
        assert!(met(&rules, &["password"]) && !met(&rules, &["token"]));
        let rules = of(json!({"multi_factor_auth_rules": [["password", "totp"], ["totp"]]}));
        assert!(!met(&rules, &["password"]));
        let taken = ["password".to_string(), "token".to_string()];
        let left = offered(rules, &taken);
        assert!(met(&left, &["password"]) && !met(&left, &["token"]));
        for odd in [
            json!([["retina"]]),
            json!([[]]),
            json!("x"),
            json!([[7]]),
            json!([7]),
        ] {
            let rules = of(json!({"multi_factor_auth_rules": odd}));
            assert!(met(&rules, &["password"]), "{odd}");
        }
    }
}
