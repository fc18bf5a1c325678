//! Which host: placement's candidates, then filters, then weighers, then a claim; the first claim that holds wins.
//!
//! Every decision is kept whole (each host with the filter that refused it, or its weights), so that
//! `ferrostack explain server` and the NoValidHost fault can say why.

mod filters;
pub mod hosts;
mod weighers;

pub use hosts::Host;

use crate::Nova;
use crate::db::instances::InstanceRow;
use crate::db::scheduling::SchedulingRow;
use base::{Error, Json, Kind, Result};
use nova_types::rpc::FlavorSpec;
use oslo_http::percent_encode;
use oslo_scheduling::{Filter, Outcome, Rejected, Weigher};
use placement_types::Resources;
use sdk::{Consumer, PlacementClient};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a boot wants of a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestSpec {
    /// The instance.
    pub instance_id: String,
    /// Its project.
    pub project_id: String,
    /// Its user.
    pub user_id: String,
    /// Its size.
    pub flavor: FlavorSpec,
    /// Whether the root disk lives on the host (not on a volume).
    pub local_root: bool,
    /// Image properties.
    pub image_properties: BTreeMap<String, String>,
    /// The zone asked for.
    pub zone: Option<String>,
    /// The host asked for (administrators).
    pub force_host: Option<String>,
    /// Hosts that failed already.
    pub tried: Vec<String>,
    /// Policy of the server group.
    pub group_policy: Option<String>,
    /// Members of the group per host, this instance excluded.
    pub group_hosts: BTreeMap<String, u64>,
    /// `max_server_per_host` of the group.
    pub group_max_per_host: u64,
    /// Scheduler hints.
    pub hints: Map<String, Value>,
}

impl RequestSpec {
    /// GiB of disk on the host.
    pub fn disk_gb(&self) -> u64 {
        let root = if self.local_root {
            self.flavor.root_gb
        } else {
            0
        };
        root + self.flavor.ephemeral_gb + self.flavor.swap_mb.div_ceil(1024)
    }

    fn resources(&self) -> Resources {
        let all = [
            ("VCPU", i64::from(self.flavor.vcpus)),
            ("MEMORY_MB", self.flavor.memory_mb as i64),
            ("DISK_GB", self.disk_gb() as i64),
        ];
        let wanted = all.into_iter().filter(|(_, n)| *n > 0);
        Resources {
            resources: wanted.map(|(k, n)| (k.to_string(), n)).collect(),
        }
    }
}

/// A claimed host.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `CONF.host`.
    pub host: String,
    /// The hypervisor's node.
    pub node: String,
    /// Its zone.
    pub zone: String,
}

/// Chooses and claims. Nothing but the claim is changed; the caller writes the instance's host.
pub async fn select_destination(
    nova: &Nova,
    spec: &RequestSpec,
    request_id: &str,
) -> Result<Destination> {
    let placement = nova.sdk.for_request(request_id).placement();
    let providers = candidates(&placement, spec).await?;
    let (hosts, seen) = {
        let now = nova.clock.now();
        let down = std::time::Duration::from_secs(nova.conf.service_down_time);
        let default_zone = nova.conf.default_availability_zone.clone();
        let hosts = nova
            .db
            .read(move |tx| hosts::load(tx, now, down, &default_zone))
            .await?;
        let seen = hosts.len();
        (hosts, seen)
    };
    let (candidates, rest): (Vec<Host>, Vec<Host>) = hosts
        .into_iter()
        .partition(|h| providers.contains(&h.provider_id));
    let filters = filters::enabled(&nova.conf);
    let weighers = weighers::enabled(&nova.conf);
    let filters: Vec<&dyn Filter<Host, RequestSpec>> = filters.iter().map(|f| &**f).collect();
    let weighers: Vec<&dyn Weigher<Host, RequestSpec>> = weighers.iter().map(|w| &**w).collect();
    let mut outcome = oslo_scheduling::run(&candidates, spec, &filters, &weighers);
    let lacking = describe_lack(spec);
    outcome
        .rejected
        .extend(rest.into_iter().map(|host| Rejected {
            host: host.host,
            filter: "placement".into(),
            reason: lacking.clone(),
        }));
    let mut chosen = None;
    for survivor in &outcome.survivors {
        let Some(host) = candidates.iter().find(|h| h.name() == survivor.host) else {
            continue;
        };
        if claim(&placement, spec, &host.provider_id).await? {
            chosen = Some(Destination {
                host: host.host.clone(),
                node: host.node.clone(),
                zone: host.zone.clone(),
            });
            break;
        }
    }
    remember(nova, spec, request_id, &outcome, chosen.as_ref()).await?;
    chosen.ok_or_else(|| no_valid_host(&outcome, seen))
}

fn describe_lack(spec: &RequestSpec) -> String {
    let wants: Vec<String> = spec
        .resources()
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
    outcome: &Outcome,
    chosen: Option<&Destination>,
) -> Result<()> {
    let row = SchedulingRow {
        instance_id: spec.instance_id.clone(),
        request_id: request_id.to_string(),
        outcome: Json(
            json!({"chosen": chosen.map(|c| &c.host), "outcome": outcome, "tried": spec.tried}),
        ),
        created_at: nova.clock.now(),
    };
    nova.db
        .write(move |tx| tx.upsert(&row, &["instance_id"]))
        .await
}

/// The providers that have room, by placement.
async fn candidates(placement: &PlacementClient, spec: &RequestSpec) -> Result<BTreeSet<String>> {
    let resources: Vec<String> = spec
        .resources()
        .resources
        .iter()
        .map(|(k, n)| format!("{k}:{n}"))
        .collect();
    let mut query = format!(
        "resources={}&limit=1000",
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
    let found = placement.allocation_candidates(&query).await?;
    Ok(found
        .allocation_requests
        .into_iter()
        .flat_map(|way| way.allocations.into_keys())
        .collect())
}

/// Claims room on a provider. False: somebody else took it. A claim that an earlier, interrupted try made is replaced.
async fn claim(placement: &PlacementClient, spec: &RequestSpec, provider: &str) -> Result<bool> {
    let consumer = Consumer {
        id: &spec.instance_id,
        project_id: &spec.project_id,
        user_id: &spec.user_id,
        consumer_type: "INSTANCE",
    };
    let wanted = BTreeMap::from([(provider.to_string(), spec.resources())]);
    match placement.replace_allocations(consumer, &wanted).await {
        Ok(()) => Ok(true),
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
