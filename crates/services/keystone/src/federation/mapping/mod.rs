//! The mapping engine: what an identity provider says of a user, by an administrator's rules, to a local identity.
//!
//! A pure function of two texts. Rules come from administrators and assertions from strangers; neither may make it
//! run for long or grow: sizes, patterns, steps and results are bounded, and whatever is too much is refused.

mod evaluate;
mod parse;
mod template;
#[cfg(test)]
mod tests;

use fancy_regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use template::Template;

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rules are malformed; their author can mend them.
    Mapping(String),
    /// The rules make nothing of this assertion.
    Assertion(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Mapping(words) | Refusal::Assertion(words) => f.write_str(words),
        }
    }
}

/// What the engine does with a fault of the rules or of the assertion.
pub type Outcome<T> = std::result::Result<T, Refusal>;

/// Upstream's versions of the rules' schema: 2.0 adds domains of projects and defaults for domains, 3.0 projects that
/// the identity provider names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `1.0`
    V1,
    /// `2.0`
    V2,
    /// `3.0`
    V3,
}

impl Version {
    /// The version of that name.
    pub fn parse(text: &str) -> Option<Version> {
        match text {
            "1.0" => Some(Version::V1),
            "2.0" => Some(Version::V2),
            "3.0" => Some(Version::V3),
            _ => None,
        }
    }
}

/// Whether somebody exists only by what their provider says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserKind {
    /// A user who is made, or remembered, for this provider.
    #[default]
    Ephemeral,
    /// A user of the cloud's own.
    Local,
}

/// A domain by id, by name or by both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Its id.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// The user that an assertion means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Their id: at the provider, or in the cloud if they are local.
    pub id: Option<String>,
    /// Their name.
    pub name: Option<String>,
    /// Where to write to them.
    pub email: Option<String>,
    /// The domain they live in.
    pub domain: Option<Domain>,
    /// Whose user they are.
    pub kind: UserKind,
}

/// A group by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: Domain,
}

/// A project that is made for users if it is not there, and what they may do on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its domain, if not that of the provider.
    pub domain: Option<Domain>,
    /// The names of roles.
    pub roles: Vec<String>,
}

/// A local identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Who.
    pub user: User,
    /// Groups by id, each once.
    pub group_ids: Vec<String>,
    /// Groups by name, each once.
    pub groups: Vec<Group>,
    /// Projects of the last rule that has some; `None` if no rule speaks of projects.
    pub projects: Option<Vec<Project>>,
}

/// Rules that were read and found to be well-formed.
pub struct Mapping {
    version: Version,
    rules: Vec<Rule>,
}

struct Rule {
    remote: Vec<Remote>,
    local: Vec<Local>,
}

/// What a rule asks of an attribute.
struct Remote {
    name: String,
    test: Test,
}

enum Test {
    /// That it is there; its values fill the next `{n}`.
    There,
    /// That one of its values is among these.
    AnyOneOf(Values),
    /// That none is.
    NotAnyOf(Values),
    /// That it is there; its values but for these fill the next `{n}`.
    Blacklist(Values),
    /// That it is there; those of its values that are among these fill the next `{n}`.
    Whitelist(Values),
}

enum Values {
    Plain(Vec<String>),
    Patterns(Vec<Regex>),
}

/// What a rule makes of it.
#[derive(Default)]
struct Local {
    user: Option<LocalUser>,
    group: Option<LocalGroup>,
    groups: Option<Template>,
    group_ids: Option<Template>,
    projects: Option<Vec<LocalProject>>,
    /// The `{n}` that holds projects as JSON.
    projects_json: Option<usize>,
    domain: Option<LocalDomain>,
}

#[derive(Default)]
struct LocalUser {
    id: Option<Template>,
    name: Option<Template>,
    email: Option<Template>,
    domain: Option<LocalDomain>,
    kind: UserKind,
}

#[derive(Default)]
struct LocalDomain {
    id: Option<Template>,
    name: Option<Template>,
}

enum LocalGroup {
    Id(Template),
    Name(Template, LocalDomain),
}

struct LocalProject {
    name: Template,
    domain: Option<LocalDomain>,
    roles: Vec<Template>,
}

impl Mapping {
    /// Reads rules of that version of the schema.
    pub fn parse(version: Version, rules: &Value) -> Outcome<Mapping> {
        parse::rules(version, rules).map_err(Refusal::Mapping)
    }

    /// The identity that the attributes mean; an attribute with several values has them between semicolons.
    pub fn evaluate(&self, assertion: &BTreeMap<String, String>) -> Outcome<Mapped> {
        evaluate::evaluate(self, assertion)
    }

    /// The names of all attributes that rules look at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let remotes = self.rules.iter().flat_map(|rule| &rule.remote);
        remotes.map(|remote| remote.name.as_str())
    }
}

/// The whole engine on bytes: `{"rules": […], "schema_version": "1.0"}` and `{"attribute": "value;value"}`.
pub fn map(mapping: &[u8], assertion: &[u8]) -> Outcome<Mapped> {
    let mapping: Value = serde_json::from_slice(mapping)
        .map_err(|e| Refusal::Mapping(format!("The mapping is not JSON: {e}")))?;
    let version = match mapping.get("schema_version") {
        None => Some(Version::V1),
        Some(version) => version.as_str().and_then(Version::parse),
    };
    let version =
        version.ok_or_else(|| Refusal::Mapping("Unknown version of the mapping schema".into()))?;
    let mapping = Mapping::parse(version, mapping.get("rules").unwrap_or(&Value::Null))?;
    let assertion: BTreeMap<String, String> = serde_json::from_slice(assertion)
        .map_err(|e| Refusal::Assertion(format!("The assertion is not an object of texts: {e}")))?;
    mapping.evaluate(&assertion)
}
