//! Upstream's schemas of answers (`tests/answers.json` of a service, made by `script/update-schemas`), and which of them
//! a story has met.

use jsonschema::Validator;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};

struct Answer {
    name: String,
    schema: Value,
    compiled: OnceLock<Validator>,
}

impl Answer {
    fn validator(&self) -> &Validator {
        self.compiled.get_or_init(|| {
            jsonschema::validator_for(&self.schema).unwrap_or_else(|e| panic!("{}: {e}", self.name))
        })
    }
}

/// Where upstream's own answers do not meet upstream's schema: the operation (all of them if empty), what the complaint
/// ends with, and why.
pub type NotSo = &'static [(&'static str, &'static str, &'static str)];

/// What a service's answers must look like.
pub struct Answers {
    not_so: NotSo,
    /// By method; then path and schema.
    operations: BTreeMap<String, Vec<(Vec<String>, Answer)>>,
    met: Mutex<BTreeSet<String>>,
}

fn segments(path: &str) -> Vec<String> {
    let path = path.split('?').next().unwrap_or("");
    path.split('/')
        .filter(|s| !s.is_empty())
        .map(str::to_string)
        .collect()
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

/// Whether two paths are the same but for the names of their parameters.
fn same(a: &[String], b: &[String]) -> bool {
    let alike = |(a, b): (&String, &String)| a == b || (is_parameter(a) && is_parameter(b));
    a.len() == b.len() && a.iter().zip(b).all(alike)
}

/// A path, its parameters without names.
fn nameless(path: &[String]) -> String {
    if path.is_empty() {
        return "/".to_string();
    }
    let plain = |s: &String| match is_parameter(s) {
        true => "/{}".to_string(),
        false => format!("/{s}"),
    };
    path.iter().map(plain).collect()
}

impl Answers {
    /// Reads `answers.json`.
    pub fn load(json: &str, not_so: NotSo) -> Answers {
        let all: BTreeMap<String, Value> = serde_json::from_str(json).expect("answers.json");
        let mut operations: BTreeMap<String, Vec<(Vec<String>, Answer)>> = BTreeMap::new();
        for (name, schema) in all {
            let (method, path) = name.split_once(' ').expect("METHOD /path");
            let path = segments(path);
            let answer = Answer {
                name: name.clone(),
                schema,
                compiled: OnceLock::new(),
            };
            operations
                .entry(method.to_string())
                .or_default()
                .push((path, answer));
        }
        Answers {
            not_so,
            operations,
            met: Mutex::default(),
        }
    }

    /// Holds a body against the schema of its operation, if there is one; the complaint names both.
    pub fn check(&self, method: &str, path: &str, body: &Value) -> Result<(), String> {
        let path = segments(path);
        let fits = |pattern: &[String]| {
            let alike = |(p, s): (&String, &String)| is_parameter(p) || p == s;
            pattern.len() == path.len() && pattern.iter().zip(&path).all(alike)
        };
        let rows = self.operations.get(method).into_iter().flatten();
        // The path with the fewest parameters is the one that was meant.
        let found = rows
            .filter(|(pattern, _)| fits(pattern))
            .min_by_key(|(pattern, _)| pattern.iter().filter(|s| is_parameter(s)).count());
        let Some((_, answer)) = found else {
            return Ok(());
        };
        let excused = |words: &String| {
            let of = |(name, end, _): &(&str, &str, &str)| {
                (name.is_empty() || *name == answer.name) && words.ends_with(end)
            };
            self.not_so.iter().any(of)
        };
        let errors = answer.validator().iter_errors(body);
        let complaints: Vec<String> = errors
            .map(|e| format!("{}: {e}", e.instance_path()))
            .filter(|words| !excused(words))
            .collect();
        if complaints.is_empty() {
            let mut met = self.met.lock().expect("no story panics in here");
            met.insert(answer.name.clone());
            return Ok(());
        }
        Err(format!(
            "{}: {}\n{body}",
            answer.name,
            complaints.join("; ")
        ))
    }

    /// What the rows of a route table (method, path) have: whether there is a schema for their answers, and whether a
    /// body was held against it.
    pub fn coverage<'r>(&self, rows: impl Iterator<Item = (&'r str, &'r str)>) -> Coverage {
        let met = self.met.lock().expect("no story panics in here");
        let mut coverage = Coverage::default();
        for (method, path) in rows {
            let own = segments(path);
            let name = format!("{method} {}", nameless(&own));
            let mut known = self.operations.get(method).into_iter().flatten();
            match known.find(|(pattern, _)| same(pattern, &own)) {
                None => coverage.without_schema.insert(name),
                Some((_, answer)) if met.contains(&answer.name) => coverage.met.insert(name),
                Some(_) => coverage.unmet.insert(name),
            };
        }
        coverage
    }
}

impl Coverage {
    /// Holds both gaps against their lists, which may only shrink; answers with a line about how much is covered.
    pub fn judge(&self, unmet: &str, without_schema: &str) -> Result<String, String> {
        let known = self.met.union(&self.unmet).cloned().collect();
        only_shrinks(&self.unmet, &self.met, "unmet.txt", unmet)?;
        let rows = &self.without_schema;
        only_shrinks(rows, &known, "without_schema.txt", without_schema)?;
        let (met, all) = (self.met.len(), known.len() + rows.len());
        Ok(format!(
            "of {all} rows {} have a schema, {met} of them met it",
            known.len()
        ))
    }
}

/// See [`Answers::coverage`]; rows are `METHOD /path`, their parameters `{}`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Upstream has no schema for what they answer.
    pub without_schema: BTreeSet<String>,
    /// A body was held against their schema.
    pub met: BTreeSet<String>,
    /// None was.
    pub unmet: BTreeSet<String>,
}

/// A path with the ids of things where it has parameters; one that no thing is named after stays as it is.
pub fn fill(path: &str, things: &BTreeMap<&str, String>) -> String {
    let segments = path.split('/').map(|segment| {
        let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        let thing = name.and_then(|name| things.get(name));
        thing.map_or(segment, String::as_str)
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Holds what is lacking against a list of it that may only shrink (a line each, `#` for remarks). Says what lacks and
/// is not listed, and what is listed although it is there.
fn only_shrinks(
    lacking: &BTreeSet<String>,
    there: &BTreeSet<String>,
    list: &str,
    recorded: &str,
) -> Result<(), String> {
    let lines = recorded.lines().map(str::trim);
    let known: BTreeSet<String> = lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_string)
        .collect();
    let new: Vec<&String> = lacking.difference(&known).collect();
    let mended: Vec<&String> = known.intersection(there).collect();
    if new.is_empty() && mended.is_empty() {
        return Ok(());
    }
    Err(format!("{list} is to lose {mended:#?}\nand lacks {new:#?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_path_with_fewer_parameters_is_meant_and_strangers_are_told() {
        let answers = Answers::load(
            r#"{"GET /v3/limits/{id}": {"type": "object", "required": ["limit"], "properties": {"limit": {"type": "string"}}},
                "GET /v3/limits/model": {"type": "object", "properties": {"model": {}}, "additionalProperties": false}}"#,
            &[(
                "GET /v3/limits/{id}",
                "/limit: 1 is not of type \"string\"",
                "it is a number",
            )],
        );
        let check = |path, body| answers.check("GET", path, &body);
        check("/v3/limits/model?x=1", json!({"model": 1})).unwrap();
        let words = check("/v3/limits/1", json!({"model": 1})).unwrap_err();
        assert!(words.contains("limit"), "{words}");
        assert!(check("/v3/limits/model", json!({"model": 1, "x": 2})).is_err());
        check("/v3/users", json!(null)).unwrap();
        assert!(check("/v3/limits/1", json!({"limit": 2})).is_err());
        let rows = [
            ("GET", "/v3/limits/{limit_id}"),
            ("GET", "/v3/limits/model"),
            ("PUT", "/v3/limits/{id}"),
        ];
        let coverage = answers.coverage(rows.into_iter());
        assert_eq!(coverage.unmet, ["GET /v3/limits/{}".to_string()].into());
        assert_eq!(coverage.met, ["GET /v3/limits/model".to_string()].into());
        assert_eq!(
            coverage.without_schema,
            ["PUT /v3/limits/{}".to_string()].into()
        );
    }

    #[test]
    fn a_list_that_grows_or_is_stale_is_told() {
        let lacking = BTreeSet::from(["a".to_string()]);
        let there = BTreeSet::from(["b".to_string()]);
        assert!(only_shrinks(&lacking, &there, "it", "# words\na\nnot yet\n").is_ok());
        let new = only_shrinks(&lacking, &there, "it", "").unwrap_err();
        assert!(new.contains("lacks [\n    \"a\""), "{new}");
        let stale = only_shrinks(&lacking, &there, "it", "a\nb").unwrap_err();
        assert!(stale.contains("lose [\n    \"b\""), "{stale}");
    }
}
