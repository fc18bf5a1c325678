//! A request's object, taken apart attribute by attribute; what remains is `extra`.

use crate::db::Extra;
use crate::db::roles::NamedRole;
use base::{Error, Result, Timestamp};
use oslo_http::{Req, is_true};
use serde_json::Value;

/// The attributes that were sent and not taken yet.
#[derive(Clone)]
pub(crate) struct Fields(Extra);

/// Upstream's words for something that must be there.
pub(crate) fn expecting(attribute: &str, target: &str) -> Error {
    Error::bad_request(format!(
        "Expecting to find {attribute} in {target}. {MALFORMED}"
    ))
}

/// How upstream ends what it says of bad input.
pub(crate) const MALFORMED: &str = "The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.";

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

    pub(crate) fn new(object: Extra) -> Fields {
        Fields(object)
    }

    pub(crate) fn all(&self) -> &Extra {
        &self.0
    }

    /// Takes an attribute out, whatever it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
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

    /// `None` if absent, `Some(None)` if null.
    pub(crate) fn nullable_integer(&mut self, name: &str) -> Result<Option<Option<i64>>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(Some(number))),
                None => Err(wrong_type(name, "integer")),
            },
        }
    }

    /// Null counts as absent.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.nullable_integer(name)?.flatten())
    }

    /// The objects of an array; null counts as absent.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Option<Vec<Fields>>> {
        let items = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong_type(name, "array")),
        };
        let objects = items.into_iter().map(|item| match item {
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(wrong_type(name, "object")),
        });
        objects.collect::<Result<_>>().map(Some)
    }

    /// A list of roles, each by id or name; null counts as absent.
    pub(crate) fn roles(&mut self, name: &str) -> Result<Vec<NamedRole>> {
        let mut roles = Vec::new();
        for mut role in self.objects(name)?.unwrap_or_default() {
            roles.push(match role.text("id")? {
                Some(id) => NamedRole::Id(id),
                None => NamedRole::Name(role.required("name", "role")?),
            });
        }
        Ok(roles)
    }

    /// A time to come; null counts as absent.
    pub(crate) fn future(&mut self, name: &str, now: Timestamp) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let time = Timestamp::parse(&text).map_err(|_| {
            Error::bad_request(format!("Timestamp not in expected format. {MALFORMED}"))
        })?;
        if time <= now {
            return Err(Error::bad_request(format!(
                "The '{name}' must not be before now. {MALFORMED}"
            )));
        }
        Ok(Some(time))
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
