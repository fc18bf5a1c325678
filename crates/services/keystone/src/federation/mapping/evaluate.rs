//! Rules against an assertion. Rules that apply add up; what they make more than is sensible is refused.

use super::template::{Matches, found};
use super::{
    Domain, Group, Local, LocalDomain, LocalGroup, LocalUser, Mapped, Mapping, Outcome, Project,
    Refusal, Remote, Test, User, Values, Version,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many values an attribute may have.
const MAX_VALUES: usize = 1024;
/// How many comparisons one assertion is worth, and how much searching by patterns: the time of a search may grow with
/// the square of the length.
const MAX_COMPARISONS: usize = 1_000_000;
const MAX_SEARCHES: usize = 500_000;
/// Patterns are not asked of longer values.
const MAX_SEARCHED: usize = 1024;
/// How many groups and projects may come of it.
const MAX_RESULTS: usize = 512;

const NOTHING: &str = "Could not map any federated user properties to identity values. Check debug logs or the mapping used for additional details.";
const NO_DOMAIN: &str = "Invalid rule: Both 'groups' and 'domain' keywords must be specified.";

fn refused<T>(words: &str) -> Outcome<T> {
    Err(Refusal::Assertion(words.into()))
}

/// What is left of the work that an assertion is worth.
struct Budget {
    comparisons: usize,
    searches: usize,
}

impl Budget {
    fn take(left: &mut usize, cost: usize) -> Outcome<()> {
        match left.checked_sub(cost) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => refused("The assertion is too large for its mapping"),
        }
    }
}

pub(super) fn evaluate(mapping: &Mapping, assertion: &BTreeMap<String, String>) -> Outcome<Mapped> {
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in mapping.attributes() {
        if let Some(text) = assertion.get(name) {
            if text.bytes().filter(|b| *b == b';').count() >= MAX_VALUES {
                return refused("An attribute has too many values");
            }
            let split = || text.split(';').map(str::to_string).collect();
            values.entry(name).or_insert_with(split);
        }
    }
    let mut budget = Budget {
        comparisons: MAX_COMPARISONS,
        searches: MAX_SEARCHES,
    };
    let mut made = Made {
        version: mapping.version,
        mapped: Mapped::default(),
        user: None,
        last_domain: None,
        any: false,
    };
    for rule in &mapping.rules {
        if let Some(matches) = matches(&rule.remote, &values, &mut budget)? {
            for local in &rule.local {
                made.add(local, &matches)?;
            }
        }
    }
    made.whole()
}

/// What fills the places of the local part; `None` if the rule does not apply.
fn matches(
    remotes: &[Remote],
    values: &BTreeMap<&str, Vec<String>>,
    budget: &mut Budget,
) -> Outcome<Option<Matches>> {
    let mut matches = Matches::new();
    for remote in remotes {
        let Some(given) = values.get(remote.name.as_str()) else {
            return Ok(None);
        };
        match &remote.test {
            Test::There => matches.push(given.clone()),
            Test::AnyOneOf(wanted) => {
                if split(given, wanted, budget)?.0.is_empty() {
                    return Ok(None);
                }
            }
            Test::NotAnyOf(unwanted) => {
                if !split(given, unwanted, budget)?.0.is_empty() {
                    return Ok(None);
                }
            }
            Test::Whitelist(wanted) => matches.push(split(given, wanted, budget)?.0),
            Test::Blacklist(unwanted) => matches.push(split(given, unwanted, budget)?.1),
        }
    }
    Ok(Some(matches))
}

/// Values that are among those of the rule, and values that are not; each once.
fn split(
    given: &[String],
    wanted: &Values,
    budget: &mut Budget,
) -> Outcome<(Vec<String>, Vec<String>)> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for value in given {
        let hit = match wanted {
            Values::Plain(texts) => {
                Budget::take(
                    &mut budget.comparisons,
                    texts.len() + inside.len() + outside.len(),
                )?;
                texts.contains(value)
            }
            Values::Patterns(patterns) => {
                if value.len() > MAX_SEARCHED {
                    return refused("An attribute is too long for a pattern of the mapping");
                }
                let cost = 64 + value.len() * value.len() / 64;
                let mut hit = false;
                for pattern in patterns {
                    Budget::take(&mut budget.searches, cost)?;
                    hit = pattern.is_match(value).or_else(|_| {
                        refused("A pattern of the mapping takes too long on an attribute")
                    })?;
                    if hit {
                        break;
                    }
                }
                hit
            }
        };
        let side = if hit { &mut inside } else { &mut outside };
        if !side.contains(value) {
            side.push(value.clone());
        }
    }
    Ok((inside, outside))
}

/// What the rules that applied have made so far.
struct Made {
    version: Version,
    mapped: Mapped,
    user: Option<User>,
    last_domain: Option<Domain>,
    any: bool,
}

impl Made {
    fn add(&mut self, local: &Local, matches: &Matches) -> Outcome<()> {
        self.any = true;
        let domain = fill_domain(local.domain.as_ref(), matches)?;
        self.last_domain = domain.clone();
        if let Some(user) = &local.user {
            let user = fill_user(user, matches)?;
            // The first one counts.
            if self.user.is_none() && user != User::default() {
                self.user = Some(user);
            }
        }
        match &local.group {
            Some(LocalGroup::Id(id)) => self.add_group_id(id.fill_one(matches)?)?,
            Some(LocalGroup::Name(name, domain)) => {
                let name = name.fill_one(matches)?;
                let domain = fill_domain(Some(domain), matches)?.unwrap_or_default();
                self.add_group(Group { name, domain })?;
            }
            None => {}
        }
        if let Some(groups) = &local.groups {
            for text in groups.fill_list(matches)? {
                let group = match text.strip_prefix("JSON:") {
                    Some(json) => parse_group(json)?,
                    None => match &domain {
                        Some(domain) => Group {
                            name: text,
                            domain: domain.clone(),
                        },
                        None => return Err(Refusal::Mapping(NO_DOMAIN.into())),
                    },
                };
                self.add_group(group)?;
            }
        }
        if let Some(ids) = &local.group_ids {
            for id in ids.fill_list(matches)? {
                self.add_group_id(id)?;
            }
        }
        self.add_projects(local, domain.as_ref(), matches)
    }

    fn add_group_id(&mut self, id: String) -> Outcome<()> {
        if !self.mapped.group_ids.contains(&id) {
            self.mapped.group_ids.push(id);
        }
        enough(self.mapped.group_ids.len())
    }

    fn add_group(&mut self, group: Group) -> Outcome<()> {
        if !self.mapped.groups.contains(&group) {
            self.mapped.groups.push(group);
        }
        enough(self.mapped.groups.len())
    }

    fn add_projects(
        &mut self,
        local: &Local,
        domain: Option<&Domain>,
        matches: &Matches,
    ) -> Outcome<()> {
        if local.projects.is_none() && local.projects_json.is_none() {
            return Ok(());
        }
        let mut projects = Vec::new();
        for project in local.projects.iter().flatten() {
            let roles = project.roles.iter().map(|role| role.fill_one(matches));
            projects.push(Project {
                name: project.name.fill_one(matches)?,
                domain: fill_domain(project.domain.as_ref(), matches)?,
                roles: roles.collect::<Outcome<_>>()?,
            });
        }
        if let Some(index) = local.projects_json {
            // A semicolon in it is no border.
            projects.extend(parse_projects(&found(matches, index)?.join(";"))?);
        }
        if self.version >= Version::V2 {
            for project in &mut projects {
                project.domain = project.domain.take().or_else(|| domain.cloned());
            }
        }
        enough(projects.len())?;
        self.mapped.projects = Some(projects);
        Ok(())
    }

    fn whole(self) -> Outcome<Mapped> {
        if !self.any {
            return refused(NOTHING);
        }
        let mut mapped = self.mapped;
        mapped.user = self.user.unwrap_or_default();
        if self.version >= Version::V2 {
            mapped.user.domain = mapped.user.domain.or(self.last_domain);
        }
        Ok(mapped)
    }
}

fn enough(count: usize) -> Outcome<()> {
    match count > MAX_RESULTS {
        true => refused("The assertion means too many groups or projects"),
        false => Ok(()),
    }
}

fn fill_user(user: &LocalUser, matches: &Matches) -> Outcome<User> {
    let fill = |template: &Option<super::Template>| {
        let text = template.as_ref().map(|t| t.fill_one(matches)).transpose()?;
        Ok(text.filter(|t| !t.is_empty()))
    };
    Ok(User {
        id: fill(&user.id)?,
        name: fill(&user.name)?,
        email: fill(&user.email)?,
        domain: fill_domain(user.domain.as_ref(), matches)?,
        kind: user.kind,
    })
}

fn fill_domain(domain: Option<&LocalDomain>, matches: &Matches) -> Outcome<Option<Domain>> {
    let Some(domain) = domain else {
        return Ok(None);
    };
    let fill = |template: &Option<super::Template>| {
        template.as_ref().map(|t| t.fill_one(matches)).transpose()
    };
    let filled = Domain {
        id: fill(&domain.id)?,
        name: fill(&domain.name)?,
    };
    Ok((filled != Domain::default()).then_some(filled))
}

fn json(text: &str) -> Outcome<Value> {
    serde_json::from_str(text)
        .map_err(|_| Refusal::Assertion("An attribute that should be JSON is not".into()))
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_string)
}

fn domain_of(value: &Value) -> Option<Domain> {
    let domain = value.get("domain")?;
    let named = Domain {
        id: text_of(domain, "id"),
        name: text_of(domain, "name"),
    };
    (named != Domain::default()).then_some(named)
}

/// `{"name": …, "domain": {…}}`, as another cloud writes it.
fn parse_group(text: &str) -> Outcome<Group> {
    let value = json(text)?;
    match (text_of(&value, "name"), domain_of(&value)) {
        (Some(name), Some(domain)) => Ok(Group { name, domain }),
        _ => Err(Refusal::Assertion(NO_DOMAIN.into())),
    }
}

/// `[{"name": …, "roles": [{"name": …}], "domain": {…}}]`
fn parse_projects(text: &str) -> Outcome<Vec<Project>> {
    let malformed = || Refusal::Assertion("An attribute that should be projects is not".into());
    let value = json(text)?;
    let items = value.as_array().ok_or_else(malformed)?;
    enough(items.len())?;
    let projects = items.iter().map(|item| {
        let roles = item.get("roles")?.as_array()?.iter();
        Some(Project {
            name: text_of(item, "name")?,
            domain: domain_of(item),
            roles: roles.map(|r| text_of(r, "name")).collect::<Option<_>>()?,
        })
    });
    projects.collect::<Option<_>>().ok_or_else(malformed)
}
