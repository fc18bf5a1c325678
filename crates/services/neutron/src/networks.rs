//! Networks: sharing, provider attributes and the segments behind them.

use crate::db::{
    CloudRow, DhcpBindingRow, FloatingIpRow, NetworkRow, PortRow, RbacRow, SegmentRow, SubnetRow,
    concerned, held,
};
use crate::floatingips::FloatingIps;
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View, within};
use crate::topics::Topic;
use crate::{agents, fault, ports, revise, standard};
use base::{Error, Json, Kind, Result, id};
use oslo_db::{Cond, Tx, all, any, eq, is_in, ne, not};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) struct Networks;

pub(crate) const SHARED: &str = "access_as_shared";
/// Ports that go away with their network.
const AUTO_DELETED: &[&str] = &["network:dhcp"];

fn project_or_all(call: &Call) -> Cond {
    is_in("target_project", ["*", call.ctx.project()])
}

/// Networks that somebody shares with the caller.
pub(crate) fn shared_with(call: &Call) -> Cond {
    within::<RbacRow>(
        "id",
        "object_id",
        all([eq("action", SHARED), project_or_all(call)]),
    )
}

/// Networks that the caller may use.
pub(crate) fn visible(call: &Call) -> Cond {
    any([
        eq("project_id", call.ctx.project()),
        eq("external", true),
        shared_with(call),
    ])
}

/// Which of these networks are shared with the caller.
pub(crate) fn shared_among<'a>(
    tx: &mut Tx,
    call: &Call,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashSet<String>> {
    let cond = all([
        is_in("object_id", ids),
        eq("action", SHARED),
        project_or_all(call),
    ]);
    Ok(tx
        .select::<RbacRow>(cond)?
        .into_iter()
        .map(|r| r.object_id)
        .collect())
}

/// The network, if the caller may see it; 404 otherwise.
pub(crate) fn get(tx: &mut Tx, call: &Call, id: &str) -> Result<NetworkRow> {
    let cond = all([eq("id", id), crate::crud::scope::<Networks>(call)]);
    tx.find(cond)?
        .ok_or_else(|| fault::not_found("network", id))
}

/// The same; it stays, and what it is, until the transaction ends, as far as that is not this transaction's own doing.
/// Whatever is put into a network leans on it, so that it is not deleted or taken out of use meanwhile.
pub(crate) fn lean(tx: &mut Tx, call: &Call, id: &str) -> Result<NetworkRow> {
    if let Some((network, _)) = call.held(id) {
        return Ok(network);
    }
    let cond = all([eq("id", id), crate::crud::scope::<Networks>(call)]);
    held::find(tx, cond)?.ok_or_else(|| fault::not_found("network", id))
}

/// The same, for this transaction alone.
pub(crate) fn alone(tx: &mut Tx, call: &Call, id: &str) -> Result<NetworkRow> {
    let cond = all([eq("id", id), crate::crud::scope::<Networks>(call)]);
    tx.find_for_update(cond)?
        .ok_or_else(|| fault::not_found("network", id))
}

/// What policy rules ask about the network that something lives on.
pub(crate) fn parent_of(tx: &mut Tx, call: &Call, network: &NetworkRow) -> Result<Body> {
    let shared = !shared_among(tx, call, std::iter::once(network.id.as_str()))?.is_empty();
    call.hold(network.clone(), shared);
    Ok(crate::pipeline::network_parent(
        &network.project_id,
        shared,
        network.external,
    ))
}

/// The same for many.
pub(crate) fn parents<'a>(
    tx: &mut Tx,
    call: &Call,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Arc<Body>>> {
    let ids: HashSet<&str> = ids.collect();
    let parent = |n: &NetworkRow, shared: bool| {
        let parent = crate::pipeline::network_parent(&n.project_id, shared, n.external);
        (n.id.clone(), Arc::new(parent))
    };
    let held: Option<Vec<_>> = ids.iter().map(|id| call.held(id)).collect();
    if let Some(held) = held {
        return Ok(held.iter().map(|(n, shared)| parent(n, *shared)).collect());
    }
    let shared = shared_among(tx, call, ids.iter().copied())?;
    let rows = tx.select::<NetworkRow>(is_in("id", ids))?;
    let rows = rows.iter();
    Ok(rows.map(|n| parent(n, shared.contains(&n.id))).collect())
}

impl Noun for Networks {
    type Row = NetworkRow;
    const MEMBER: &'static str = "network";
    const PLURAL: &'static str = "networks";

    fn id(row: &NetworkRow) -> &str {
        &row.id
    }

    fn revision(row: &NetworkRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn column(attribute: &str) -> Option<&'static str> {
        match attribute {
            "router:external" => Some("external"),
            "provider:network_type" => Some("network_type"),
            "provider:physical_network" => Some("physical_network"),
            "provider:segmentation_id" => Some("segmentation_id"),
            _ => None,
        }
    }

    fn visible(call: &Call) -> Cond {
        visible(call)
    }

    fn filter(call: &Call, attribute: &str, values: &[String]) -> Result<Option<Cond>> {
        if attribute != "shared" {
            return Ok(None);
        }
        let mut ways = Vec::new();
        for value in values {
            let shared = shared_with(call);
            ways.push(if crate::convert::boolean(&json!(value))? {
                shared
            } else {
                not(shared)
            });
        }
        Ok(Some(any(ways)))
    }

    fn views(tx: &mut Tx, call: &Call, rows: Vec<NetworkRow>) -> Result<Vec<View>> {
        let ids = || rows.iter().map(|r| r.id.as_str());
        let mut subnets: HashMap<String, Vec<String>> = HashMap::new();
        for subnet in tx.select::<SubnetRow>(is_in("network_id", ids()))? {
            subnets
                .entry(subnet.network_id)
                .or_default()
                .push(subnet.id);
        }
        let shared = shared_among(tx, call, ids())?;
        let mut zones = agents::zones_of_networks(tx, ids())?;
        let view = |row: &NetworkRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            fields.put("name", json!(row.name));
            fields.put("admin_state_up", json!(row.admin_state_up));
            fields.put("status", json!(row.status));
            fields.put("mtu", json!(row.mtu));
            fields.put("router:external", json!(row.external));
            if row.external {
                fields.put("is_default", json!(row.is_default));
            }
            fields.put("port_security_enabled", json!(row.port_security_enabled));
            fields.put("dns_domain", json!(row.dns_domain));
            fields.put("provider:network_type", json!(row.network_type));
            fields.put("provider:physical_network", json!(row.physical_network));
            fields.put("provider:segmentation_id", json!(row.segmentation_id));
            fields.put(
                "availability_zone_hints",
                json!(row.availability_zone_hints.0),
            );
            fields.put(
                "availability_zones",
                json!(zones.remove(&row.id).unwrap_or_default()),
            );
            fields.put("shared", json!(shared.contains(&row.id)));
            fields.put(
                "subnets",
                json!(subnets.remove(&row.id).unwrap_or_default()),
            );
            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<NetworkRow> {
        let id = id::new_id();
        agents::check_zones(tx, call, &body.list("availability_zone_hints"), "network")?;
        let (network_type, physical_network, segmentation_id) = segment(tx, call, &id, body)?;
        let most = largest_packet(call, &network_type);
        let mtu = match body.int("mtu") {
            None | Some(0) => most,
            Some(mtu) if mtu > most => {
                return Err(fault::invalid_input(format!(
                    "Requested MTU is too big, maximum is {most}"
                )));
            }
            Some(mtu) => mtu,
        };
        let row = NetworkRow {
            id: id.clone(),
            project_id: body.text("tenant_id"),
            name: body.text("name"),
            admin_state_up: body.flag("admin_state_up"),
            status: "ACTIVE".into(),
            mtu,
            external: body.flag("router:external"),
            is_default: body.flag("is_default"),
            port_security_enabled: body.flag("port_security_enabled"),
            dns_domain: body.text("dns_domain"),
            network_type,
            physical_network,
            segmentation_id,
            availability_zone_hints: Json(body.typed("availability_zone_hints")?),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        only_default(tx, &row)?;
        tx.insert(&row)?;
        if body.flag("shared") {
            share(tx, &row)?;
        }
        Ok(row)
    }

    fn update(tx: &mut Tx, call: &Call, mut row: NetworkRow, changes: &Body) -> Result<NetworkRow> {
        let provider = |name: &str| changes.get(&format!("provider:{name}"));
        let same = provider("network_type").is_none_or(|v| *v == json!(row.network_type))
            && provider("physical_network").is_none_or(|v| *v == json!(row.physical_network))
            && provider("segmentation_id").is_none_or(|v| *v == json!(row.segmentation_id));
        if !same {
            return Err(fault::invalid_input(
                "Plugin does not support updating provider attributes",
            ));
        }
        for (name, value) in changes {
            match name.as_str() {
                "name" => row.name = changes.text(name),
                "description" => row.description = changes.text(name),
                "admin_state_up" => row.admin_state_up = changes.flag(name),
                "port_security_enabled" => row.port_security_enabled = changes.flag(name),
                "dns_domain" => row.dns_domain = changes.text(name),
                "is_default" => row.is_default = changes.flag(name),
                "mtu" => {
                    let most = largest_packet(call, &row.network_type);
                    row.mtu = value.as_i64().filter(|m| *m > 0).unwrap_or(most);
                    if row.mtu > most {
                        return Err(fault::invalid_input(format!(
                            "Requested MTU is too big, maximum is {most}"
                        )));
                    }
                }
                "router:external" => {
                    if row.external && !changes.flag(name) {
                        keeps_no_gateways(tx, &row.id)?;
                    }
                    row.external = changes.flag(name);
                }
                "shared" if changes.flag(name) => share(tx, &row)?,
                "shared" => unshare(tx, &row, "*")?,
                _ => {}
            }
        }
        only_default(tx, &row)?;
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        call.touch(Topic::Network(row.id.clone()));
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: NetworkRow) -> Result<()> {
        let of_network = eq("network_id", row.id.as_str());
        // Floating addresses that lead nowhere go with their network; others keep it.
        let idle = all([
            eq("floating_network_id", row.id.as_str()),
            oslo_db::is_null("port_id"),
        ]);
        for floating in held::for_update::<FloatingIpRow>(tx, idle)? {
            FloatingIps::delete(tx, call, floating)?;
        }
        let ports = tx.select::<PortRow>(of_network.clone())?;
        let (own, used): (Vec<_>, Vec<_>) = ports
            .into_iter()
            .partition(|p| AUTO_DELETED.contains(&p.device_owner.as_str()));
        if !used.is_empty() {
            let ids: Vec<&str> = used.iter().map(|p| p.id.as_str()).collect();
            let words = format!(
                "Unable to complete operation on network {}. There are one or more ports still in use on the network, id for these ports is: {}.",
                row.id,
                ids.join(",")
            );
            return Err(fault::conflict("NetworkInUse", words));
        }
        for port in own {
            ports::remove(tx, call, &port)?;
        }
        for subnet in tx.select::<SubnetRow>(of_network.clone())? {
            crate::tags::forget(tx, &subnet.id)?;
        }
        tx.delete::<SubnetRow>(of_network.clone())?;
        tx.delete::<SegmentRow>(of_network.clone())?;
        for (_, host) in concerned::of_served(tx, std::slice::from_ref(&row.id))? {
            call.touch(Topic::Host(host));
        }
        tx.delete::<DhcpBindingRow>(of_network)?;
        tx.delete::<RbacRow>(eq("object_id", row.id.as_str()))?;
        tx.delete::<NetworkRow>(eq("id", row.id.as_str()))?;
        for topic in [Topic::Network, Topic::Peers, Topic::Ports] {
            call.forget(topic(row.id.clone()));
        }
        Ok(())
    }
}

/// At most one external network is the default one.
fn only_default(tx: &mut Tx, row: &NetworkRow) -> Result<()> {
    if !row.is_default {
        return Ok(());
    }
    // One after the other, or two would each find none.
    tx.find_for_update::<CloudRow>(eq("id", 1))?;
    let others = all([eq("is_default", true), ne("id", row.id.as_str())]);
    if tx.exists::<NetworkRow>(others)? {
        let words = "A default external network already exists";
        return Err(fault::conflict("DefaultExternalNetworkExists", words));
    }
    Ok(())
}

fn share(tx: &mut Tx, row: &NetworkRow) -> Result<()> {
    let present = all([
        eq("object_id", row.id.as_str()),
        eq("action", SHARED),
        eq("target_project", "*"),
    ]);
    if tx.exists::<RbacRow>(present)? {
        return Ok(());
    }
    tx.insert(&RbacRow {
        id: id::new_id(),
        project_id: row.project_id.clone(),
        object_type: "network".into(),
        object_id: row.id.clone(),
        action: SHARED.into(),
        target_project: "*".into(),
    })
}

/// Takes a share away, unless somebody lives on it.
pub(crate) fn unshare(tx: &mut Tx, row: &NetworkRow, target: &str) -> Result<()> {
    let shares = tx.select::<RbacRow>(all([
        eq("object_id", row.id.as_str()),
        eq("action", SHARED),
    ]))?;
    let kept: Vec<&str> = shares
        .iter()
        .map(|s| s.target_project.as_str())
        .filter(|t| *t != target)
        .collect();
    if !kept.contains(&"*") {
        let mut guests = vec![
            eq("network_id", row.id.as_str()),
            ne("project_id", row.project_id.as_str()),
            ne("project_id", ""),
        ];
        if target != "*" {
            guests.push(eq("project_id", target));
        }
        for project in &kept {
            guests.push(ne("project_id", *project));
        }
        let mut ports = guests.clone();
        ports.push(not(oslo_db::prefix("device_owner", "network:")));
        if tx.exists::<PortRow>(all(ports))? || tx.exists::<SubnetRow>(all(guests))? {
            let words = format!(
                "Unable to reconfigure sharing settings for network {}. Multiple projects are using it.",
                row.id
            );
            return Err(fault::conflict("InvalidSharedSetting", words));
        }
    }
    let gone = all([
        eq("object_id", row.id.as_str()),
        eq("action", SHARED),
        eq("target_project", target),
    ]);
    tx.delete::<RbacRow>(gone).map(drop)
}

fn keeps_no_gateways(tx: &mut Tx, id: &str) -> Result<()> {
    let owners = is_in(
        "device_owner",
        ["network:router_gateway", "network:floatingip"],
    );
    if tx.exists::<PortRow>(all([eq("network_id", id), owners]))? {
        let words = format!(
            "External network {id} cannot be updated to be made non-external, since it has existing gateway ports."
        );
        return Err(fault::conflict("ExternalNetworkInUse", words));
    }
    Ok(())
}

fn largest_packet(call: &Call, network_type: &str) -> i64 {
    let conf = &call.neutron.conf;
    match network_type {
        "vxlan" => conf.global_physnet_mtu - 50,
        _ => conf.global_physnet_mtu,
    }
}

type Segment = (String, Option<String>, Option<i64>);

/// Claims the segment that was asked for, or one of the kinds that projects get.
fn segment(tx: &mut Tx, call: &Call, network: &str, body: &Body) -> Result<Segment> {
    let conf = &call.neutron.conf;
    let physical = body.maybe_text("provider:physical_network");
    let number = body.int("provider:segmentation_id");
    let Some(kind) = body.maybe_text("provider:network_type") else {
        if physical.is_some() || number.is_some() {
            return Err(fault::invalid_input("network_type required"));
        }
        for kind in &conf.tenant_network_types {
            match claim_any(tx, call, network, kind, None) {
                Err(e) if e.kind() == Kind::Unavailable => {}
                outcome => return outcome,
            }
        }
        return Err(no_network());
    };
    match kind.as_str() {
        "local" if physical.is_some() || number.is_some() => Err(fault::invalid_input(
            "physical_network and segmentation_id prohibited for local provider network",
        )),
        "local" => Ok((kind, None, None)),
        "flat" => {
            let physical = physical.ok_or_else(|| {
                fault::invalid_input("physical_network required for flat provider network")
            })?;
            if number.is_some() {
                return Err(fault::invalid_input(
                    "segmentation_id prohibited for flat provider network",
                ));
            }
            known_physical(call, &physical, "flat")?;
            if !claim(tx, network, &kind, &physical, 0)? {
                let words = format!(
                    "Unable to create the flat network. Physical network {physical} is in use."
                );
                return Err(fault::conflict("FlatNetworkInUse", words));
            }
            Ok((kind, Some(physical), None))
        }
        "vlan" => {
            let Some(physical) = physical else {
                if number.is_some() {
                    return Err(fault::invalid_input(
                        "physical_network required for VLAN provider network",
                    ));
                }
                return claim_any(tx, call, network, &kind, None);
            };
            known_physical(call, &physical, "VLAN")?;
            let Some(number) = number else {
                return claim_any(tx, call, network, &kind, Some(&physical));
            };
            if !(1..=4094).contains(&number) {
                return Err(fault::invalid_input(
                    "segmentation_id out of range (1 through 4094)",
                ));
            }
            if !claim(tx, network, &kind, &physical, number)? {
                let words = format!(
                    "Unable to create the network. The VLAN {number} on physical network {physical} is in use."
                );
                return Err(fault::conflict("VlanIdInUse", words));
            }
            Ok((kind, Some(physical), Some(number)))
        }
        "vxlan" => {
            if physical.is_some() {
                return Err(fault::invalid_input(
                    "provider:physical_network specified for vxlan network",
                ));
            }
            let Some(number) = number else {
                return claim_any(tx, call, network, &kind, None);
            };
            if !(1..=16_777_215).contains(&number) {
                return Err(fault::invalid_input(
                    "segmentation_id out of range (1 through 16777215)",
                ));
            }
            if !claim(tx, network, &kind, "", number)? {
                let words =
                    format!("Unable to create the network. The tunnel ID {number} is in use.");
                return Err(fault::conflict("TunnelIdInUse", words));
            }
            Ok((kind, None, Some(number)))
        }
        other => Err(fault::invalid_input(format!(
            "network_type value '{other}' not supported"
        ))),
    }
}

fn known_physical(call: &Call, name: &str, kind: &str) -> Result<()> {
    let conf = &call.neutron.conf;
    let flat = kind == "flat" && conf.flat_networks.iter().any(|f| f == "*" || f == name);
    let vlan = kind == "VLAN"
        && conf
            .network_vlan_ranges
            .iter()
            .any(|r| r.split(':').next() == Some(name));
    if flat || vlan {
        return Ok(());
    }
    Err(fault::invalid_input(format!(
        "physical_network '{name}' unknown for {kind} provider network"
    )))
}

fn no_network() -> Error {
    Error::unavailable(
        "Unable to create the network. No tenant network is available for allocation.",
    )
    .class("NoNetworkAvailable")
}

fn claim(tx: &mut Tx, network: &str, kind: &str, physical: &str, number: i64) -> Result<bool> {
    let key = all([
        eq("network_type", kind),
        eq("physical_network", physical),
        eq("segmentation_id", number),
    ]);
    if tx.exists::<SegmentRow>(key)? {
        return Ok(false);
    }
    tx.insert(&SegmentRow {
        network_type: kind.into(),
        physical_network: physical.into(),
        segmentation_id: number,
        network_id: network.into(),
    })?;
    Ok(true)
}

/// A free number of the configured ranges: a few random tries, then a search.
fn claim_any(
    tx: &mut Tx,
    call: &Call,
    network: &str,
    kind: &str,
    physical: Option<&str>,
) -> Result<Segment> {
    let conf = &call.neutron.conf;
    if kind == "local" {
        return Ok(("local".into(), None, None));
    }
    let mut ranges: Vec<(String, i64, i64)> = Vec::new();
    if kind == "vxlan" {
        for range in &conf.vni_ranges {
            if let Some((low, high)) = range
                .split_once(':')
                .and_then(|(l, h)| Some((l.parse().ok()?, h.parse().ok()?)))
            {
                ranges.push((String::new(), low, high));
            }
        }
    } else {
        for range in &conf.network_vlan_ranges {
            let parts: Vec<&str> = range.split(':').collect();
            if let [name, low, high] = parts.as_slice()
                && physical.is_none_or(|p| p == *name)
                && let (Ok(low), Ok(high)) = (low.parse(), high.parse())
            {
                ranges.push((name.to_string(), low, high));
            }
        }
    }
    let found = |name: String, number: i64| {
        (
            kind.to_string(),
            Some(name).filter(|n| !n.is_empty()),
            Some(number),
        )
    };
    for (name, low, high) in ranges.iter().filter(|(_, low, high)| low <= high) {
        for _ in 0..8 {
            let number = rand::random_range(*low..=*high);
            if claim(tx, network, kind, name, number)? {
                return Ok(found(name.clone(), number));
            }
        }
        let taken = tx.select::<SegmentRow>(all([
            eq("network_type", kind),
            eq("physical_network", name.as_str()),
        ]))?;
        let taken: HashSet<i64> = taken.into_iter().map(|s| s.segmentation_id).collect();
        if let Some(number) = (*low..=*high).find(|n| !taken.contains(n))
            && claim(tx, network, kind, name, number)?
        {
            return Ok(found(name.clone(), number));
        }
    }
    Err(no_network())
}

/// Used by [`crate::ports`] for values that the API leaves free-form.
pub(crate) fn object(value: Option<&Value>) -> serde_json::Map<String, Value> {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}
