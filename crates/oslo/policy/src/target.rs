//! What a check is about: the attributes of the resource, as JSON, and how a `%(key)s` finds its value there.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Something that checks can be about. Lists of many resources implement it, so that no JSON object is made for each.
pub trait Lookup {
    /// The value of an attribute of this very name; dots are the caller's business.
    fn lookup(&self, attribute: &str) -> Option<&Value>;
}

impl Lookup for Value {
    fn lookup(&self, attribute: &str) -> Option<&Value> {
        self.get(attribute)
    }
}

/// Builds a target from pairs.
pub fn target(pairs: &[(&str, &str)]) -> Value {
    let map: Map<String, Value> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_string(), Value::from(*value)))
        .collect();
    Value::Object(map)
}

/// Usual targets. A target is any JSON object; dotted keys are found in nested objects.
pub enum Target {}

impl Target {
    /// A resource of a project.
    pub fn project(id: &str) -> Value {
        target(&[("project_id", id)])
    }

    /// A resource of a user in a project, as nova's and cinder's checks want it.
    pub fn owned(project_id: &str, user_id: &str) -> Value {
        target(&[("project_id", project_id), ("user_id", user_id)])
    }

    /// Nothing in particular: only checks on the caller can hold.
    pub fn none() -> Value {
        Value::Object(Map::new())
    }
}

/// The name inside `%(…)s`, prepared for lookup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    name: String,
    /// The same attribute by its older or newer name.
    alias: Option<String>,
}

impl Key {
    pub(crate) fn new(name: &str) -> Key {
        let alias = match (
            name.strip_suffix("tenant_id"),
            name.strip_suffix("project_id"),
        ) {
            (Some(prefix), _) => Some(format!("{prefix}project_id")),
            (_, Some(prefix)) => Some(format!("{prefix}tenant_id")),
            _ => None,
        };
        Key {
            name: name.to_string(),
            alias,
        }
    }

    /// The value in the target: the literal key first (neutron's `network:tenant_id` and keystone's flattened
    /// keys), then nested objects along the dots, then `tenant_id` for `project_id` and the reverse.
    pub(crate) fn find<'t>(&self, target: &'t dyn Lookup) -> Option<&'t Value> {
        descend(target, &self.name).or_else(|| {
            self.alias
                .as_deref()
                .and_then(|alias| descend(target, alias))
        })
    }
}

fn descend<'t>(target: &'t dyn Lookup, name: &str) -> Option<&'t Value> {
    if let Some(value) = target.lookup(name) {
        return Some(value);
    }
    // Every dot may be the one where nesting begins: {"target": {"user.id": …}} is legal too.
    name.match_indices('.')
        .find_map(|(at, _)| descend(target.lookup(&name[..at])?, &name[at + 1..]))
}

/// A value as Python's `str()` would print it, because that is what check strings compare with.
/// Lists and objects have no text: nothing equals them.
pub(crate) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(true) => Some(Cow::Borrowed("True")),
        Value::Bool(false) => Some(Cow::Borrowed("False")),
        Value::Null => Some(Cow::Borrowed("None")),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Array(_) | Value::Object(_) => None,
    }
}
