//! Compiled checks and their evaluation.
//!
//! Evaluation asks "does this check certainly come out as `wanted`?". What cannot be decided answers no to both
//! questions, so that it denies even below a `not`.

use crate::credentials::{Credential, Held};
use crate::target::{Key, Lookup, text};
use oslo_context::RequestContext;
use regex::Regex;
use serde_json::Value;
use std::borrow::Cow;

/// How many rules may refer to one another in a row.
const MAX_RULE_DEPTH: usize = 64;

/// A check string, compiled. `R` is how other rules are named: by name when parsed, by index when resolved.
#[derive(Clone, Debug)]
pub(crate) enum Check<R> {
    True,
    False,
    /// Malformed, unknown, cyclic or not offered; the reason was logged when the rule was read.
    Undecided,
    Rule(R),
    Role(Template),
    /// A fixed text against a value of the target: `'public':%(visibility)s`.
    Constant(String, Template),
    /// A credential against text or a value of the target.
    Credential(Credential, Template),
    Field(Field),
    Not(Box<Check<R>>),
    And(Vec<Check<R>>),
    Or(Vec<Check<R>>),
}

/// A neutron check of one attribute of the resource itself.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) attribute: String,
    pub(crate) value: FieldValue,
}

#[derive(Clone, Debug)]
pub(crate) enum FieldValue {
    Is(String),
    Like(Regex),
}

/// The right side of a check: text with `%(key)s` in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    Text(String),
    Key(Key),
    Mixed(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Key(Key),
}

/// A template filled in.
struct Filled<'a> {
    text: Cow<'a, str>,
    /// It is nothing but an attribute that is null.
    null: bool,
}

impl Template {
    fn fill<'a>(&'a self, target: &'a dyn Lookup) -> Option<Filled<'a>> {
        match self {
            Template::Text(text) => Some(Filled {
                text: Cow::Borrowed(text),
                null: false,
            }),
            Template::Key(key) => {
                let value = key.find(target)?;
                Some(Filled {
                    text: text(value)?,
                    null: value.is_null(),
                })
            }
            Template::Mixed(parts) => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        Part::Text(text) => whole.push_str(text),
                        Part::Key(key) => whole.push_str(&text(key.find(target)?)?),
                    }
                }
                Some(Filled {
                    text: Cow::Owned(whole),
                    null: false,
                })
            }
        }
    }
}

/// Everything a check is evaluated against.
pub(crate) struct Question<'a> {
    pub(crate) rules: &'a [Check<usize>],
    pub(crate) ctx: &'a RequestContext,
    pub(crate) target: &'a dyn Lookup,
}

impl Question<'_> {
    /// Whether the check certainly comes out as `wanted`.
    pub(crate) fn holds(&self, check: &Check<usize>, wanted: bool, depth: usize) -> bool {
        match check {
            Check::True => wanted,
            Check::False => !wanted,
            Check::Undecided => false,
            Check::Rule(index) => {
                depth < MAX_RULE_DEPTH
                    && self
                        .rules
                        .get(*index)
                        .is_some_and(|rule| self.holds(rule, wanted, depth + 1))
            }
            Check::Not(inner) => self.holds(inner, !wanted, depth),
            Check::And(all) if wanted => all.iter().all(|c| self.holds(c, true, depth)),
            Check::And(all) => all.iter().any(|c| self.holds(c, false, depth)),
            Check::Or(any) if wanted => any.iter().any(|c| self.holds(c, true, depth)),
            Check::Or(any) => any.iter().all(|c| self.holds(c, false, depth)),
            Check::Role(template) => self.role(template) == wanted,
            Check::Constant(constant, template) => {
                template
                    .fill(self.target)
                    .is_some_and(|filled| filled.text == *constant)
                    == wanted
            }
            Check::Credential(credential, template) => {
                self.credential(*credential, template) == wanted
            }
            Check::Field(field) => self.field(field) == wanted,
        }
    }

    fn role(&self, template: &Template) -> bool {
        let Some(filled) = template.fill(self.target) else {
            return false;
        };
        self.ctx
            .roles
            .iter()
            .any(|role| same_without_case(role, &filled.text))
    }

    /// Null never equals null here: a caller without a project does not own what belongs to no project.
    /// Upstream compares `str(None)` with `str(None)`; only a literal `…:None` in the rule means that with us.
    fn credential(&self, credential: Credential, template: &Template) -> bool {
        let Some(filled) = template.fill(self.target) else {
            return false;
        };
        if filled.null {
            return false;
        }
        match credential.of(self.ctx) {
            Held::Text(Some(held)) => held == filled.text,
            Held::Text(None) => matches!(template, Template::Text(text) if text == "None"),
            Held::List(held) => held.iter().any(|one| *one == filled.text),
            Held::Flag(held) => filled.text == if held { "True" } else { "False" },
        }
    }

    fn field(&self, field: &Field) -> bool {
        let Some(value) = self
            .target
            .lookup(&field.attribute)
            .filter(|value| !value.is_null())
        else {
            return false;
        };
        match (&field.value, value) {
            (FieldValue::Is(wanted), Value::Bool(held)) => {
                parse_flag(wanted).is_some_and(|flag| flag == *held)
            }
            (FieldValue::Is(wanted), value) => text(value).is_some_and(|held| held == *wanted),
            (FieldValue::Like(regex), value) => {
                text(value).is_some_and(|held| regex.is_match(&held))
            }
        }
    }
}

fn same_without_case(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || (!(left.is_ascii() && right.is_ascii()) && left.to_lowercase() == right.to_lowercase())
}

fn parse_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
