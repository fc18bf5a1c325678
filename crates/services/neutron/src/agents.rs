//! Agents: who reports, who is alive, and the availability zones they make.

use crate::db::{AgentRow, DhcpBindingRow, L3BindingRow, PortRow, concerned};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View};
use crate::topics::{Change, Topic};
use crate::{Neutron, fault, ports, schedule};
use base::{Error, Json, Result, Timestamp, id};
use neutron_types::rpc::{AgentKind, AgentReport, HostReport};
use oslo_db::{Cond, Tx, all, any, eq, ge, is_in, lt, set};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(crate) struct Agents;

pub(crate) const L2: &[&str] = &["Linux bridge agent", "Open vSwitch agent"];
pub(crate) const DHCP: &str = "DHCP agent";
pub(crate) const L3: &str = "L3 agent";
const METADATA: &str = "Metadata agent";

/// The kind of agent that listens for what its host has to do.
pub(crate) fn kind(agent_type: &str) -> Option<AgentKind> {
    match agent_type {
        DHCP => Some(AgentKind::Dhcp),
        L3 => Some(AgentKind::L3),
        METADATA => Some(AgentKind::Metadata),
        other => L2.contains(&other).then_some(AgentKind::L2),
    }
}

/// The same moment as [`horizon`], without a call.
pub(crate) fn horizon_of(neutron: &Neutron) -> Timestamp {
    neutron.clock.now().minus(neutron.conf.agent_down_time())
}

/// Agents that were heard of before this moment are dead.
fn horizon(call: &Call) -> Timestamp {
    call.now.minus(call.neutron.conf.agent_down_time())
}

pub(crate) fn is_alive(call: &Call, agent: &AgentRow) -> bool {
    agent.heartbeat_at >= horizon(call)
}

/// Live agents of a kind that take work.
pub(crate) fn alive(tx: &mut Tx, call: &Call, kind: &str) -> Result<Vec<AgentRow>> {
    tx.select_sorted::<AgentRow>(
        all([
            eq("agent_type", kind),
            eq("admin_state_up", true),
            ge("heartbeat_at", horizon(call)),
        ]),
        &[("host", base::Dir::Asc)],
        None,
    )
}

/// Those of `hosts` that can plug ports.
pub(crate) fn wired<'a>(
    tx: &mut Tx,
    call: &Call,
    hosts: impl Iterator<Item = &'a str>,
) -> Result<HashSet<String>> {
    let rows = tx.select::<AgentRow>(all([
        is_in("host", hosts),
        is_in("agent_type", L2.iter().copied()),
        eq("admin_state_up", true),
        ge("heartbeat_at", horizon(call)),
    ]))?;
    Ok(rows.into_iter().map(|a| a.host).collect())
}

pub(crate) fn l2_alive(tx: &mut Tx, call: &Call, host: &str) -> Result<bool> {
    tx.exists::<AgentRow>(all([
        eq("host", host),
        is_in("agent_type", L2.iter().copied()),
        eq("admin_state_up", true),
        ge("heartbeat_at", horizon(call)),
    ]))
}

impl Noun for Agents {
    type Row = AgentRow;
    const MEMBER: &'static str = "agent";
    const PLURAL: &'static str = "agents";
    const TAGS: bool = false;

    fn id(row: &AgentRow) -> &str {
        &row.id
    }

    fn column(attribute: &str) -> Option<&'static str> {
        match attribute {
            "binary" => Some("binary_name"),
            _ => None,
        }
    }

    fn visible(_: &Call) -> Cond {
        oslo_db::nothing()
    }

    fn filter(call: &Call, attribute: &str, values: &[String]) -> Result<Option<Cond>> {
        if attribute != "alive" {
            return Ok(None);
        }
        let mut ways = Vec::new();
        for value in values {
            let alive = crate::convert::boolean(&json!(value))?;
            ways.push(if alive {
                ge("heartbeat_at", horizon(call))
            } else {
                lt("heartbeat_at", horizon(call))
            });
        }
        Ok(Some(any(ways)))
    }

    fn views(_: &mut Tx, call: &Call, rows: Vec<AgentRow>) -> Result<Vec<View>> {
        let time = |t: Timestamp| t.format("%Y-%m-%d %H:%M:%S");
        let view = |row: &AgentRow| {
            let mut fields = Fields::new();
            fields.put("id", json!(row.id));
            fields.put("agent_type", json!(row.agent_type));
            fields.put("binary", json!(row.binary_name));
            fields.put("topic", json!(row.topic));
            fields.put("host", json!(row.host));
            fields.put("admin_state_up", json!(row.admin_state_up));
            fields.put("created_at", json!(time(row.created_at)));
            fields.put("started_at", json!(time(row.started_at)));
            fields.put("heartbeat_timestamp", json!(time(row.heartbeat_at)));
            fields.put("alive", json!(is_alive(call, row)));
            fields.put("description", json!(row.description));
            fields.put("configurations", json!(row.configurations.0));
            fields.put("availability_zone", json!(row.availability_zone));

            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(_: &mut Tx, _: &Call, _: &Body) -> Result<AgentRow> {
        Err(Error::not_found("The resource could not be found."))
    }

    fn update(tx: &mut Tx, call: &Call, mut row: AgentRow, changes: &Body) -> Result<AgentRow> {
        // Only what was asked for: heartbeats write the same row all the time.
        let mut values = Vec::new();
        if changes.contains_key("admin_state_up") {
            row.admin_state_up = changes.flag("admin_state_up");
            values.push(set("admin_state_up", row.admin_state_up));
        }
        if changes.contains_key("description") {
            row.description = changes.maybe_text("description");
            values.push(set("description", row.description.clone()));
        }
        if !values.is_empty() {
            tx.update::<AgentRow>(eq("id", row.id.as_str()), &values)?;
        }
        call.touch(Topic::Host(row.host.clone()));
        hand_over(tx, call)?;
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: AgentRow) -> Result<()> {
        let bound = eq("agent_id", row.id.as_str());
        tx.delete::<DhcpBindingRow>(bound.clone())?;
        tx.delete::<L3BindingRow>(bound)?;
        tx.delete::<AgentRow>(eq("id", row.id.as_str()))?;
        call.touch(Topic::Host(row.host.clone()));
        retunnel(tx, call, &row.host)?;
        hand_over(tx, call)
    }
}

/// Heartbeats of hosts. Says whether an agent appeared, came back or moved, so that work waits for it.
pub(crate) fn report(tx: &mut Tx, call: &Call, hosts: &[HostReport]) -> Result<bool> {
    let known = tx.select::<AgentRow>(is_in("host", hosts.iter().map(|h| h.host.as_str())))?;
    let known: HashMap<(&str, &str), &AgentRow> = known
        .iter()
        .map(|a| ((a.host.as_str(), a.agent_type.as_str()), a))
        .collect();
    // Nearly all only say that they are there.
    let mut same: Vec<&str> = Vec::new();
    let mut new: Vec<AgentRow> = Vec::new();
    let (mut news, mut serving) = (BTreeSet::new(), false);
    for (host, report) in hosts
        .iter()
        .flat_map(|h| h.agents.iter().map(|a| (h.host.as_str(), a)))
    {
        let row = known.get(&(host, report.agent_type.as_str()));
        let end = report.configurations.get(TUNNEL_END);
        let moved = row.and_then(|r| r.configurations.0.get(TUNNEL_END)) != end;
        if moved {
            retunnel(tx, call, host)?;
        }
        if moved || report.start_flag || row.is_none_or(|r| !is_alive(call, r)) {
            news.insert(host);
            serving |= [DHCP, L3].contains(&report.agent_type.as_str());
        }
        match row {
            None => new.push(agent(call, host, report)),
            Some(row) if unchanged(row, report) => same.push(&row.id),
            Some(row) => update(tx, call, row, report)?,
        }
    }
    if !same.is_empty() {
        let now = set("heartbeat_at", call.now);
        tx.update::<AgentRow>(is_in("id", same), &[now])?;
    }
    tx.insert_all(&new)?;
    if !news.is_empty() {
        rebind(tx, call, &news)?;
    }
    // Work waits for those that serve, and for nobody else.
    if serving {
        hand_over(tx, call)?;
    }
    Ok(!news.is_empty())
}

/// Where a host's tunnels end, among an agent's configurations.
pub(crate) const TUNNEL_END: &str = "tunneling_ip";

fn unchanged(row: &AgentRow, report: &AgentReport) -> bool {
    let zone = &report.availability_zone;
    !report.start_flag
        && row.configurations.0 == report.configurations
        && (zone.is_none() || *zone == row.availability_zone)
}

/// Not the whole row: an administrator may be changing the rest at this moment.
fn update(tx: &mut Tx, call: &Call, row: &AgentRow, report: &AgentReport) -> Result<()> {
    let mut values = vec![
        set("heartbeat_at", call.now),
        set("configurations", Json(report.configurations.clone())),
    ];
    if report.availability_zone.is_some() {
        values.push(set("availability_zone", report.availability_zone.clone()));
    }
    if report.start_flag {
        values.push(set("started_at", call.now));
    }
    tx.update::<AgentRow>(eq("id", row.id.as_str()), &values)
        .map(drop)
}

fn agent(call: &Call, host: &str, report: &AgentReport) -> AgentRow {
    let zone = report.availability_zone.clone();
    AgentRow {
        id: id::new_id(),
        agent_type: report.agent_type.clone(),
        host: host.into(),
        binary_name: report.binary.clone(),
        topic: report.topic.clone(),
        availability_zone: zone.or_else(|| default_zone(&report.agent_type)),
        configurations: Json(report.configurations.clone()),
        admin_state_up: true,
        description: None,
        created_at: call.now,
        started_at: call.now,
        heartbeat_at: call.now,
    }
}

/// The tunnels of a host end somewhere else: the other hosts of its networks must know.
fn retunnel(tx: &mut Tx, call: &Call, host: &str) -> Result<()> {
    for network in concerned::networks_of(tx, host)? {
        call.touch(Topic::Peers(network));
    }
    Ok(())
}

/// Work whose agent cannot do it goes to one that can, at once.
fn hand_over(tx: &mut Tx, call: &Call) -> Result<()> {
    let pending = schedule::pending(tx, call)?;
    schedule::mend(tx, call, &pending).map(drop)
}

fn default_zone(agent_type: &str) -> Option<String> {
    [DHCP, L3].contains(&agent_type).then(|| "nova".to_string())
}

/// Ports whose binding failed for want of an agent get another chance when one comes.
fn rebind(tx: &mut Tx, call: &Call, hosts: &BTreeSet<&str>) -> Result<()> {
    let failed = all([
        is_in("host", hosts.iter().copied()),
        eq("vif_type", "binding_failed"),
    ]);
    for mut port in tx.select::<PortRow>(failed)? {
        ports::bind(tx, call, &mut port)?;
        crate::revise!(port, call);
        crate::noun::save(tx, &port)?;
        call.touch_port(&port, [], Change::default());
    }
    Ok(())
}

/// Zones of the agents that serve each network.
pub(crate) fn zones_of_networks<'a>(
    tx: &mut Tx,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<String>>> {
    let rows = tx.select::<DhcpBindingRow>(is_in("network_id", ids))?;
    zones(
        tx,
        rows.into_iter()
            .map(|r| (r.network_id, r.agent_id))
            .collect(),
    )
}

/// Zones of the agents that serve each router.
pub(crate) fn zones_of_routers<'a>(
    tx: &mut Tx,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<String>>> {
    let rows = tx.select::<L3BindingRow>(is_in("router_id", ids))?;
    zones(
        tx,
        rows.into_iter()
            .map(|r| (r.router_id, r.agent_id))
            .collect(),
    )
}

fn zones(tx: &mut Tx, bound: Vec<(String, String)>) -> Result<HashMap<String, Vec<String>>> {
    let agents = tx.select::<AgentRow>(is_in("id", bound.iter().map(|(_, a)| a.as_str())))?;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for (thing, agent) in bound {
        let zone = agents
            .iter()
            .find(|a| a.id == agent)
            .and_then(|a| a.availability_zone.clone());
        let list = found.entry(thing).or_default();
        list.extend(
            zone.filter(|z| !list.contains(z))
                .into_iter()
                .collect::<Vec<_>>(),
        );
    }
    Ok(found)
}

/// The zones there are: (name, resource).
pub(crate) fn all_zones(tx: &mut Tx) -> Result<Vec<(String, &'static str)>> {
    let mut found = Vec::new();
    for (kind, resource) in [(DHCP, "network"), (L3, "router")] {
        for agent in
            tx.select::<AgentRow>(all([eq("agent_type", kind), eq("admin_state_up", true)]))?
        {
            found.extend(agent.availability_zone.map(|z| (z, resource)));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Hints must name zones that there are.
pub(crate) fn check_zones(tx: &mut Tx, _: &Call, hints: &[Value], resource: &str) -> Result<()> {
    if hints.is_empty() {
        return Ok(());
    }
    let zones = all_zones(tx)?;
    for hint in hints.iter().filter_map(Value::as_str) {
        if !zones
            .iter()
            .any(|(name, kind)| name == hint && *kind == resource)
        {
            let words = format!("AvailabilityZone {hint} could not be found.");
            return Err(Error::not_found(words).class("AvailabilityZoneNotFound"));
        }
    }
    Ok(())
}

/// The agent of that id and kind.
pub(crate) fn of_kind(tx: &mut Tx, id: &str, kind: &str) -> Result<AgentRow> {
    let found: Option<AgentRow> = tx.find(eq("id", id))?;
    let found = found.ok_or_else(|| fault::not_found("agent", id))?;
    if found.agent_type != kind {
        let class = if kind == DHCP {
            "InvalidDHCPAgent"
        } else {
            "InvalidL3Agent"
        };
        let words = format!("Agent {id} is not a {kind} or has been disabled.");
        return Err(Error::not_found(words).class(class));
    }
    Ok(found)
}
