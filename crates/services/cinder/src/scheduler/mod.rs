//! Choosing a backend: upstream's filters and weighers over what the agents report and what is promised already.

mod backend;
mod filters;
mod specs;
mod weighers;

pub use backend::{Backend, backends, is_up};
pub use filters::{LOCALITY, RETRY};

use crate::config::CinderConf;
use crate::db::{self, ServiceRow, TypeRow, VolumeRow};
use base::{Error, Result, Timestamp};
use oslo_db::{Tx, all, eq, is_in};
use oslo_scheduling::{Filter, Outcome, Weigher};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use weighers::Multipliers;

/// The pools that volumes named in a hint are on; `Err` if what was named cannot be volumes.
type Hinted = Option<Result<HashSet<String>, String>>;

/// What is wanted.
pub struct Request {
    volume_id: String,
    size: i64,
    availability_zone: String,
    extra_specs: Map<String, Value>,
    /// The limits of the volume's type.
    qos: Map<String, Value>,
    /// The volume as expressions know it.
    volume: Map<String, Value>,
    hints: Map<String, Value>,
    apart_from: Hinted,
    together_with: Hinted,
    server_host: Option<String>,
    tried: Vec<String>,
    over_subscription: f64,
    multipliers: Multipliers,
}

impl Request {
    /// Whether the volume takes its space at once.
    fn thick(&self) -> bool {
        let kind = self.extra_specs.get("provisioning:type");
        kind.and_then(Value::as_str) == Some("thick")
    }
}

/// What whoever asks adds to the volume.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The user's hints (`OS-SCH-HNT:scheduler_hints`).
    pub hints: Map<String, Value>,
    /// Where the server of the hint `local_to_instance` is.
    pub server_host: Option<String>,
    /// The one pool that has what the volume shall begin with.
    pub only: Option<String>,
    /// Pools on which it was tried in vain.
    pub tried: Vec<String>,
}

/// What was chosen.
pub struct Chosen {
    pub host: String,
    pub service_id: String,
}

type Filters = Vec<&'static dyn Filter<Backend, Request>>;
type Weighers = Vec<&'static dyn Weigher<Backend, Request>>;

/// The filters and weighers that the operator wants; names that are none are an error at the start.
pub fn enabled(conf: &CinderConf) -> Result<(Filters, Weighers)> {
    let unknown = |option: &str, name: &str| {
        Error::bad_request(format!("[cinder] {option}: there is no '{name}'"))
    };
    let filters = conf
        .scheduler_default_filters
        .iter()
        .map(|name| filters::named(name).ok_or_else(|| unknown("scheduler_default_filters", name)));
    let weighers = conf.scheduler_default_weighers.iter().map(|name| {
        weighers::named(name).ok_or_else(|| unknown("scheduler_default_weighers", name))
    });
    Ok((
        filters.collect::<Result<_>>()?,
        weighers.collect::<Result<_>>()?,
    ))
}

/// The class of errors that say that no backend takes a volume.
pub const NO_VALID_BACKEND: &str = "NoValidBackend";

const NO_BACKEND: &str = "No valid backend was found. No weighed backends available.";

/// What is wrong with backends that a filter turned away, for a user: their names and numbers are the operator's.
fn meaning(filter: &str) -> &'static str {
    match filter {
        "AvailabilityZoneFilter" => "in another availability zone",
        "CapacityFilter" => "without enough space",
        "CapabilitiesFilter" => "without what the volume type asks for",
        "DifferentBackendFilter" => "with a volume that it must be apart from",
        "SameBackendFilter" => "without the volume that it must be with",
        "InstanceLocalityFilter" => "on another host than the server",
        "DriverFilter" => "that say no to it by their own rule",
        "JsonFilter" => "that are not what the query asks for",
        "RetryFilter" => "where it was tried already",
        _ => "that refused it",
    }
}

/// `1 backend in another availability zone (AvailabilityZoneFilter), …`
fn in_words(outcome: &Outcome) -> String {
    let turned_away = outcome.counts.iter().filter(|c| c.before > c.after);
    let each: Vec<String> = turned_away
        .map(|c| {
            let n = c.before - c.after;
            let noun = if n == 1 { "backend" } else { "backends" };
            format!("{n} {noun} {} ({})", meaning(&c.filter), c.filter)
        })
        .collect();
    format!("Looked at and turned away: {}.", each.join(", "))
}

/// Each backend with who turned it away and why, for an operator.
fn each(outcome: &Outcome) -> String {
    let each = outcome.rejected.iter();
    let each: Vec<String> = each
        .map(|r| format!("{} by {}: {}", r.host, r.filter, r.reason))
        .collect();
    each.join("; ")
}

/// Why there was no backend, as far as it is for users.
pub fn explanation(error: &Error) -> Option<String> {
    let more = error.message().strip_prefix(NO_BACKEND)?.trim();
    (!more.is_empty()).then(|| more.to_string())
}

/// The pools that the volumes of a hint are on, as far as they are the project's.
fn hinted(tx: &mut Tx, project: &str, hint: Option<&Value>) -> Result<Hinted> {
    let ids: Vec<&Value> = match hint {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(ids)) => ids.iter().collect(),
        Some(id) => vec![id],
    };
    let mut names = Vec::new();
    for id in ids {
        match id.as_str().filter(|id| base::id::is_uuid_like(id)) {
            Some(id) => names.push(id.to_string()),
            None => {
                return Ok(Some(Err(
                    "is asked for by what is no volume's id".to_string()
                )));
            }
        }
    }
    let own = all([is_in("id", names.iter()), eq("project_id", project)]);
    let volumes = tx.select::<VolumeRow>(own)?;
    Ok(Some(Ok(volumes
        .into_iter()
        .filter_map(|v| v.host)
        .collect())))
}

fn request(tx: &mut Tx, conf: &CinderConf, volume: &VolumeRow, wish: &Wish) -> Result<Request> {
    let kind = tx.find::<TypeRow>(eq("id", &volume.volume_type_id))?;
    let qos = db::qos_specs::of_type(tx, &volume.volume_type_id)?;
    let facts = json!({
        "size": volume.size,
        "name": volume.name,
        "display_name": volume.name,
        "availability_zone": volume.availability_zone,
        "project_id": volume.project_id,
        "user_id": volume.user_id,
        "volume_type_id": volume.volume_type_id,
        "multiattach": volume.multiattach,
    });
    let hint = |name: &str| wish.hints.get(name);
    Ok(Request {
        volume_id: volume.id.clone(),
        size: volume.size,
        availability_zone: volume.availability_zone.clone(),
        extra_specs: kind.map(|k| k.extra_specs.0).unwrap_or_default(),
        qos: qos.map(|q| q.specs.0).unwrap_or_default(),
        volume: facts.as_object().cloned().unwrap_or_default(),
        apart_from: hinted(tx, &volume.project_id, hint("different_host"))?,
        together_with: hinted(tx, &volume.project_id, hint("same_host"))?,
        hints: wish.hints.clone(),
        server_host: wish.server_host.clone(),
        tried: wish.tried.clone(),
        over_subscription: conf.max_over_subscription_ratio,
        multipliers: Multipliers::of(conf),
    })
}

/// The best backend for a volume (or the only one that has what it shall begin with), which nobody else gives away until the transaction ends.
pub fn choose(
    tx: &mut Tx,
    conf: &CinderConf,
    volume: &VolumeRow,
    wish: &Wish,
    now: Timestamp,
) -> Result<Chosen> {
    let mut chosen = best(tx, conf, volume, wish, now)?;
    loop {
        tx.find_for_update::<ServiceRow>(eq("id", &chosen.service_id))?;
        // Another scheduler may have filled it while this one waited.
        let again = best(tx, conf, volume, wish, now)?;
        if again.service_id == chosen.service_id {
            return Ok(again);
        }
        chosen = again;
    }
}

fn best(
    tx: &mut Tx,
    conf: &CinderConf,
    volume: &VolumeRow,
    wish: &Wish,
    now: Timestamp,
) -> Result<Chosen> {
    // The type may have become an encrypted one since the volume was asked for.
    db::encryptions::refuse_encrypted(tx, &volume.volume_type_id)?;
    let request = request(tx, conf, volume, wish)?;
    let mut backends = backends(tx, conf, now)?;
    let only = wish.only.as_ref();
    backends.retain(|b| only.is_none_or(|only| b.name == *only));
    if backends.is_empty() {
        // Agents report every few seconds: worth another try.
        let words = format!("{NO_BACKEND} No storage backend is up.");
        return Err(Error::unavailable(words).class(NO_VALID_BACKEND));
    }
    let (filters, weighers) = enabled(conf)?;
    let outcome = oslo_scheduling::run(&backends, &request, &filters, &weighers);
    let best = outcome.best().map_err(|e| {
        let words = format!("{NO_BACKEND} {}", in_words(&outcome));
        Error::conflict(words).class(NO_VALID_BACKEND).log(format!(
            "{}: {}",
            e.log_message(),
            each(&outcome)
        ))
    })?;
    let chosen = backends
        .iter()
        .find(|b| b.name == best)
        .ok_or_else(|| Error::internal("the scheduler chose a stranger"))?;
    Ok(Chosen {
        host: chosen.name.clone(),
        service_id: chosen.service_id.clone(),
    })
}

/// Whether the operator wants the filter of that name.
pub fn is_enabled(conf: &CinderConf, filter: &str) -> bool {
    conf.scheduler_default_filters.iter().any(|f| f == filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_filter_or_weigher_are_said() {
        let mut conf = CinderConf::default();
        assert_eq!(
            enabled(&conf).map(|(f, w)| (f.len(), w.len())).unwrap(),
            (3, 1)
        );
        conf.scheduler_default_weighers.push("ColourWeigher".into());
        let error = enabled(&conf).err().unwrap();
        assert!(error.message().contains("ColourWeigher"), "{error}");
        conf.scheduler_default_filters.push("ColourFilter".into());
        let error = enabled(&conf).err().unwrap();
        assert!(error.message().contains("ColourFilter"), "{error}");
    }
}
