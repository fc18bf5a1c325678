//! Attributes: which exist, who may set them, what they may be. Answers to upstream's `image` schema.

use crate::Conf;
use crate::db::images::Image;
use base::{Error, Kind, Result, id};
use glance_types::{ImageStatus, Visibility};
use serde_json::Value;

/// Attributes that only glance sets.
pub const READ_ONLY: [&str; 11] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "os_hash_algo",
    "os_hash_value",
    "direct_url",
    "self",
    "file",
];
/// Names that no custom property may have.
pub const RESERVED: [&str; 6] = [
    "owner_id",
    "is_public",
    "location",
    "deleted",
    "deleted_at",
    "locations",
];
/// How properties begin that glance keeps for itself.
pub const GLANCE_OWN: &str = "os_glance_";
/// Attributes with a meaning, that a patch may set and never remove.
pub const BASE: [&str; 11] = [
    "id",
    "name",
    "visibility",
    "protected",
    "os_hidden",
    "owner",
    "container_format",
    "disk_format",
    "min_ram",
    "min_disk",
    "tags",
];

/// Whether a name means something to glance itself.
pub fn is_attribute(name: &str) -> bool {
    BASE.contains(&name)
        || READ_ONLY.contains(&name)
        || RESERVED.contains(&name)
        || name == "schema"
        || name == "stores"
}

fn mismatch(words: String) -> Error {
    Error::bad_request(format!(
        "Provided object does not match schema 'image': {words}"
    ))
}

fn text(name: &str, value: &Value, most: usize) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) if s.chars().count() <= most => Ok(Some(s.clone())),
        Value::String(s) => Err(mismatch(format!(
            "'{s}' is too long: at most {most} for {name}"
        ))),
        other => Err(mismatch(format!(
            "{other} is not of type 'null', 'string': {name}"
        ))),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool> {
    let flag = value.as_bool();
    flag.ok_or_else(|| mismatch(format!("{value} is not of type 'boolean': {name}")))
}

fn count(name: &str, value: &Value) -> Result<i64> {
    match value.as_i64() {
        Some(n) if (0..=i64::from(i32::MAX)).contains(&n) => Ok(n),
        Some(n) if n < 0 => Err(mismatch(format!(
            "{n} is less than the minimum of 0: {name}"
        ))),
        Some(n) => Err(mismatch(format!("{n} is greater than the maximum: {name}"))),
        None => Err(mismatch(format!(
            "{value} is not of type 'integer': {name}"
        ))),
    }
}

fn one_of(name: &str, value: &Value, words: &[String]) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) if words.contains(s) => Ok(Some(s.clone())),
        other => Err(mismatch(format!("{other} is not one of {words:?}: {name}"))),
    }
}

/// Tags as a list.
pub fn tags(value: &Value) -> Result<std::collections::BTreeSet<String>> {
    let list = value
        .as_array()
        .ok_or_else(|| mismatch(format!("{value} is not of type 'array': tags")))?;
    list.iter()
        .map(|tag| match text("tags", tag, 255)? {
            Some(tag) => Ok(tag),
            None => Err(mismatch("null is not of type 'string': tags".to_string())),
        })
        .collect()
}

/// Sets one attribute or custom property to a checked value; 403 for those that callers may not set.
pub fn set(image: &mut Image, conf: &Conf, name: &str, value: &Value) -> Result<()> {
    if READ_ONLY.contains(&name) || name == "schema" || name == "stores" {
        return Err(Error::forbidden(format!(
            "Attribute '{name}' is read-only."
        )));
    }
    if RESERVED.contains(&name) || name.starts_with(GLANCE_OWN) {
        return Err(Error::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    let formats = ["container_format", "disk_format"];
    if formats.contains(&name) && image.row.status != ImageStatus::Queued {
        return Err(Error::forbidden(format!(
            "Attribute {name} can be only replaced for a queued image."
        )));
    }
    let row = &mut image.row;
    match name {
        "id" => {
            let wanted = value.as_str().unwrap_or_default();
            let parsed = id::parse_uuid(wanted)
                .ok()
                .filter(|u| u == &wanted.to_lowercase());
            row.id = parsed
                .ok_or_else(|| mismatch(format!("{value} does not match the pattern of id")))?;
        }
        "name" => row.name = text(name, value, 255)?,
        "owner" => row.owner = text(name, value, 255)?,
        "visibility" => {
            let word = value.as_str().unwrap_or_default();
            row.visibility = Visibility::parse(word).map_err(|_| {
                mismatch(format!(
                    "{value} is not one of ['community', 'public', 'private', 'shared']: visibility"
                ))
            })?;
        }
        "protected" => row.protected = flag(name, value)?,
        "os_hidden" => row.os_hidden = flag(name, value)?,
        "container_format" => row.container_format = one_of(name, value, &conf.container_formats)?,
        "disk_format" => row.disk_format = one_of(name, value, &conf.disk_formats)?,
        "min_ram" => row.min_ram = count(name, value)?,
        "min_disk" => row.min_disk = count(name, value)?,
        "tags" => image.tags = tags(value)?,
        _ => {
            if name.is_empty() || name.chars().count() > 255 {
                return Err(mismatch(
                    "a property's name has 1 to 255 characters".to_string(),
                ));
            }
            let linked = matches!(name, "kernel_id" | "ramdisk_id");
            match value {
                Value::Null if linked => {
                    image.properties.remove(name);
                }
                Value::String(s) if linked && !id::is_uuid_like(s) => {
                    return Err(mismatch(format!(
                        "'{s}' does not match the pattern of {name}"
                    )));
                }
                Value::String(s) if s.len() <= 65_535 => {
                    image.properties.insert(name.to_string(), s.clone());
                }
                Value::String(_) => return Err(mismatch(format!("{name} is too long"))),
                other => {
                    return Err(mismatch(format!("{other} is not of type 'string': {name}")));
                }
            }
        }
    }
    Ok(())
}

/// 413 for too many tags or properties.
pub fn check_quotas(image: &Image, conf: &Conf) -> Result<()> {
    let over = |have: usize, most: i64| most >= 0 && have as i64 > most;
    let refuse = |what: &str, have: usize, most: i64| {
        Err(Error::new(
            Kind::TooLarge,
            format!(
                "The limit has been exceeded on the number of allowed image {what}. Attempted: {have}, Maximum: {most}"
            ),
        ))
    };
    if over(image.tags.len(), conf.image_tag_quota) {
        return refuse("tags", image.tags.len(), conf.image_tag_quota);
    }
    // What glance notes beside them is nobody's.
    let theirs = |name: &&String| !name.starts_with(GLANCE_OWN);
    let properties = image.properties.keys().filter(theirs).count();
    if over(properties, conf.image_property_quota) {
        return refuse("properties", properties, conf.image_property_quota);
    }
    Ok(())
}
