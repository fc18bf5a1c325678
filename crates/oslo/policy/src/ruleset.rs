//! Defaults and overrides together, compiled: names resolved to indexes, cycles cut.

use crate::check::{Check, Question};
use crate::overrides::Overrides;
use crate::parse::parse;
use crate::rule::{Rule, ScopeType};
use crate::target::Lookup;
use oslo_context::RequestContext;
use serde_json::Value;
use std::collections::HashMap;

/// All rules at one moment; never changed, only replaced.
pub(crate) struct Ruleset {
    by_name: HashMap<String, usize>,
    checks: Vec<Check<usize>>,
    scopes: Vec<Vec<ScopeType>>,
}

impl Ruleset {
    pub(crate) fn compile(rules: &[Rule], overrides: &Overrides, new_defaults: bool) -> Ruleset {
        let mut names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let mut scopes: Vec<Vec<ScopeType>> =
            rules.iter().map(|rule| rule.scope_types.clone()).collect();
        let mut parsed: Vec<Check<String>> = rules
            .iter()
            .map(|rule| effective(rule, overrides, new_defaults))
            .collect();
        for (name, check) in overrides {
            if !rules.iter().any(|rule| rule.name == *name) {
                names.push(name);
                scopes.push(Vec::new());
                parsed.push(parse_or_deny(name, check));
            }
        }
        let by_name: HashMap<String, usize> = names
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_string(), index))
            .collect();
        let mut checks: Vec<Check<usize>> = parsed
            .into_iter()
            .zip(&names)
            .map(|(check, name)| resolve(check, name, &by_name))
            .collect();
        cut_cycles(&mut checks, &names);
        Ruleset {
            by_name,
            checks,
            scopes,
        }
    }

    pub(crate) fn find(&self, rule: &str) -> Option<usize> {
        self.by_name.get(rule).copied()
    }

    pub(crate) fn allows(&self, rule: usize, ctx: &RequestContext, target: &dyn Lookup) -> bool {
        let question = Question {
            rules: &self.checks,
            ctx,
            target,
        };
        question.holds(&Check::Rule(rule), true, 0)
    }

    pub(crate) fn scopes(&self, rule: usize) -> &[ScopeType] {
        &self.scopes[rule]
    }
}

/// The check that is in force for a default rule, after upstream's rules for renamed and changed defaults.
fn effective(rule: &Rule, overrides: &Overrides, new_defaults: bool) -> Check<String> {
    if let Some(check) = overrides.get(&rule.name) {
        return parse_or_deny(&rule.name, check);
    }
    let default = parse_or_deny(&rule.name, &rule.check_str);
    let Some(old) = &rule.deprecated_rule else {
        return default;
    };
    if old.name != rule.name
        && let Some(check) = overrides.get(&old.name)
        && *check != old.check_str
        && check.as_str() != Some(&format!("rule:{}", rule.name))
    {
        // Whoever tightened or loosened the old name meant this rule.
        return parse_or_deny(&old.name, check);
    }
    if new_defaults || old.check_str == rule.check_str {
        return default;
    }
    Check::Or(vec![default, parse_or_deny(&old.name, &old.check_str)])
}

fn parse_or_deny(name: &str, check: &Value) -> Check<String> {
    parse(check).unwrap_or_else(|why| {
        tracing::error!(
            rule = name,
            "policy rule denies everybody, its check is not understood: {why}"
        );
        Check::Undecided
    })
}

fn resolve(check: Check<String>, name: &str, by_name: &HashMap<String, usize>) -> Check<usize> {
    let all = |checks: Vec<Check<String>>| {
        checks
            .into_iter()
            .map(|check| resolve(check, name, by_name))
            .collect()
    };
    match check {
        Check::Rule(other) => match by_name.get(&other) {
            Some(index) => Check::Rule(*index),
            None => {
                tracing::warn!(
                    rule = name,
                    "policy rule refers to the unknown rule {other}"
                );
                Check::Undecided
            }
        },
        Check::Not(inner) => Check::Not(Box::new(resolve(*inner, name, by_name))),
        Check::And(checks) => Check::And(all(checks)),
        Check::Or(checks) => Check::Or(all(checks)),
        Check::True => Check::True,
        Check::False => Check::False,
        Check::Undecided => Check::Undecided,
        Check::Role(template) => Check::Role(template),
        Check::Constant(constant, template) => Check::Constant(constant, template),
        Check::Credential(credential, template) => Check::Credential(credential, template),
        Check::Field(field) => Check::Field(field),
    }
}

/// Makes every reference that closes a circle undecided.
fn cut_cycles(checks: &mut [Check<usize>], names: &[&str]) {
    let mut references: Vec<Vec<usize>> = Vec::with_capacity(checks.len());
    for check in checks.iter() {
        let mut found = Vec::new();
        collect_references(check, &mut found);
        references.push(found);
    }
    let mut done = vec![false; checks.len()];
    for start in 0..checks.len() {
        // A path on the heap: a chain of rules may be as long as the file.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        let mut on_path = vec![false; checks.len()];
        on_path[start] = true;
        if done[start] {
            continue;
        }
        while let Some((rule, next)) = path.last_mut() {
            let rule = *rule;
            let Some(&other) = references[rule].get(*next) else {
                (done[rule], on_path[rule]) = (true, false);
                path.pop();
                continue;
            };
            *next += 1;
            if on_path[other] {
                tracing::error!(
                    rule = names[rule],
                    "policy rules go in a circle at rule:{}",
                    names[other]
                );
                cut(&mut checks[rule], other);
            } else if !done[other] {
                on_path[other] = true;
                path.push((other, 0));
            }
        }
    }
}

fn collect_references(check: &Check<usize>, found: &mut Vec<usize>) {
    match check {
        Check::Rule(index) => found.push(*index),
        Check::Not(inner) => collect_references(inner, found),
        Check::And(checks) | Check::Or(checks) => {
            checks
                .iter()
                .for_each(|check| collect_references(check, found));
        }
        _ => {}
    }
}

fn cut(check: &mut Check<usize>, reference: usize) {
    match check {
        Check::Rule(index) if *index == reference => *check = Check::Undecided,
        Check::Not(inner) => cut(inner, reference),
        Check::And(checks) | Check::Or(checks) => {
            checks.iter_mut().for_each(|check| cut(check, reference));
        }
        _ => {}
    }
}
