//! Bodies against upstream's own schemas, in upstream's words.

use crate::api::schemas::document;
use crate::metadef::NamespaceBody;
use base::{Error, Result};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What only glance sets.
const READ_ONLY: [&str; 4] = ["created_at", "updated_at", "self", "schema"];

/// Compiled when first used.
fn validator(document_name: &'static str) -> Result<Arc<Validator>> {
    static COMPILED: OnceLock<Mutex<HashMap<&'static str, Arc<Validator>>>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(Mutex::default);
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = compiled.get(document_name) {
        return Ok(Arc::clone(known));
    }
    let text = document(document_name).ok_or_else(|| Error::internal(document_name))?;
    let schema: Value = serde_json::from_str(text.get())?;
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft4)
        .build(&schema)
        .map_err(|e| Error::internal(format!("{document_name}: {e}")))?;
    let validator = Arc::new(validator);
    compiled.insert(document_name, Arc::clone(&validator));
    Ok(validator)
}

/// The longest name of anything in a namespace.
const LONGEST: usize = 80;

fn mismatch(name: &str, why: &dyn std::fmt::Display) -> Error {
    Error::bad_request(format!(
        "Provided object does not match schema '{name}': {why}"
    ))
}

/// 400 for names in a namespace that would be too long if they came alone: its document does not measure them.
pub fn check_names(body: &NamespaceBody) -> Result<()> {
    let associations = body.resource_type_associations.iter();
    let associations = associations.flat_map(|a| {
        let more = [&a.prefix, &a.properties_target];
        std::iter::once(&a.name).chain(more.into_iter().flatten())
    });
    let objects = body.objects.iter().map(|o| &o.name);
    let tags = body.tags.iter().map(|t| &t.name);
    let mut names = associations
        .chain(objects)
        .chain(tags)
        .chain(body.properties.keys());
    match names.find(|name| name.chars().count() > LONGEST) {
        Some(name) => Err(mismatch("namespace", &format!("'{name}' is too long"))),
        None => Ok(()),
    }
}

/// A body that has the form of a document, as a struct. `name` is how upstream calls the schema.
pub fn parse<T: DeserializeOwned>(
    body: Option<&Value>,
    document: &'static str,
    name: &str,
) -> Result<T> {
    let body = body.filter(|b| b.is_object());
    let body = body.ok_or_else(|| Error::bad_request("Body expected in request."))?;
    for read_only in READ_ONLY {
        if body.get(read_only).is_some() {
            return Err(Error::forbidden(format!(
                "Attribute '{read_only}' is read-only."
            )));
        }
    }
    let mismatch = |why: &dyn std::fmt::Display| mismatch(name, why);
    if let Err(error) = validator(document)?.validate(body) {
        let place = error.instance_path().to_string();
        return Err(match place.as_str() {
            "" => mismatch(&error),
            place => mismatch(&format!("{error}: {}", place.trim_start_matches('/'))),
        });
    }
    T::deserialize(body).map_err(|e| mismatch(&e))
}
