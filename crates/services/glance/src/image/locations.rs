//! Locations by way of PATCH, where `show_multiple_locations` lets callers see them: an image is where they say it is.

use super::patch::{Change, Op};
use crate::Conf;
use crate::db::images::Image;
use crate::db::{LocationRow, LocationStatus};
use crate::signature::Signed;
use crate::stores::Stores;
use base::{Error, Kind, Result, Timestamp};
use glance_types::ImageStatus;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a caller says of a place.
#[derive(Clone, Debug, Deserialize)]
struct Place {
    url: String,
    metadata: Map<String, Value>,
    validation_data: Option<ValidationData>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidationData {
    checksum: Option<String>,
    os_hash_algo: String,
    os_hash_value: String,
}

/// What was found at an address before anything was changed: the store that reads it, and how much there is.
#[derive(Clone, Debug)]
pub struct Found {
    pub store: String,
    pub size: u64,
}

pub type Findings = BTreeMap<String, Found>;

fn invisible(verb: &str) -> Error {
    Error::forbidden(format!(
        "It's not allowed to {verb} locations if locations are invisible."
    ))
}

fn verb(op: Op) -> &'static str {
    match op {
        Op::Add => "add",
        Op::Replace => "update",
        Op::Remove => "remove",
    }
}

/// The rule that a change of locations asks for.
pub fn rule(op: Op) -> &'static str {
    match op {
        Op::Remove => "delete_image_location",
        Op::Add | Op::Replace => "set_image_location",
    }
}

fn places(change: &Change) -> Result<Vec<Place>> {
    let mismatch = |e: serde_json::Error| {
        Error::bad_request(format!(
            "Provided object does not match schema 'image': locations: {e}"
        ))
    };
    let places = match change.op {
        Op::Add => vec![Place::deserialize(&change.value).map_err(mismatch)?],
        Op::Replace => Vec::<Place>::deserialize(&change.value).map_err(mismatch)?,
        Op::Remove => Vec::new(),
    };
    match places.iter().find(|p| p.url.chars().count() > 255) {
        Some(place) => Err(Error::bad_request(format!(
            "Provided object does not match schema 'image': '{}' is too long: url",
            place.url
        ))),
        None => Ok(places),
    }
}

/// What can be said of a change before anybody is asked for an address; the addresses that are not known yet.
pub fn unknown(
    image: &Image,
    conf: &Conf,
    stores: &Stores,
    change: &Change,
) -> Result<Vec<String>> {
    let places = places(change)?;
    if !conf.show_multiple_locations {
        return Err(invisible(verb(change.op)));
    }
    let status = image.row.status;
    let fits = match change.op {
        Op::Remove => status == ImageStatus::Active,
        Op::Add | Op::Replace => matches!(status, ImageStatus::Active | ImageStatus::Queued),
    };
    if !fits {
        let verb = match change.op {
            Op::Replace => "replace",
            op => verb(op),
        };
        return Err(Error::conflict(format!(
            "It's not allowed to {verb} locations if image status is {status}."
        )));
    }
    if change.op == Op::Replace && places.is_empty() {
        return Err(Error::forbidden("Cannot set locations to empty list."));
    }
    let most = conf.image_location_quota;
    let have = match change.op {
        Op::Add => image.locations.len() + 1,
        _ => places.len(),
    };
    if most >= 0 && have as i64 > most && change.op != Op::Remove {
        return Err(Error::new(
            Kind::TooLarge,
            format!(
                "The limit has been exceeded on the number of allowed image locations. Attempted: {have}, Maximum: {most}"
            ),
        ));
    }
    if change.op == Op::Replace && !image.locations.is_empty() {
        let mut new: Vec<&str> = places.iter().map(|p| p.url.as_str()).collect();
        let mut old: Vec<String> = image.locations.iter().map(|l| url(l, stores)).collect();
        new.sort_unstable();
        old.sort_unstable();
        if new != old {
            return Err(Error::bad_request("Original locations is not empty"));
        }
        // Only what is said of them changes.
        return Ok(Vec::new());
    }
    Ok(places.into_iter().map(|p| p.url).collect())
}

/// Where a copy is, in the words of its store.
pub fn url(location: &LocationRow, stores: &Stores) -> String {
    let store = stores.find(&location.store);
    let store = store.and_then(|s| s.writable().ok());
    match (store, &location.file, &location.url) {
        (Some(store), Some(file), _) => store.url(file),
        (_, _, Some(url)) => url.clone(),
        _ => String::new(),
    }
}

/// What callers are told of a copy beside its address.
pub fn metadata(location: &LocationRow, stores: &Stores) -> Map<String, Value> {
    let text = location.metadata.as_deref();
    let said: Option<Map<_, _>> = text.and_then(|text| serde_json::from_str(text).ok());
    let mut metadata = said.unwrap_or_default();
    if let Some(store) = stores.find(&location.store) {
        metadata.insert("store".to_string(), json!(store.id));
    }
    metadata
}

/// Applies a change that [`unknown`] let pass. Rows that come and go are in the image; the caller saves it.
pub fn apply(
    image: &mut Image,
    conf: &Conf,
    stores: &Stores,
    change: &Change,
    found: &Findings,
    now: Timestamp,
) -> Result<()> {
    let unknown = unknown(image, conf, stores, change)?;
    let places = places(change)?;
    let hashes = agreed(image, &places)?;
    match change.op {
        Op::Remove => return remove(image, change.position.as_deref()),
        Op::Replace if unknown.is_empty() => return describe(image, stores, places),
        Op::Add | Op::Replace => {}
    }
    let at = match change.op {
        Op::Add => position(change.position.as_deref(), image.locations.len()),
        _ => Some(0),
    };
    let at = at.ok_or_else(|| Error::bad_request("Invalid position for adding a location."))?;
    if image.row.status == ImageStatus::Queued {
        Signed::refuse(image)?;
    }
    // They are listed by age, and moments may be the same.
    let last = image.locations.iter().map(|l| l.created_at).max();
    let first = last.map_or(now, |last| now.max(last.plus(Duration::from_micros(1))));
    for (n, place) in places.into_iter().enumerate() {
        let there = found.get(&place.url);
        let there = there.ok_or_else(|| Error::bad_request("Invalid location"))?;
        let row = LocationRow {
            id: base::new_id(),
            image: image.row.id.clone(),
            store: there.store.clone(),
            file: None,
            url: Some(place.url),
            metadata: Some(said(place.metadata)),
            status: LocationStatus::Active,
            created_at: first.plus(Duration::from_micros(n as u64)),
        };
        let same =
            |l: &LocationRow| l.url == row.url && metadata(l, stores) == metadata(&row, stores);
        if image.locations.iter().any(same) {
            return Err(Error::bad_request(format!(
                "The location {} already exists",
                row.url.unwrap_or_default()
            )));
        }
        let at = (at + n).min(image.locations.len());
        image.locations.insert(at, row);
        image.row.size = image.row.size.or(i64::try_from(there.size).ok());
    }
    if image.row.status == ImageStatus::Queued {
        // COMPAT: nobody looks at the data, as upstream does not: whoever may set locations is believed.
        if let Some(hashes) = hashes {
            image.row.checksum = hashes.checksum.or(image.row.checksum.take());
            image.row.os_hash_algo = Some(hashes.os_hash_algo);
            image.row.os_hash_value = Some(hashes.os_hash_value);
        }
        image.row.status = ImageStatus::Active;
    }
    Ok(())
}

fn said(mut metadata: Map<String, Value>) -> String {
    // Which store it is we know better.
    metadata.remove("store");
    Value::Object(metadata).to_string()
}

fn position(text: Option<&str>, length: usize) -> Option<usize> {
    match text {
        Some("-") => Some(length),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    }
}

fn remove(image: &mut Image, place: Option<&str>) -> Result<()> {
    if image.locations.len() <= 1 {
        return Err(Error::forbidden(
            "Cannot remove last location in the image.",
        ));
    }
    let last = image.locations.len() - 1;
    let at = match place {
        Some("-") => Some(last),
        place => position(place, last).filter(|at| *at <= last),
    };
    let at = at.ok_or_else(|| Error::bad_request("Invalid position for removing a location."))?;
    image.locations.remove(at);
    Ok(())
}

/// The same places, described anew.
fn describe(image: &mut Image, stores: &Stores, places: Vec<Place>) -> Result<()> {
    let mut places = places;
    for location in &mut image.locations {
        let url = url(location, stores);
        let at = places.iter().position(|p| p.url == url);
        let at = at.ok_or_else(|| Error::bad_request("Invalid location"))?;
        location.metadata = Some(said(places.remove(at).metadata));
    }
    Ok(())
}

/// What callers claim of the data, if it does not contradict what is known.
fn agreed(image: &Image, places: &[Place]) -> Result<Option<ValidationData>> {
    let mut claims = places.iter().filter_map(|p| p.validation_data.as_ref());
    let Some(first) = claims.next().cloned() else {
        return Ok(None);
    };
    let row = &image.row;
    let told = |claim: &ValidationData| {
        let parts = [
            ("checksum", claim.checksum.clone()),
            ("os_hash_algo", Some(claim.os_hash_algo.clone())),
            ("os_hash_value", Some(claim.os_hash_value.clone())),
        ];
        parts.map(|(name, value)| (name, value.unwrap_or_default()))
    };
    for other in claims {
        let differs = std::iter::zip(told(&first), told(other)).find(|(a, b)| a.1 != b.1);
        if let Some(((name, _), _)) = differs {
            return Err(Error::conflict(format!("Conflicting values for {name}")));
        }
    }
    let known = [&row.checksum, &row.os_hash_algo, &row.os_hash_value];
    let mut new = Vec::new();
    for ((name, value), known) in std::iter::zip(told(&first), known) {
        match known.as_deref() {
            _ if value.is_empty() => {}
            Some(known) if known == value => {}
            Some(_) => {
                return Err(Error::conflict(format!(
                    "{name} is already set with a different value"
                )));
            }
            None => new.push(name),
        }
    }
    if new.is_empty() {
        return Ok(None);
    }
    if row.status != ImageStatus::Queued {
        return Err(Error::conflict(format!(
            "New value(s) for {} may only be provided when image status is 'queued'",
            new.join(", ")
        )));
    }
    let digits = |name: &str, value: &str, length: usize| {
        let right = value.len() == length && value.bytes().all(|b| b.is_ascii_hexdigit());
        right.then_some(()).ok_or_else(|| {
            Error::conflict(format!(
                "{name} ({value}) is not the correct size (should be {} bytes)",
                length / 2
            ))
        })
    };
    if let Some(checksum) = &first.checksum {
        digits("checksum", checksum, 32)?;
    }
    if first.os_hash_algo != "sha512" {
        return Err(Error::conflict(format!(
            "os_hash_algo must be sha512, not {}",
            first.os_hash_algo
        )));
    }
    digits("os_hash_value", &first.os_hash_value, 128)?;
    Ok(Some(first))
}
