//! Upstream's request and query schemas as data, compiled when first used.
//!
//! The words of a refusal are those of Python's jsonschema, because clients and Tempest match on them.

use base::{Error, Microversion, Result};
use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    min: Option<String>,
    #[serde(default)]
    max: Option<String>,
    schema: Box<serde_json::value::RawValue>,
}

#[derive(Deserialize, Default)]
struct Operation {
    #[serde(default)]
    body: Vec<Versioned>,
    #[serde(default)]
    query: Vec<Versioned>,
}

struct Entry {
    min: Option<Microversion>,
    max: Option<Microversion>,
    source: Box<serde_json::value::RawValue>,
    compiled: OnceLock<Option<Validator>>,
}

/// The schemas of one operation.
#[derive(Default)]
pub(crate) struct OperationSchemas {
    body: Vec<Entry>,
    query: Vec<Entry>,
}

/// How a refusal is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// `Invalid input for field/attribute NAME. Value: V. REASON` (nova, cinder).
    FieldAttribute,
    /// `Invalid input for field 'NAME': REASON` (keystone).
    Field,
    /// `JSON does not validate: REASON`, `Invalid query string parameters: REASON` (placement).
    Placement,
}

/// All schemas of a service, by `METHOD /path/{}/… action`.
pub struct Schemas {
    operations: HashMap<String, OperationSchemas>,
    wording: Wording,
}

/// The key of an operation: parameter names do not matter.
fn key(method: &str, path: &str, action: Option<&str>) -> String {
    let mut out = format!("{method} ");
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        out.push('/');
        out.push_str(if segment.starts_with('{') {
            "{}"
        } else {
            segment
        });
    }
    if let Some(action) = action {
        out.push(' ');
        out.push_str(action);
    }
    out
}

impl Schemas {
    /// Reads `schemas.json` as made by `script/update-schemas`.
    pub fn load(json: &str, wording: Wording) -> Result<Schemas> {
        let raw: HashMap<String, Operation> = serde_json::from_str(json)?;
        let mut operations = HashMap::with_capacity(raw.len());
        for (name, operation) in raw {
            let mut parts = name.splitn(3, ' ');
            let (method, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let entries = OperationSchemas {
                body: entries(operation.body)?,
                query: entries(operation.query)?,
            };
            operations.insert(key(method, path, parts.next()), entries);
        }
        Ok(Schemas {
            operations,
            wording,
        })
    }

    /// The schemas of one operation, moved out to live beside its route.
    pub(crate) fn take(
        &mut self,
        method: &str,
        path: &str,
        action: Option<&str>,
    ) -> Option<OperationSchemas> {
        self.operations.remove(&key(method, path, action))
    }

    /// What remains shared once the operations are taken: the wording.
    pub(crate) fn share(&mut self) -> Arc<Schemas> {
        Arc::new(Schemas {
            operations: HashMap::new(),
            wording: self.wording,
        })
    }

    pub(crate) fn check_body(
        &self,
        schemas: &OperationSchemas,
        version: Microversion,
        body: &Value,
    ) -> Result<()> {
        self.check(&schemas.body, version, body)
            .map_err(|e| self.prefixed("JSON does not validate: ", e))
    }

    pub(crate) fn check_query(
        &self,
        schemas: &OperationSchemas,
        version: Microversion,
        query: &crate::Query,
    ) -> Result<()> {
        if schemas.query.is_empty() {
            return Ok(());
        }
        // keystone's query schemas describe single values, nova's lists: the schema itself says which.
        let lists = query.to_lists();
        let entry = pick(&schemas.query, version);
        let single = entry.is_some_and(|e| !e.source.get().contains("\"array\""));
        if single {
            let map = query
                .0
                .iter()
                .map(|(k, v)| (k.clone(), Value::String(v.clone())))
                .collect();
            return self
                .check(&schemas.query, version, &Value::Object(map))
                .map_err(|e| self.prefixed("Invalid query string parameters: ", e));
        }
        self.check(&schemas.query, version, &lists)
    }

    /// placement says in which part of the request the mistake is.
    fn prefixed(&self, prefix: &str, error: Error) -> Error {
        match self.wording {
            Wording::Placement => Error::bad_request(format!("{prefix}{}", error.message())),
            _ => error,
        }
    }

    fn check(&self, entries: &[Entry], version: Microversion, value: &Value) -> Result<()> {
        let Some(entry) = pick(entries, version) else {
            return Ok(());
        };
        let compiled = entry.compiled.get_or_init(|| compile(entry.source.get()));
        let Some(validator) = compiled else {
            return Ok(());
        };
        if validator.is_valid(value) {
            return Ok(());
        }
        // Upstream reports the "best match": the shallowest error.
        let mut errors: Vec<_> = validator.iter_errors(value).collect();
        errors.sort_by_key(|e| e.instance_path().as_str().matches('/').count());
        let Some(error) = errors.first() else {
            return Ok(());
        };
        let reason = reason(error);
        let path = error.instance_path().as_str().to_string();
        let name = path.rsplit('/').next().unwrap_or("");
        let message = match (self.wording, name) {
            (Wording::Placement, _) => placement_words(entry.source.get(), error, reason),
            (_, "") => reason,
            (Wording::FieldAttribute, _) => {
                format!(
                    "Invalid input for field/attribute {name}. Value: {}. {reason}",
                    python_str(error.instance())
                )
            }
            (Wording::Field, _) => format!("Invalid input for field '{name}': {reason}"),
        };
        Err(Error::bad_request(message))
    }
}

/// What Python's `str()` of a validation error starts with: the reason, then where in the schema.
fn placement_words(
    source: &str,
    error: &jsonschema::ValidationError<'_>,
    reason: String,
) -> String {
    let path = error.schema_path().as_str().to_string();
    let (parent, keyword) = path.rsplit_once('/').unwrap_or(("", &path));
    let schema: Value = serde_json::from_str(source).unwrap_or_default();
    let patterns = schema
        .pointer(parent)
        .and_then(|s| s.get("patternProperties"));
    let reason = match (error.kind(), patterns.and_then(Value::as_object)) {
        (ValidationErrorKind::AdditionalProperties { unexpected }, Some(patterns)) => {
            let names: Vec<String> = unexpected.iter().map(|n| format!("'{n}'")).collect();
            let verb = if names.len() == 1 { "does" } else { "do" };
            let regexes: Vec<String> = patterns.keys().map(|k| format!("'{k}'")).collect();
            format!(
                "{} {verb} not match any of the regexes: {}",
                names.join(", "),
                regexes.join(", ")
            )
        }
        _ => reason,
    };
    let steps: Vec<String> = parent
        .split('/')
        .skip(1)
        .map(|step| format!("['{}']", step.replace("~1", "/").replace("~0", "~")))
        .collect();
    format!(
        "{reason}\n\nFailed validating '{keyword}' in schema{}",
        steps.concat()
    )
}

fn entries(list: Vec<Versioned>) -> Result<Vec<Entry>> {
    let parse = |t: Option<String>| t.map(|t| Microversion::parse(&t)).transpose();
    list.into_iter()
        .map(|v| {
            Ok(Entry {
                min: parse(v.min)?,
                max: parse(v.max)?,
                source: v.schema,
                compiled: OnceLock::new(),
            })
        })
        .collect()
}

fn pick(entries: &[Entry], version: Microversion) -> Option<&Entry> {
    entries
        .iter()
        .find(|e| e.min.is_none_or(|m| version >= m) && e.max.is_none_or(|m| version <= m))
}

fn compile(source: &str) -> Option<Validator> {
    let schema: Value = serde_json::from_str(source).ok()?;
    // Python's library lets keywords of later drafts pass in a draft 4 schema, and upstream uses some.
    let built = build(&schema, jsonschema::Draft::Draft4)
        .or_else(|_| build(&schema, jsonschema::Draft::Draft7));
    match built {
        Ok(v) => Some(v),
        Err(e) => {
            tracing::error!("a schema does not compile and is not enforced: {e}");
            None
        }
    }
}

fn build(
    schema: &Value,
    draft: jsonschema::Draft,
) -> Result<Validator, Box<dyn std::error::Error>> {
    let built = jsonschema::options()
        .with_draft(draft)
        .should_validate_formats(true)
        .with_format("uuid", base::id::is_uuid_like)
        .with_format("regex", |t: &str| regex::Regex::new(t).is_ok())
        .with_format("base64", |t: &str| {
            t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n -_".contains(&b))
        })
        .with_format("name", |t: &str| is_name(t) && t.trim() == t)
        .with_format("name_with_leading_trailing_spaces", is_name)
        .with_format("az_name", |t: &str| {
            is_name(t) && !t.contains(':') && t.trim() == t
        })
        .with_format("az_name_with_leading_trailing_spaces", |t: &str| {
            is_name(t) && !t.contains(':')
        })
        .with_format("name_skip_leading_trailing_spaces", |t: &str| {
            (1..=255).contains(&t.trim().chars().count())
        })
        .with_format("name_non_mandatory_remove_white_spaces", |t: &str| {
            t.trim().chars().count() <= 255
        })
        .with_format(
            "description_non_mandatory_remove_white_spaces",
            |t: &str| t.trim().chars().count() <= 255,
        )
        .with_format("date-time", |t: &str| base::Timestamp::parse(t).is_ok())
        .build(schema)?;
    Ok(built)
}

/// nova's `name` format: printable, not blank.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().all(|c| !c.is_control())
}

fn reason(error: &jsonschema::ValidationError<'_>) -> String {
    let value = python(error.instance());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{} is a required property", python(property))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|u| format!("'{u}'")).collect();
            let verb = if names.len() == 1 { "was" } else { "were" };
            format!(
                "Additional properties are not allowed ({} {verb} unexpected)",
                names.join(", ")
            )
        }
        ValidationErrorKind::Type { kind } => {
            let names: Vec<String> = match kind {
                TypeKind::Single(t) => vec![format!("'{t}'")],
                TypeKind::Multiple(set) => set.iter().map(|t| format!("'{t}'")).collect(),
            };
            format!("{value} is not of type {}", names.join(", "))
        }
        ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MinItems { .. } => {
            format!("{value} is too short")
        }
        ValidationErrorKind::MaxLength { .. } | ValidationErrorKind::MaxItems { .. } => {
            format!("{value} is too long")
        }
        ValidationErrorKind::Pattern { pattern } => format!("{value} does not match '{pattern}'"),
        ValidationErrorKind::Enum { options } => {
            format!("{value} is not one of {}", python(options))
        }
        ValidationErrorKind::Minimum { limit } => {
            format!("{value} is less than the minimum of {limit}")
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("{value} is greater than the maximum of {limit}")
        }
        ValidationErrorKind::Format { format } => format!("{value} is not a '{format}'"),
        ValidationErrorKind::UniqueItems => format!("{value} has non-unique elements"),
        ValidationErrorKind::MinProperties { .. } => {
            format!("{value} does not have enough properties")
        }
        ValidationErrorKind::MaxProperties { .. } => format!("{value} has too many properties"),
        ValidationErrorKind::AnyOf { .. } => {
            format!("{value} is not valid under any of the given schemas")
        }
        ValidationErrorKind::OneOfNotValid { .. } => {
            format!("{value} is not valid under any of the given schemas")
        }
        _ => error.to_string(),
    }
}

/// A value as Python's `repr` shows it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => {
            let quote = if s.contains('\'') && !s.contains('"') {
                '"'
            } else {
                '\''
            };
            let inner = s.replace('\\', "\\\\").replace('\n', "\\n");
            let inner = if quote == '\'' {
                inner.replace('\'', "\\'")
            } else {
                inner
            };
            format!("{quote}{inner}{quote}")
        }
        Value::Array(list) => format!(
            "[{}]",
            list.iter().map(python).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("'{k}': {}", python(v)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A value as Python's `str` shows it: strings without quotes.
fn python_str(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => python(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schemas() -> Schemas {
        let text = json!({"POST /v2.1/servers/{id}/action reboot": {"body": [
            {"min": null, "max": "2.9", "schema": {"type": "object", "required": ["reboot"], "additionalProperties": false,
              "properties": {"reboot": {"type": "object", "properties": {"type": {"enum": ["HARD", "SOFT"]}, "n": {"type": ["string", "null"], "minLength": 1}}}}}},
            {"min": "2.10", "max": null, "schema": {"type": "object"}}]}});
        Schemas::load(&text.to_string(), Wording::FieldAttribute).unwrap()
    }

    fn check(version: Microversion, body: Value) -> String {
        let mut s = schemas();
        let op = s
            .take("POST", "/v2.1/servers/{server_id}/action", Some("reboot"))
            .unwrap();
        s.check_body(&op, version, &body)
            .err()
            .map(|e| e.message().to_string())
            .unwrap_or_default()
    }

    #[test]
    fn words_are_upstreams() {
        let v = Microversion(2, 1);
        assert_eq!(check(v, json!({})), "'reboot' is a required property");
        assert_eq!(
            check(v, json!({"reboot": {}, "x": 1})),
            "Additional properties are not allowed ('x' was unexpected)"
        );
        assert_eq!(
            check(v, json!({"reboot": {"type": "FIRM"}})),
            "Invalid input for field/attribute type. Value: FIRM. 'FIRM' is not one of ['HARD', 'SOFT']"
        );
        assert_eq!(
            check(v, json!({"reboot": {"n": ""}})),
            "Invalid input for field/attribute n. Value: . '' is too short"
        );
        assert_eq!(check(v, json!({"reboot": {"type": "HARD"}})), "");
        assert_eq!(check(Microversion(2, 10), json!({"anything": 1})), "");
    }

    #[test]
    fn every_schema_of_upstream_compiles() {
        let services = [
            include_str!("../../../services/keystone/schemas.json"),
            include_str!("../../../services/nova/schemas.json"),
            include_str!("../../../services/cinder/schemas.json"),
        ];
        let mut bad = Vec::new();
        for json in services {
            let schemas = Schemas::load(json, Wording::Field).unwrap();
            for (name, operation) in &schemas.operations {
                let all = operation.body.iter().chain(&operation.query);
                bad.extend(
                    all.filter(|e| compile(e.source.get()).is_none())
                        .map(|_| name.clone()),
                );
            }
        }
        assert!(bad.is_empty(), "{bad:?}");
    }
}
