//! JSON patches in glance's two dialects: `openstack-images-v2.1-json-patch` (RFC 6902's form, depth one) and `v2.0`.

use super::attributes::{BASE, GLANCE_OWN, READ_ONLY, RESERVED, set};
use crate::Conf;
use crate::db::images::Image;
use base::{Error, Kind, Result};
use serde_json::Value;

pub const MEDIA: [&str; 2] = [
    "application/openstack-images-v2.1-json-patch",
    "application/openstack-images-v2.0-json-patch",
];

base::str_enum! {
    pub enum Op { Add = "add", Replace = "replace", Remove = "remove" }
}

#[derive(Clone, Debug)]
pub struct Change {
    pub op: Op,
    pub name: String,
    /// Where in the list of locations.
    pub position: Option<String>,
    pub value: Value,
}

fn bad(words: &str) -> Error {
    Error::bad_request(words.to_string())
}

/// Reads a patch by its content type; 415 for others.
pub fn parse(content_type: &str, body: Option<&Value>) -> Result<Vec<Change>> {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let Some(version) = MEDIA.iter().position(|m| *m == essence) else {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("Unsupported Content-Type; use one of {}", MEDIA.join(", ")),
        ));
    };
    let list = body
        .and_then(Value::as_array)
        .ok_or_else(|| bad("Request body must be a JSON array of operation objects."))?;
    list.iter()
        .map(|change| one(change, version == 0))
        .collect()
}

fn one(change: &Value, modern: bool) -> Result<Change> {
    let map = change
        .as_object()
        .ok_or_else(|| bad("Operations must be JSON objects."))?;
    let (op, path) = if modern {
        let op = map.get("op").and_then(Value::as_str).ok_or_else(|| {
            bad("Unable to find `op` in JSON Schema change. It must be one of the following: add, remove, replace.")
        })?;
        let op = Op::parse(op).map_err(|_| {
            bad("Invalid operation: it must be one of the following: add, remove, replace.")
        })?;
        let path = map
            .get("path")
            .and_then(Value::as_str)
            .ok_or_else(|| bad("Unable to find 'path' in JSON Schema change"))?;
        (op, path)
    } else {
        let mut ops = Op::ALL.iter().filter(|op| map.contains_key(op.as_str()));
        let op = *ops.next().ok_or_else(|| {
            bad("Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".")
        })?;
        if ops.next().is_some() {
            return Err(bad(
                "Operation objects must contain only one member named \"add\", \"remove\", or \"replace\".",
            ));
        }
        (op, map[op.as_str()].as_str().unwrap_or_default())
    };
    let value = match (op, map.get("value")) {
        (Op::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => {
            return Err(bad(&format!(
                "Operation \"{op}\" requires a member named \"value\"."
            )));
        }
    };
    let (name, position) = pointer(path)?;
    // Places are added and removed one by one, and replaced all at once.
    if position.is_some() != (name == "locations" && op != Op::Replace) {
        return Err(bad(&format!(
            "Invalid JSON pointer for this resource: '{path}'"
        )));
    }
    Ok(Change {
        op,
        name,
        position,
        value,
    })
}

/// A JSON pointer of depth one, or two.
fn pointer(path: &str) -> Result<(String, Option<String>)> {
    let wrong = |why: &str| {
        bad(&format!(
            "Invalid JSON pointer for this resource: '{path}': {why}"
        ))
    };
    let rest = path
        .strip_prefix('/')
        .ok_or_else(|| wrong("it must start with \"/\""))?;
    if rest.is_empty() || rest.ends_with('/') {
        return Err(wrong("it must not end with \"/\""));
    }
    let (first, second) = match rest.split_once('/') {
        Some((first, second)) => (first, Some(second.to_string())),
        None => (rest, None),
    };
    if second.as_ref().is_some_and(|part| part.contains('/')) {
        return Err(wrong("it has too many parts"));
    }
    let mut name = String::new();
    let mut chars = first.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => name.push(match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(wrong("\"~\" must be part of \"~0\" or \"~1\"")),
            }),
            c => name.push(c),
        }
    }
    Ok((name, second))
}

/// Applies one change, but of locations ([`super::locations`]); the caller checks rules on what changed and saves.
pub fn apply(image: &mut Image, conf: &Conf, change: &Change) -> Result<()> {
    let name = change.name.as_str();
    let is_base = BASE.contains(&name);
    let known = is_base || READ_ONLY.contains(&name) || RESERVED.contains(&name);
    if name == "id" {
        return Err(Error::forbidden("Attribute 'id' is read-only."));
    }
    if name.starts_with(GLANCE_OWN) {
        return Err(Error::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    let missing = || Error::conflict(format!("Property {name} does not exist."));
    match change.op {
        Op::Remove if is_base => Err(Error::forbidden(format!(
            "Property {name} may not be removed."
        ))),
        Op::Remove if known => Err(Error::forbidden(format!(
            "Attribute '{name}' is read-only."
        ))),
        Op::Remove => image.properties.remove(name).map(drop).ok_or_else(missing),
        Op::Replace if !known && !image.properties.contains_key(name) => Err(missing()),
        Op::Add | Op::Replace => set(image, conf, name, &change.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_dialects_one_meaning() {
        let modern = json!([{"op": "add", "path": "/a~1b", "value": "x"}]);
        let old = json!([{"add": "/a~1b", "value": "x"}]);
        for (media, body) in [(MEDIA[0], modern), (MEDIA[1], old)] {
            let changes = parse(media, Some(&body)).unwrap();
            assert_eq!((changes[0].op, changes[0].name.as_str()), (Op::Add, "a/b"));
        }
        assert_eq!(
            parse("application/json", None).unwrap_err().kind(),
            Kind::UnsupportedMediaType
        );
    }

    #[test]
    fn malformed_patches_are_refused() {
        let bad = [
            json!({}),
            json!(["x"]),
            json!([{"path": "/a", "value": 1}]),
            json!([{"op": "move", "path": "/a", "value": 1}]),
            json!([{"op": "add", "value": 1}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": ""}]),
            json!([{"op": "add", "path": "/", "value": ""}]),
            json!([{"op": "add", "path": "/a/b", "value": ""}]),
            json!([{"op": "add", "path": "/a~2", "value": ""}]),
            json!([{"op": "add", "path": "/locations", "value": {}}]),
            json!([{"op": "remove", "path": "/locations"}]),
            json!([{"op": "replace", "path": "/locations/0", "value": {}}]),
            json!([{"op": "add", "path": "/locations/0/url", "value": ""}]),
        ];
        for body in bad {
            assert_eq!(
                parse(MEDIA[0], Some(&body)).unwrap_err().kind(),
                Kind::BadRequest,
                "{body}"
            );
        }
    }
}
