//! Which host: placement's candidates, then filters, then weighers, then a claim; the first claim that holds wins.
//!
//! Every decision is kept (hosts with the filter that refused them, or their weights), so that `ferrostack explain server`
//! and the NoValidHost fault can say why.

mod filters;
pub mod hosts;
mod server;
mod weighers;

pub use hosts::Host;
use hosts::{Claimable, Hosts, Look};
pub use nova_types::scheduler::{Destination, RequestSpec};
pub(crate) use server::{Manager, select};

use crate::Nova;
use crate::config::Conf;
use crate::db::instances::InstanceRow;
use crate::db::scheduling::SchedulingRow;
use base::{Error, Json, Kind, Result};
use oslo_http::percent_encode;
use oslo_scheduling::{Filter, Outcome, Rejected, Survivor, TOLD, Weigher};
use placement_types::{AllocationRequest, Resources};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use sdk::{Consumer, PlacementClient};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Hosts may fill up between the look and the claim; then the scheduler looks again so many times.
const LOOKS: usize = 5;

/// So many of the best are tried in one look; if all of them filled up meanwhile, what is known is too old.
const MOST_CLAIMS: usize = 20;

/// Placement's word for a consumer that is not as its writer thought.
const CHANGED: &str = "placement.concurrent_update";

/// An earlier claim of the instance stands in the way.
pub(crate) const HAS_ALLOCATIONS: &str = "ConsumerHasAllocations";

/// Chooses and claims. Nothing but the claim is changed; the caller writes the instance's host.
async fn select_destination(
    nova: &Nova,
    hosts: &Hosts,
    spec: &RequestSpec,
    request_id: &str,
) -> Result<Destination> {
    let placement = nova.sdk.for_request(request_id).placement();
    let (mut look, mut looks) = (Look::News, 0);
    loop {
        let mut choice = choose(nova, hosts, look, &placement, spec).await?;
        if choice.destination.is_none() && look == Look::News {
            // Nobody is turned away for what was remembered.
            look = Look::All;
            continue;
        }
        looks += 1;
        let full = choice.destination.is_none() && !choice.outcome.survivors.is_empty();
        if full && looks < LOOKS {
            tracing::debug!(server.id = spec.instance_id, "all were full by the claim");
            continue;
        }
        let failure = match choice.destination {
            None => Some(no_valid_host(&choice.outcome, choice.seen)),
            Some(_) => None,
        };
        let chosen = choice.destination.take();
        remember(nova, spec, request_id, choice.outcome, chosen.as_ref()).await?;
        return match (chosen, failure) {
            (Some(chosen), _) => Ok(chosen),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Error::internal("neither a host nor a reason")),
        };
    }
}

/// What a look at all hosts came to.
struct Choice {
    outcome: Outcome,
    /// How many hosts there are.
    seen: usize,
    destination: Option<Destination>,
}

/// One look at all hosts, and the best of them that can be claimed.
async fn choose(
    nova: &Nova,
    hosts: &Hosts,
    look: Look,
    placement: &PlacementClient,
    spec: &RequestSpec,
) -> Result<Choice> {
    let candidates = candidates(nova, placement, spec).await?;
    hosts.look(nova, look).await?;
    let (outcome, order) = hosts.judge(nova, spec, |all| judge(nova, spec, &candidates, all));
    let seen = outcome.survivors.len() + outcome.rejected.len();
    for (provider, destination) in order {
        hosts.claimed(spec, &destination.host);
        let held = claim(placement, spec, &provider).await;
        if !matches!(held, Ok(true)) {
            hosts.unclaimed(spec);
        }
        if held? {
            return Ok(Choice {
                outcome,
                seen,
                destination: Some(destination),
            });
        }
    }
    Ok(Choice {
        outcome,
        seen,
        destination: None,
    })
}

/// Filters and weighs; what passes comes in the order in which it is tried, each with its provider.
fn judge(
    nova: &Nova,
    spec: &RequestSpec,
    candidates: &Candidates,
    all: &[Host],
) -> (Outcome, Vec<Claimable>) {
    let (able, rest): (Vec<&Host>, Vec<&Host>) = all
        .iter()
        .partition(|h| candidates.providers.contains(&h.provider_id));
    let filters = filters::enabled(&nova.conf);
    let weighers = weighers::enabled(&nova.conf);
    let filters: Vec<&dyn Filter<Host, RequestSpec>> = filters.iter().map(|f| &**f).collect();
    let weighers: Vec<&dyn Weigher<Host, RequestSpec>> = weighers.iter().map(|w| &**w).collect();
    let mut outcome = oslo_scheduling::run(able.iter().copied(), spec, &filters, &weighers);
    let reason = match candidates.cut {
        false => describe_lack(spec),
        true => format!(
            "not among the {} that placement was asked for",
            nova.conf.max_placement_results
        ),
    };
    outcome.rejected.extend(rest.iter().map(|host| Rejected {
        host: host.host.clone(),
        filter: "placement".into(),
        reason: reason.clone(),
    }));
    let by_name: HashMap<&str, &Host> = able.iter().map(|h| (h.host.as_str(), *h)).collect();
    let order = in_turn(&nova.conf, &outcome.survivors).into_iter();
    let order = order.take(MOST_CLAIMS).filter_map(|survivor| {
        let host = by_name.get(survivor.host.as_str())?;
        let destination = Destination {
            host: host.host.clone(),
            node: host.node.clone(),
            zone: host.zone.clone(),
        };
        Some((host.provider_id.clone(), destination))
    });
    let order = order.collect();
    (outcome, order)
}

/// The survivors in the order in which they are tried.
fn in_turn<'a>(conf: &Conf, survivors: &'a [Survivor]) -> Vec<&'a Survivor> {
    let mut order: Vec<&Survivor> = survivors.iter().collect();
    let Some(best) = order.first().map(|s| s.total) else {
        return order;
    };
    let mut random = rand::rng();
    if conf.shuffle_best_same_weighed_hosts {
        let equal = order.iter().take_while(|s| s.total == best).count();
        order[..equal].shuffle(&mut random);
    }
    let wanted = usize::try_from(conf.host_subset_size).unwrap_or(usize::MAX);
    let first = random.random_range(0..wanted.clamp(1, order.len()));
    order[..=first].rotate_right(1);
    order
}

fn resources(spec: &RequestSpec) -> Resources {
    let all = [
        ("VCPU", i64::from(spec.flavor.vcpus)),
        ("MEMORY_MB", spec.flavor.memory_mb as i64),
        ("DISK_GB", spec.disk_gb() as i64),
    ];
    let wanted = all.into_iter().filter(|(_, n)| *n > 0);
    Resources {
        resources: wanted.map(|(k, n)| (k.to_string(), n)).collect(),
    }
}

fn describe_lack(spec: &RequestSpec) -> String {
    let wants: Vec<String> = resources(spec)
        .resources
        .iter()
        .map(|(k, n)| format!("{n} {k}"))
        .collect();
    format!("placement has no room there for {}", wants.join(", "))
}

fn no_valid_host(outcome: &Outcome, seen: usize) -> Error {
    if seen == 0 {
        return Error::bad_request(
            "No valid host was found. No compute host has reported itself yet.",
        )
        .class("NoValidHost");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for rejection in &outcome.rejected {
        *counts.entry(rejection.filter.as_str()).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(f, n)| format!("{f} removed {n}"))
        .collect();
    let claimed = if outcome.survivors.is_empty() {
        ""
    } else {
        " The hosts that passed were full by the time of the claim."
    };
    Error::bad_request(format!(
        "No valid host was found. Of {seen} hosts {}.{claimed}",
        parts.join(", ")
    ))
    .class("NoValidHost")
}

async fn remember(
    nova: &Nova,
    spec: &RequestSpec,
    request_id: &str,
    mut outcome: Outcome,
    chosen: Option<&Destination>,
) -> Result<()> {
    let beyond = |n: usize| n.saturating_sub(TOLD);
    let left_out = json!({
        "survivors": beyond(outcome.survivors.len()), "rejected": beyond(outcome.rejected.len()),
    });
    outcome.survivors.truncate(TOLD);
    outcome.rejected.truncate(TOLD);
    let chosen = chosen.map(|c| &c.host);
    let story =
        json!({"chosen": chosen, "outcome": outcome, "tried": spec.tried, "left_out": left_out});
    let row = SchedulingRow {
        instance_id: spec.instance_id.clone(),
        request_id: request_id.to_string(),
        outcome: Json(story),
        created_at: nova.clock.now(),
    };
    nova.db
        .write(move |tx| tx.upsert(&row, &["instance_id"]))
        .await
}

/// What placement answered.
struct Candidates {
    providers: HashSet<String>,
    /// There may be more: so many were asked for.
    cut: bool,
}

/// The providers that have room, by placement.
async fn candidates(
    nova: &Nova,
    placement: &PlacementClient,
    spec: &RequestSpec,
) -> Result<Candidates> {
    let limit = nova.conf.max_placement_results.max(1);
    let resources: Vec<String> = resources(spec)
        .resources
        .iter()
        .map(|(k, n)| format!("{k}:{n}"))
        .collect();
    let mut query = format!(
        "resources={}&limit={limit}",
        percent_encode(&resources.join(","))
    );
    let required: Vec<String> = spec
        .flavor
        .extra_specs
        .iter()
        .filter_map(|(k, v)| {
            let name = k.strip_prefix("trait:")?;
            match v.as_str() {
                "required" => Some(name.to_string()),
                "forbidden" => Some(format!("!{name}")),
                _ => None,
            }
        })
        .collect();
    if !required.is_empty() {
        query.push_str(&format!(
            "&required={}",
            percent_encode(&required.join(","))
        ));
    }
    let providers = placement.candidate_providers(&query).await?;
    Ok(Candidates {
        cut: providers.len() as u64 >= limit,
        providers,
    })
}

/// Claims room on a provider. False: somebody else took it. The instance holds nothing else then, or this is an error:
/// a message that comes late, when another claim was made for the same boot, must not take that one's place.
async fn claim(placement: &PlacementClient, spec: &RequestSpec, provider: &str) -> Result<bool> {
    let consumer = Consumer {
        id: &spec.instance_id,
        project_id: &spec.project_id,
        user_id: &spec.user_id,
        consumer_type: "INSTANCE",
    };
    let allocations = BTreeMap::from([(provider.to_string(), resources(spec))]);
    let wanted = AllocationRequest {
        allocations,
        mappings: BTreeMap::new(),
    };
    match placement.claim(consumer, &wanted).await {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == Kind::Conflict && e.error_class() == Some(CHANGED) => {
            let words = format!("Instance {} holds another claim.", spec.instance_id);
            Err(Error::conflict(words).class(HAS_ALLOCATIONS))
        }
        Err(e) if e.kind() == Kind::Conflict => Ok(false),
        Err(e) => Err(e),
    }
}

/// Gives back what an instance holds in placement; success if it holds nothing.
pub async fn release(nova: &Nova, instance_id: &str, request_id: &str) -> Result<()> {
    let placement = nova.sdk.for_request(request_id).placement();
    placement.delete_allocations(instance_id).await
}

/// What a boot of `instance` wants; group facts are read in `tx`.
pub fn request_spec(
    tx: &mut oslo_db::Tx,
    instance: &InstanceRow,
    base_spec: &RequestSpec,
) -> Result<RequestSpec> {
    let mut spec = RequestSpec {
        instance_id: instance.id.clone(),
        project_id: instance.project_id.clone(),
        user_id: instance.user_id.clone(),
        flavor: instance.flavor.0.clone(),
        zone: instance.requested_zone.clone(),
        ..base_spec.clone()
    };
    let Some(group_id) = &instance.server_group_id else {
        return Ok(spec);
    };
    let group =
        tx.find::<crate::db::server_groups::ServerGroupRow>(oslo_db::eq("id", group_id.as_str()))?;
    let Some(group) = group else { return Ok(spec) };
    for member in crate::db::server_groups::members(tx, group_id)? {
        if let Some(host) = member.host.filter(|_| member.id != instance.id) {
            *spec.group_hosts.entry(host).or_default() += 1;
        }
    }
    spec.group_max_per_host = group
        .rules
        .0
        .get("max_server_per_host")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    spec.group_policy = Some(group.policy);
    Ok(spec)
}

/// Whether the rule of the instance's server group holds with it on `host`, by what the database says now: members are
/// scheduled side by side, and the filters saw the group as it was. First in its transaction, because it holds the group
/// until the end of it.
pub fn group_allows(
    nova: &Nova,
    tx: &mut oslo_db::Tx,
    instance: &InstanceRow,
    base_spec: &RequestSpec,
    host: &str,
) -> Result<bool> {
    let Some(group) = &instance.server_group_id else {
        return Ok(true);
    };
    crate::db::server_groups::hold(tx, group)?;
    let spec = request_spec(tx, instance, base_spec)?;
    let host = Host {
        host: host.to_string(),
        ..Host::default()
    };
    Ok(filters::enabled(&nova.conf)
        .iter()
        .filter(|f| f.name().starts_with("ServerGroup"))
        .all(|f| f.passes(&host, &spec).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn firsts(conf: &Conf) -> BTreeSet<String> {
        let survivors: Vec<Survivor> = [("a", 2.0), ("b", 2.0), ("c", 1.0), ("d", 0.5)]
            .map(|(host, total)| Survivor {
                host: host.into(),
                total,
                weights: Vec::new(),
            })
            .into();
        let turns = (0..300).map(|_| {
            let order = in_turn(conf, &survivors);
            let all: BTreeSet<&str> = order.iter().map(|s| s.host.as_str()).collect();
            assert_eq!(all.len(), 4, "everybody has a turn");
            order[0].host.clone()
        });
        turns.collect()
    }

    #[test]
    fn the_best_come_first_or_one_of_some_of_them() {
        let mut conf = Conf::default();
        assert_eq!(firsts(&conf), ["a"].map(String::from).into());
        conf.shuffle_best_same_weighed_hosts = true;
        assert_eq!(firsts(&conf), ["a", "b"].map(String::from).into());
        conf.shuffle_best_same_weighed_hosts = false;
        conf.host_subset_size = 3;
        assert_eq!(firsts(&conf), ["a", "b", "c"].map(String::from).into());
        conf.host_subset_size = 100;
        assert_eq!(firsts(&conf).len(), 4);
        assert!(in_turn(&conf, &[]).is_empty());
    }
}
