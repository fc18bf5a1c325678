//! Ports: addresses, groups, and where they are bound.

use crate::db::{
    AddressPairRow, AllocationRow, DhcpOptionRow, NetworkRow, PortGroupRow, PortRow, held,
};
use crate::ipam::{self, Owner, Want};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View, within};
use crate::topics::Change;
use crate::{
    agents, convert, fault, floatingips, groups, networks, revise, routers, standard, subnets,
};
use base::{Json, Result, id};
use oslo_db::{Cond, Tx, all, any, eq, is_in, ne};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

pub(crate) struct Ports;

pub(crate) const INTERFACE: &str = "network:router_interface";
pub(crate) const GATEWAY: &str = "network:router_gateway";
pub(crate) const FLOATING: &str = "network:floatingip";
pub(crate) const DHCP: &str = "network:dhcp";

const MAX_FIXED_IPS: usize = 5;

/// Addresses of each port, in order.
pub(crate) fn addresses<'a>(
    tx: &mut Tx,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<AllocationRow>>> {
    let mut found: HashMap<String, Vec<AllocationRow>> = HashMap::new();
    for row in tx.select_sorted::<AllocationRow>(
        is_in("port_id", ids),
        &[("position", base::Dir::Asc)],
        None,
    )? {
        found.entry(row.port_id.clone()).or_default().push(row);
    }
    Ok(found)
}

/// The groups of one port.
pub(crate) fn groups(tx: &mut Tx, port: &str) -> Result<Vec<String>> {
    let rows = tx.select::<PortGroupRow>(eq("port_id", port))?;
    Ok(rows.into_iter().map(|r| r.security_group_id).collect())
}

pub(crate) fn groups_of<'a>(
    tx: &mut Tx,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<String>>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in tx.select::<PortGroupRow>(is_in("port_id", ids))? {
        found
            .entry(row.port_id)
            .or_default()
            .push(row.security_group_id);
    }
    Ok(found)
}

impl Noun for Ports {
    type Row = PortRow;
    const MEMBER: &'static str = "port";
    const PLURAL: &'static str = "ports";

    fn id(row: &PortRow) -> &str {
        &row.id
    }

    fn revision(row: &PortRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn column(attribute: &str) -> Option<&'static str> {
        match attribute {
            "binding:host_id" => Some("host"),
            _ => None,
        }
    }

    fn visible(call: &Call) -> Cond {
        let own = || eq("project_id", call.ctx.project());
        any([own(), within::<NetworkRow>("network_id", "id", own())])
    }

    fn filter(_: &Call, attribute: &str, values: &[String]) -> Result<Option<Cond>> {
        let of = |cond| Some(within::<AllocationRow>("id", "port_id", cond));
        Ok(match attribute {
            "fixed_ips" => {
                let mut conds = Vec::new();
                for (name, wanted) in &convert::pairs(values) {
                    let wanted: Vec<String> = wanted
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(convert::shown)
                        .collect();
                    match name.as_str() {
                        "ip_address" => conds.push(is_in("ip_address", wanted.iter())),
                        "subnet_id" => conds.push(is_in("subnet_id", wanted.iter())),
                        "ip_address_substr" => conds.push(any(wanted
                            .iter()
                            .map(|w| oslo_db::contains("ip_address", w)))),
                        _ => {}
                    }
                }
                of(all(conds))
            }
            "security_groups" => Some(within::<PortGroupRow>(
                "id",
                "port_id",
                is_in("security_group_id", values.iter()),
            )),
            _ => None,
        })
    }

    fn views(tx: &mut Tx, call: &Call, rows: Vec<PortRow>) -> Result<Vec<View>> {
        let ids = || rows.iter().map(|r| r.id.as_str());
        let mut ips = addresses(tx, ids())?;
        let mut groups = groups_of(tx, ids())?;
        let parents = networks::parents(tx, call, rows.iter().map(|r| r.network_id.as_str()))?;
        let view = |row: PortRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            let ips = ips.remove(&row.id).unwrap_or_default();
            let names = ips.iter().map(|a| assignment(call, &row.dns_name, a));
            fields.put_list("dns_assignment", names.collect());
            let parent = parents.get(&row.network_id).cloned().unwrap_or_default();
            let groups = groups.remove(&row.id).unwrap_or_default();
            fields.put("name", row.name);
            fields.put("network_id", row.network_id);
            fields.put("mac_address", row.mac_address);
            fields.put("admin_state_up", row.admin_state_up);
            fields.put("status", row.status);
            fields.put("device_id", row.device_id);
            fields.put("device_owner", row.device_owner);
            fields.put("port_security_enabled", row.port_security_enabled);
            fields.put("dns_name", row.dns_name);
            fields.put("binding:vnic_type", row.vnic_type);
            fields.put("binding:host_id", row.host);
            fields.put("binding:profile", row.profile.0);
            fields.put("binding:vif_type", row.vif_type);
            fields.put("binding:vif_details", row.vif_details.0);
            fields.put("allowed_address_pairs", json!(row.allowed_address_pairs.0));
            fields.put("extra_dhcp_opts", json!(row.extra_dhcp_opts.0));
            fields.put("security_groups", groups);
            let fixed = ips
                .into_iter()
                .map(|a| Fields::small([("subnet_id", a.subnet_id), ("ip_address", a.ip_address)]));
            fields.put_list("fixed_ips", fixed.collect());
            View { fields, parent }
        };
        Ok(rows.into_iter().map(view).collect())
    }

    fn parent(tx: &mut Tx, call: &Call, body: &Body) -> Result<Body> {
        let network = networks::lean(tx, call, &body.text("network_id"))?;
        networks::parent_of(tx, call, &network)
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<PortRow> {
        let network = networks::lean(tx, call, &body.text("network_id"))?;
        let id = id::new_id();
        let device_owner = body.text("device_owner");
        let service = device_owner.starts_with("network:");
        let security = match body.get("port_security_enabled") {
            Some(value) => value.as_bool().unwrap_or(true),
            None => network.port_security_enabled && !service,
        };
        let mac = match body.maybe_text("mac_address").filter(|m| !m.is_empty()) {
            Some(mac) => {
                mac_free(tx, &network.id, &mac, "")?;
                mac
            }
            None => convert::new_mac(),
        };
        let mut row = PortRow {
            id: id.clone(),
            project_id: body.text("tenant_id"),
            network_id: network.id.clone(),
            name: body.text("name"),
            mac_address: mac,
            admin_state_up: body.flag("admin_state_up"),
            status: "DOWN".into(),
            device_id: body.text("device_id"),
            device_owner,
            port_security_enabled: security,
            dns_name: body.text("dns_name"),
            vnic_type: body.text("binding:vnic_type"),
            host: body.text("binding:host_id"),
            profile: Json(networks::object(body.get("binding:profile"))),
            vif_type: "unbound".into(),
            vif_details: Json::default(),
            allowed_address_pairs: Json::default(),
            extra_dhcp_opts: Json(dhcp_options(body)),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        row.allowed_address_pairs = Json(address_pairs(body, &row.mac_address)?);
        let wants = wants(body)?;
        let owner = Owner {
            network_id: &network.id,
            port_id: &id,
            mac: &row.mac_address,
            router: is_router(&row.device_owner),
        };
        let subnets = subnets::of_network(tx, &network.id)?;
        ipam::allocate(tx, &owner, &subnets, wants.as_deref(), 0)?;
        bind(tx, call, &mut row)?;
        let groups = match body.get("security_groups") {
            Some(_) => groups::check(tx, call, &row.project_id, &body.list("security_groups"))?,
            None if security && !service => {
                vec![groups::ensure_default(tx, call, &row.project_id)?]
            }
            None => Vec::new(),
        };
        secure(&row, &groups, body.contains_key("security_groups"))?;
        tx.insert(&row)?;
        put_groups(tx, &id, &groups)?;
        call.touch_port(&row, &groups, Change::ALL);
        Ok(row)
    }

    fn update(tx: &mut Tx, call: &Call, mut row: PortRow, changes: &Body) -> Result<PortRow> {
        let before = row.clone();
        let held = groups(tx, &row.id)?;
        let mut rebind = false;
        for name in changes.keys() {
            match name.as_str() {
                "name" => row.name = changes.text(name),
                "description" => row.description = changes.text(name),
                "admin_state_up" => row.admin_state_up = changes.flag(name),
                "device_id" => row.device_id = changes.text(name),
                "device_owner" => row.device_owner = changes.text(name),
                "dns_name" => row.dns_name = changes.text(name),
                "port_security_enabled" => row.port_security_enabled = changes.flag(name),
                "extra_dhcp_opts" => {
                    row.extra_dhcp_opts = Json(merged_options(&row.extra_dhcp_opts.0, changes))
                }
                "binding:profile" => row.profile = Json(networks::object(changes.get(name))),
                "binding:vnic_type" => {
                    rebind |= row.vnic_type != changes.text(name);
                    row.vnic_type = changes.text(name);
                }
                "binding:host_id" => {
                    rebind |= row.host != changes.text(name);
                    row.host = changes.text(name);
                }
                "mac_address" => {
                    let mac = changes.maybe_text(name).unwrap_or_else(convert::new_mac);
                    if mac != row.mac_address {
                        mac_free(tx, &row.network_id, &mac, &row.id)?;
                        row.mac_address = mac;
                    }
                }
                _ => {}
            }
        }
        if changes.contains_key("allowed_address_pairs") {
            row.allowed_address_pairs = Json(address_pairs(changes, &row.mac_address)?);
        }
        if let Some(wants) = wants(changes)? {
            readdress(tx, call, &row, wants)?;
        }
        // A binding that failed is tried again whenever somebody touches the port, as upstream does.
        if rebind
            || (row.vif_type == "binding_failed"
                && changes.keys().any(|k| k.starts_with("binding:")))
        {
            bind(tx, call, &mut row)?;
            row.status = "DOWN".into();
        }
        let groups = match changes.get("security_groups") {
            Some(_) => groups::check(tx, call, &row.project_id, &changes.list("security_groups"))?,
            None => held.clone(),
        };
        secure(&row, &groups, true)?;
        if changes.contains_key("security_groups") {
            set_groups(tx, &row.id, &groups)?;
        }
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        let names = ["fixed_ips", "allowed_address_pairs", "security_groups"];
        let change = Change {
            place: row.host != before.host,
            addresses: names.iter().any(|n| changes.contains_key(*n))
                || row.device_owner != before.device_owner,
            lease: row.mac_address != before.mac_address
                || row.dns_name != before.dns_name
                || row.device_owner != before.device_owner
                || changes.contains_key("extra_dhcp_opts"),
        };
        let unseen = ["name", "description", "binding:profile"];
        if changes.keys().any(|k| !unseen.contains(&k.as_str())) || row.vif_type != before.vif_type
        {
            call.touch_port(&before, &held, change);
            call.touch_port(&row, &groups, change);
        }
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: PortRow) -> Result<()> {
        if [INTERFACE, GATEWAY, FLOATING].contains(&row.device_owner.as_str())
            && routers::owns(tx, &row)?
        {
            let words = format!(
                "Port {} cannot be deleted directly via the port API: has device owner {}.",
                row.id, row.device_owner
            );
            return Err(fault::conflict("ServicePortInUse", words));
        }
        drop_held(tx, call, &row)
    }
}

/// Deletes a port that the cloud made for itself.
pub(crate) fn remove(tx: &mut Tx, call: &Call, row: &PortRow) -> Result<()> {
    // Whoever leads an address to it, or gives it one, does so before or finds it gone.
    if let Some(row) = tx.find_for_update::<PortRow>(eq("id", row.id.as_str()))? {
        drop_held(tx, call, &row)?;
        crate::tags::forget(tx, &row.id)?;
    }
    Ok(())
}

/// Deletes a port that this transaction holds, and what hangs on it but its tags.
fn drop_held(tx: &mut Tx, call: &Call, row: &PortRow) -> Result<()> {
    let of_port = eq("port_id", row.id.as_str());
    floatingips::release(tx, call, of_port.clone())?;
    let groups = groups(tx, &row.id)?;
    tx.delete::<AllocationRow>(of_port.clone())?;
    if !groups.is_empty() {
        tx.delete::<PortGroupRow>(of_port)?;
    }
    tx.delete::<PortRow>(eq("id", row.id.as_str()))?;
    call.touch_port(row, &groups, Change::ALL);
    Ok(())
}

/// Creates a port that the cloud itself needs (DHCP, router legs, floating addresses).
pub(crate) fn create_for(tx: &mut Tx, call: &Call, body: Value) -> Result<String> {
    let mut whole = Body::new();
    for (name, rules) in Ports::attributes()? {
        if let (true, Some(default)) = (rules.post, &rules.default) {
            whole.insert(name.clone(), default.clone());
        }
    }
    whole.extend(body.as_object().cloned().unwrap_or_default());
    let internal = Call {
        ctx: std::sync::Arc::new(oslo_context::RequestContext::internal()),
        ..call.clone()
    };
    Ok(Ports::create(tx, &internal, &whole)?.id)
}

fn is_router(owner: &str) -> bool {
    matches!(owner, INTERFACE | GATEWAY)
}

fn wants(body: &Body) -> Result<Option<Vec<Want>>> {
    let Some(value) = body.get("fixed_ips").filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    let wants: Vec<Want> = serde_json::from_value(value.clone())?;
    if wants.len() > MAX_FIXED_IPS {
        return Err(fault::invalid_input(
            "Exceeded maximum amount of fixed ips per port",
        ));
    }
    Ok(Some(wants))
}

/// Keeps the addresses that are still wanted, gives the others back, takes the new ones.
pub(crate) fn readdress(tx: &mut Tx, call: &Call, row: &PortRow, wants: Vec<Want>) -> Result<()> {
    // Its subnets stay as long as this transaction takes.
    held::find::<NetworkRow>(tx, eq("id", row.network_id.as_str()))?;
    let mut held = addresses(tx, std::iter::once(row.id.as_str()))?
        .remove(&row.id)
        .unwrap_or_default();
    let (mut kept, mut missing) = (0, Vec::new());
    let (exact, open): (Vec<Want>, Vec<Want>) =
        wants.into_iter().partition(|w| w.ip_address.is_some());
    for want in exact.into_iter().chain(open) {
        let ip = want
            .ip_address
            .as_deref()
            .and_then(|t| t.parse::<std::net::IpAddr>().ok())
            .map(|ip| ip.to_string());
        let fits = |a: &AllocationRow| {
            want.subnet_id.as_ref().is_none_or(|s| *s == a.subnet_id)
                && ip.as_ref().is_none_or(|i| *i == a.ip_address)
        };
        match held.iter().position(fits) {
            Some(at) => {
                held.remove(at);
                kept += 1;
            }
            None => missing.push(want),
        }
    }
    for gone in &held {
        tx.delete::<AllocationRow>(all([
            eq("subnet_id", gone.subnet_id.as_str()),
            eq("ip_address", gone.ip_address.as_str()),
        ]))?;
        let floating = all([
            eq("port_id", row.id.as_str()),
            eq("fixed_ip_address", gone.ip_address.as_str()),
        ]);
        floatingips::release(tx, call, floating)?;
    }
    let owner = Owner {
        network_id: &row.network_id,
        port_id: &row.id,
        mac: &row.mac_address,
        router: is_router(&row.device_owner),
    };
    let subnets = subnets::of_network(tx, &row.network_id)?;
    let position = kept + held.len() as i64 + 1;
    ipam::allocate(tx, &owner, &subnets, Some(&missing), position)
}

fn mac_free(tx: &mut Tx, network: &str, mac: &str, port: &str) -> Result<()> {
    if tx.exists::<PortRow>(all([
        eq("network_id", network),
        eq("mac_address", mac),
        ne("id", port),
    ]))? {
        let words = format!(
            "Unable to complete operation for network {network}. The mac address {mac} is in use."
        );
        return Err(fault::conflict("MacAddressInUse", words));
    }
    Ok(())
}

/// Decides how the port is plugged on its host.
pub(crate) fn bind(tx: &mut Tx, call: &Call, row: &mut PortRow) -> Result<()> {
    let (kind, details) = if row.host.is_empty() {
        ("unbound", Map::new())
    } else if row.vnic_type == "normal" && agents::l2_alive(tx, call, &row.host)? {
        ("bridge", vif_details(&row.network_id))
    } else {
        ("binding_failed", Map::new())
    };
    row.vif_type = kind.into();
    row.vif_details = Json(details);
    Ok(())
}

pub(crate) fn vif_details(network: &str) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("port_filter".into(), json!(true));
    map.insert(
        "bridge_name".into(),
        json!(format!("brq{}", network.get(..11).unwrap_or(network))),
    );
    map.insert("connectivity".into(), json!("l2"));
    map
}

fn address_pairs(body: &Body, own: &str) -> Result<Vec<AddressPairRow>> {
    let pairs = body.list("allowed_address_pairs");
    if pairs.len() > 10 {
        let words = "The number of allowed address pair exceeds the maximum 10.";
        return Err(fault::refused("AllowedAddressPairExhausted", words));
    }
    let row = |pair: &Value| AddressPairRow {
        mac_address: pair
            .get("mac_address")
            .and_then(Value::as_str)
            .map_or_else(|| own.to_string(), convert::mac),
        ip_address: pair
            .get("ip_address")
            .map(convert::shown)
            .unwrap_or_default(),
    };
    Ok(pairs.iter().map(row).collect())
}

fn dhcp_option(value: &Value) -> Option<DhcpOptionRow> {
    Some(DhcpOptionRow {
        opt_name: value.get("opt_name")?.as_str()?.to_string(),
        opt_value: value.get("opt_value")?.as_str()?.to_string(),
        ip_version: value
            .get("ip_version")
            .and_then(|v| convert::int(v).ok())
            .unwrap_or(4),
    })
}

fn dhcp_options(body: &Body) -> Vec<DhcpOptionRow> {
    body.list("extra_dhcp_opts")
        .iter()
        .filter_map(dhcp_option)
        .collect()
}

/// An option that is sent replaces the one of its name; a null value deletes it; others stay.
fn merged_options(held: &[DhcpOptionRow], changes: &Body) -> Vec<DhcpOptionRow> {
    let mut options = held.to_vec();
    for sent in changes.list("extra_dhcp_opts") {
        let name = sent.get("opt_name").map(convert::shown).unwrap_or_default();
        let version = sent
            .get("ip_version")
            .and_then(|v| convert::int(v).ok())
            .unwrap_or(4);
        options.retain(|o| o.opt_name != name || o.ip_version != version);
        options.extend(dhcp_option(&sent));
    }
    options
}

/// Groups and address pairs need port security; groups need an address too.
fn secure(row: &PortRow, groups: &[String], explicit: bool) -> Result<()> {
    if row.port_security_enabled {
        return Ok(());
    }
    if !row.allowed_address_pairs.0.is_empty() {
        let words =
            "Port Security must be enabled in order to have allowed address pairs on a port.";
        return Err(fault::conflict("AddressPairAndPortSecurityRequired", words));
    }
    if !groups.is_empty() && explicit {
        let words = "Port has security group associated. Cannot disable port security or IP address until security group is removed.";
        return Err(fault::conflict("PortSecurityPortHasSecurityGroup", words));
    }
    Ok(())
}

fn set_groups(tx: &mut Tx, port: &str, groups: &[String]) -> Result<()> {
    tx.delete::<PortGroupRow>(eq("port_id", port))?;
    put_groups(tx, port, groups)
}

fn put_groups(tx: &mut Tx, port: &str, groups: &[String]) -> Result<()> {
    let row = |g: &String| PortGroupRow {
        port_id: port.into(),
        security_group_id: g.clone(),
    };
    tx.insert_all(&groups.iter().map(row).collect::<Vec<_>>())
}

fn assignment(call: &Call, dns_name: &str, address: &AllocationRow) -> Fields {
    let domain = call.neutron.conf.dns_domain.trim_end_matches('.');
    let hostname = if dns_name.is_empty() {
        format!("host-{}", address.ip_address.replace(['.', ':'], "-"))
    } else {
        dns_name.to_string()
    };
    let fqdn = format!("{hostname}.{domain}.");
    Fields::small([
        ("ip_address", address.ip_address.clone()),
        ("hostname", hostname),
        ("fqdn", fqdn),
    ])
}
