//! A rule as a service ships it: the rows of upstream's default policy.

use base::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// What a token may be scoped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeType {
    /// The whole deployment.
    System,
    /// One domain.
    Domain,
    /// One project; oslo.policy counts unscoped tokens here too.
    Project,
}

impl ScopeType {
    /// Upstream's word.
    pub fn name(self) -> &'static str {
        match self {
            ScopeType::System => "system",
            ScopeType::Domain => "domain",
            ScopeType::Project => "project",
        }
    }
}

/// An HTTP operation that a rule guards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Operation {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, with placeholders in braces.
    pub path: String,
}

/// What a rule was before upstream changed its name or default.
#[derive(Clone, Debug, Deserialize)]
pub struct DeprecatedRule {
    /// Its old name, often the same.
    pub name: String,
    /// Its old default.
    #[serde(default)]
    pub check_str: Value,
    /// The release that changed it.
    #[serde(default)]
    pub since: Option<String>,
}

/// One default rule with its documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Upstream's name, such as `os_compute_api:servers:create`.
    pub name: String,
    /// The check: text, or the old list of lists.
    pub check_str: Value,
    /// Token scopes that may use it; empty means any.
    #[serde(default)]
    pub scope_types: Vec<ScopeType>,
    /// Words for the operator.
    #[serde(default)]
    pub description: Option<String>,
    /// The operations it guards.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Its predecessor.
    #[serde(default)]
    pub deprecated_rule: Option<DeprecatedRule>,
    /// Whether upstream means to remove it.
    #[serde(default)]
    pub deprecated_for_removal: bool,
}

impl Rule {
    /// The check as text, for documentation.
    pub fn check_text(&self) -> String {
        match &self.check_str {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Reads the list of default rules.
pub(crate) fn parse_defaults(yaml: &str) -> Result<Vec<Rule>> {
    serde_saphyr::from_str(yaml).map_err(|e| Error::internal(format!("default policy: {e}")))
}
