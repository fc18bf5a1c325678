//! Rules as they are sent, read into what the engine runs. Every refusal says where.

use super::{
    Local, LocalDomain, LocalGroup, LocalProject, LocalUser, Mapping, Remote, Rule, Template, Test,
    UserKind, Values, Version,
};
use fancy_regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// How many patterns rules may have together, and how long each may be.
const MAX_PATTERNS: usize = 256;
const MAX_PATTERN: usize = 1024;
/// What compiling one may need, in bytes, and running it on one value, in steps back.
const PATTERN_SIZE: usize = 1 << 20;
const STEPS_BACK: usize = 10_000;

type Parsed<T> = Result<T, String>;

fn invalid<T>(at: &str, why: impl std::fmt::Display) -> Parsed<T> {
    Err(format!("Invalid input for field '{at}': {why}"))
}

fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((at, _)) = text.char_indices().nth(80) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn object<'v>(at: &str, value: &'v Value, known: &[&str]) -> Parsed<&'v Map<String, Value>> {
    let Some(map) = value.as_object() else {
        return invalid(at, format!("{} is not of type 'object'", shown(value)));
    };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(map),
        Some(key) => invalid(
            at,
            format!("Additional properties are not allowed ('{key}' was unexpected)"),
        ),
    }
}

fn array<'v>(at: &str, value: &'v Value) -> Parsed<&'v Vec<Value>> {
    match value.as_array() {
        Some(items) => Ok(items),
        None => invalid(at, format!("{} is not of type 'array'", shown(value))),
    }
}

fn required<'v>(at: &str, map: &'v Map<String, Value>, key: &str) -> Parsed<&'v Value> {
    match map.get(key) {
        Some(value) => Ok(value),
        None => invalid(at, format!("'{key}' is a required property")),
    }
}

fn text<'v>(at: &str, value: &'v Value) -> Parsed<&'v str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => invalid(at, format!("{} is not of type 'string'", shown(value))),
    }
}

fn template(at: &str, value: &Value) -> Parsed<Template> {
    Template::parse(text(at, value)?).or_else(|why| invalid(at, why))
}

/// The template under `key`, if there is one.
fn place(at: &str, map: &Map<String, Value>, key: &str) -> Parsed<Option<Template>> {
    let value = map.get(key);
    value
        .map(|v| template(&format!("{at}/{key}"), v))
        .transpose()
}

pub(super) fn rules(version: Version, value: &Value) -> Parsed<Mapping> {
    let items = array("rules", value)?;
    if items.is_empty() {
        return invalid("rules", "[] should be non-empty");
    }
    let mut patterns = MAX_PATTERNS;
    let mut rules = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = format!("rules/{i}");
        let map = object(&at, item, &["local", "remote"])?;
        let local = array(&format!("{at}/local"), required(&at, map, "local")?)?;
        let remote = array(&format!("{at}/remote"), required(&at, map, "remote")?)?;
        if remote.is_empty() {
            return invalid(&format!("{at}/remote"), "[] should be non-empty");
        }
        let locals = local.iter().enumerate();
        let remotes = remote.iter().enumerate();
        rules.push(Rule {
            local: locals
                .map(|(n, l)| parse_local(version, &format!("{at}/local/{n}"), l))
                .collect::<Parsed<_>>()?,
            remote: remotes
                .map(|(n, r)| parse_remote(&format!("{at}/remote/{n}"), r, &mut patterns))
                .collect::<Parsed<_>>()?,
        });
    }
    Ok(Mapping { version, rules })
}

const TESTS: [&str; 4] = ["any_one_of", "not_any_of", "blacklist", "whitelist"];

fn parse_remote(at: &str, value: &Value, patterns: &mut usize) -> Parsed<Remote> {
    let known = ["type", "regex", TESTS[0], TESTS[1], TESTS[2], TESTS[3]];
    let map = object(at, value, &known)?;
    let name = text(&format!("{at}/type"), required(at, map, "type")?)?.to_string();
    let mut given = TESTS.iter().filter(|test| map.contains_key(**test));
    let (first, second) = (given.next(), given.next());
    let Some(test) = first else {
        return match map.contains_key("regex") {
            true => invalid(at, "'regex' needs values to compare with"),
            false => Ok(Remote {
                name,
                test: Test::There,
            }),
        };
    };
    if second.is_some() {
        return invalid(
            at,
            format!(
                "{} is not valid under any of the given schemas",
                shown(value)
            ),
        );
    }
    let regex = match map.get("regex") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(other) => {
            return invalid(
                &format!("{at}/regex"),
                format!("{} is not of type 'boolean'", shown(other)),
            );
        }
    };
    let at = format!("{at}/{test}");
    let items = array(&at, &map[*test])?;
    let values = match regex {
        true => Values::Patterns(compile(&at, items, patterns)?),
        // An attribute's value is a text, so nothing else is ever equal to it.
        false => Values::Plain(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(Into::into)
                .collect(),
        ),
    };
    let test = match *test {
        "any_one_of" => Test::AnyOneOf(values),
        "not_any_of" => Test::NotAnyOf(values),
        "blacklist" => Test::Blacklist(values),
        _ => Test::Whitelist(values),
    };
    Ok(Remote { name, test })
}

fn compile(at: &str, items: &[Value], left: &mut usize) -> Parsed<Vec<Regex>> {
    let Some(rest) = left.checked_sub(items.len()) else {
        return invalid(at, format!("a mapping may have {MAX_PATTERNS} patterns"));
    };
    *left = rest;
    let patterns = items.iter().map(|item| {
        let pattern = text(at, item)?;
        if pattern.len() > MAX_PATTERN {
            return invalid(at, format!("a pattern may be {MAX_PATTERN} bytes long"));
        }
        RegexBuilder::new(pattern)
            .backtrack_limit(STEPS_BACK)
            .delegate_size_limit(PATTERN_SIZE)
            .delegate_dfa_size_limit(PATTERN_SIZE)
            .build()
            .or_else(|_| invalid(at, format!("{} is not a regular expression", shown(item))))
    });
    patterns.collect()
}

fn parse_local(version: Version, at: &str, value: &Value) -> Parsed<Local> {
    let known = [
        "user",
        "projects",
        "group",
        "groups",
        "group_ids",
        "domain",
        "projects_json",
    ];
    let known = match version {
        Version::V3 => &known[..],
        _ => &known[..known.len() - 1],
    };
    let map = object(at, value, known)?;
    let mut local = Local {
        groups: place(at, map, "groups")?,
        group_ids: place(at, map, "group_ids")?,
        domain: domain(at, map)?,
        ..Local::default()
    };
    if let Some(user) = map.get("user") {
        local.user = Some(parse_user(&format!("{at}/user"), user)?);
    }
    if let Some(group) = map.get("group") {
        local.group = Some(parse_group(&format!("{at}/group"), group)?);
    }
    if let Some(value) = map.get("projects") {
        let at = format!("{at}/projects");
        let items = array(&at, value)?.iter().enumerate();
        let projects = items.map(|(i, p)| parse_project(version, &format!("{at}/{i}"), p));
        local.projects = Some(projects.collect::<Parsed<_>>()?);
    }
    if let Some(value) = map.get("projects_json") {
        let at = format!("{at}/projects_json");
        let text = text(&at, value)?;
        let digits = text.trim_start_matches('{').trim_end_matches('}');
        let known = digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse() {
            Ok(index) if known => local.projects_json = Some(index),
            _ => return invalid(&at, format!("'{text}' is not the number of a match")),
        }
    }
    Ok(local)
}

fn parse_user(at: &str, value: &Value) -> Parsed<LocalUser> {
    let map = object(at, value, &["id", "name", "email", "domain", "type"])?;
    let kind = match map.get("type").map(|v| text(at, v)).transpose()? {
        None | Some("ephemeral") => UserKind::Ephemeral,
        Some("local") => UserKind::Local,
        Some(other) => {
            return invalid(
                &format!("{at}/type"),
                format!("'{other}' is not one of ['ephemeral', 'local']"),
            );
        }
    };
    Ok(LocalUser {
        id: place(at, map, "id")?,
        name: place(at, map, "name")?,
        email: place(at, map, "email")?,
        domain: domain(at, map)?,
        kind,
    })
}

/// `{"id" and/or "name"}` under `domain`.
fn domain(at: &str, map: &Map<String, Value>) -> Parsed<Option<LocalDomain>> {
    let Some(value) = map.get("domain") else {
        return Ok(None);
    };
    let at = format!("{at}/domain");
    let map = object(&at, value, &["id", "name"])?;
    Ok(Some(LocalDomain {
        id: place(&at, map, "id")?,
        name: place(&at, map, "name")?,
    }))
}

fn parse_group(at: &str, value: &Value) -> Parsed<LocalGroup> {
    let map = object(at, value, &["id", "name", "domain"])?;
    let (id, name) = (place(at, map, "id")?, place(at, map, "name")?);
    match (id, name, domain(at, map)?) {
        (Some(id), None, None) => Ok(LocalGroup::Id(id)),
        (None, Some(name), Some(domain)) => Ok(LocalGroup::Name(name, domain)),
        _ => invalid(
            at,
            format!(
                "{} is not valid under any of the given schemas",
                shown(value)
            ),
        ),
    }
}

fn parse_project(version: Version, at: &str, value: &Value) -> Parsed<LocalProject> {
    let known = ["name", "roles", "domain"];
    let known = match version {
        Version::V1 => &known[..2],
        _ => &known[..],
    };
    let map = object(at, value, known)?;
    let name = template(&format!("{at}/name"), required(at, map, "name")?)?;
    let roles_at = format!("{at}/roles");
    let roles = array(&roles_at, required(at, map, "roles")?)?;
    let roles = roles.iter().map(|role| {
        let map = object(&roles_at, role, &["name"])?;
        template(&roles_at, required(&roles_at, map, "name")?)
    });
    Ok(LocalProject {
        name,
        roles: roles.collect::<Parsed<_>>()?,
        domain: domain(at, map)?,
    })
}
