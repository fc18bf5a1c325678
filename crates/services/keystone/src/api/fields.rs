//! A request's object, taken apart attribute by attribute; what remains is `extra`.

use crate::db::Extra;
use base::{Error, Result};
use oslo_http::{Req, is_true};
use serde_json::Value;

/// The attributes that were sent and not taken yet.
#[derive(Clone)]
pub(crate) struct Fields(Extra);

/// Upstream's words for something that must be there.
pub(crate) fn expecting(attribute: &str, target: &str) -> Error {
    Error::bad_request(format!(
        "Expecting to find {attribute} in {target}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error."
    ))
}

fn wrong_type(name: &str, wanted: &str) -> Error {
    Error::bad_request(format!(
        "Invalid input for field '{name}': the value is not of type '{wanted}'"
    ))
}

impl Fields {
    /// The object under `key` of the body.
    pub(crate) fn of(req: &Req, key: &str) -> Result<Fields> {
        let value = req
            .json
            .as_ref()
            .and_then(|v| v.get(key))
            .ok_or_else(|| expecting(key, "request body"))?;
        value
            .as_object()
            .cloned()
            .map(Fields)
            .ok_or_else(|| wrong_type(key, "object"))
    }

    pub(crate) fn all(&self) -> &Extra {
        &self.0
    }

    /// `None` if absent, `Some(None)` if null.
    pub(crate) fn nullable(&mut self, name: &str) -> Result<Option<Option<String>>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(_) => Err(wrong_type(name, "string")),
        }
    }

    /// Null counts as absent.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.nullable(name)?.flatten())
    }

    pub(crate) fn required(&mut self, name: &str, target: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| expecting(name, target))
    }

    /// Upstream's flags may be words; null counts as absent.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(Value::String(text)) => Ok(Some(is_true(&text))),
            Some(_) => Err(wrong_type(name, "boolean")),
        }
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Extra>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(wrong_type(name, "object")),
        }
    }

    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let items = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong_type(name, "array")),
        };
        let texts = items
            .into_iter()
            .map(|v| v.as_str().map(str::to_string))
            .collect::<Option<Vec<_>>>();
        texts.map(Some).ok_or_else(|| wrong_type(name, "string"))
    }

    /// An `id` or `links` in a body means nothing; the rest is kept as `extra`.
    pub(crate) fn rest(mut self) -> Extra {
        self.0.remove("id");
        self.0.remove("links");
        self.0
    }
}
