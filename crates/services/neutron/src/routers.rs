//! Routers: their gateway and static routes. Their legs inside are in `interfaces`.

use crate::db::{
    FloatingIpRow, L3BindingRow, NetworkRow, PortRow, RouteRow, RouterRow, SubnetRow, concerned,
};
use crate::ipam::{self, Want};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View};
use crate::topics::{Change, Topic};
use crate::{agents, convert, fault, networks, ports, revise, schedule, standard, subnets};
use base::{Json, Result, id};
use ipnet::IpNet;
use oslo_db::{Cond, Tx, all, any, eq, is_in, set};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;

pub(crate) struct Routers;

impl Noun for Routers {
    type Row = RouterRow;
    const MEMBER: &'static str = "router";
    const PLURAL: &'static str = "routers";

    fn id(row: &RouterRow) -> &str {
        &row.id
    }

    fn revision(row: &RouterRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn visible(call: &Call) -> Cond {
        eq("project_id", call.ctx.project())
    }

    fn views(tx: &mut Tx, _: &Call, rows: Vec<RouterRow>) -> Result<Vec<View>> {
        let gateways = tx.select::<PortRow>(is_in(
            "id",
            rows.iter().filter_map(|r| r.gw_port_id.as_deref()),
        ))?;
        let networks: HashMap<&str, &str> = gateways
            .iter()
            .map(|p| (p.id.as_str(), p.network_id.as_str()))
            .collect();
        let ips = ports::addresses(tx, gateways.iter().map(|p| p.id.as_str()))?;
        let mut zones = agents::zones_of_routers(tx, rows.iter().map(|r| r.id.as_str()))?;
        let view = |row: &RouterRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            fields.put("name", json!(row.name));
            fields.put("admin_state_up", json!(row.admin_state_up));
            fields.put("status", json!(row.status));
            fields.put("routes", json!(row.routes.0));
            fields.put(
                "availability_zone_hints",
                json!(row.availability_zone_hints.0),
            );
            fields.put(
                "availability_zones",
                json!(zones.remove(&row.id).unwrap_or_default()),
            );
            let gateway = row.gw_port_id.as_ref().map(|port| {
                let fixed = ips.get(port).into_iter().flatten();
                let fixed: Vec<Value> = fixed.map(|a| json!({"subnet_id": a.subnet_id, "ip_address": a.ip_address})).collect();
                json!({
                    "network_id": networks.get(port.as_str()), "enable_snat": row.enable_snat, "external_fixed_ips": fixed,
                })
            });
            fields.put("external_gateway_info", json!(gateway));
            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<RouterRow> {
        agents::check_zones(tx, call, &body.list("availability_zone_hints"), "router")?;
        let mut row = RouterRow {
            id: id::new_id(),
            project_id: body.text("tenant_id"),
            name: body.text("name"),
            admin_state_up: body.flag("admin_state_up"),
            status: "ACTIVE".into(),
            gw_port_id: None,
            enable_snat: true,
            routes: Json::default(),
            availability_zone_hints: Json(body.typed("availability_zone_hints")?),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        if let Some(info) = body
            .get("external_gateway_info")
            .filter(|i| i.as_object().is_some_and(|o| !o.is_empty()))
        {
            set_gateway(tx, call, &mut row, info)?;
        }
        tx.insert(&row)?;
        schedule::l3(tx, call, &row.id)?;
        Ok(row)
    }

    fn update(tx: &mut Tx, call: &Call, mut row: RouterRow, changes: &Body) -> Result<RouterRow> {
        for (name, value) in changes {
            match name.as_str() {
                "name" => row.name = changes.text(name),
                "description" => row.description = changes.text(name),
                "admin_state_up" => row.admin_state_up = changes.flag(name),
                "external_gateway_info" => match value.as_object() {
                    Some(info) if !info.is_empty() => set_gateway(tx, call, &mut row, value)?,
                    _ => clear_gateway(tx, call, &mut row)?,
                },
                _ => {}
            }
        }
        if let Some(routes) = changes.get("routes") {
            row.routes = Json(routes_fit(
                tx,
                &row,
                serde_json::from_value(routes.clone())?,
            )?);
        }
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        schedule::l3(tx, call, &row.id)?;
        call.touch(Topic::Router(row.id.clone()));
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, mut row: RouterRow) -> Result<()> {
        if tx.exists::<PortRow>(all([
            eq("device_id", row.id.as_str()),
            eq("device_owner", ports::INTERFACE),
        ]))? {
            return Err(fault::conflict(
                "RouterInUse",
                format!("Router {} still has ports", row.id),
            ));
        }
        clear_gateway(tx, call, &mut row)?;
        for (_, host) in concerned::of_routers(tx, std::slice::from_ref(&row.id))? {
            call.touch(Topic::Host(host));
        }
        tx.delete::<L3BindingRow>(eq("router_id", row.id.as_str()))?;
        tx.delete::<RouterRow>(eq("id", row.id.as_str()))?;
        call.forget(Topic::Router(row.id));
        Ok(())
    }
}

/// Whether a router or floating address still owns this port.
pub(crate) fn owns(tx: &mut Tx, port: &PortRow) -> Result<bool> {
    if port.device_owner == ports::FLOATING {
        return tx.exists::<FloatingIpRow>(eq("floating_port_id", port.id.as_str()));
    }
    tx.exists::<RouterRow>(eq("id", port.device_id.as_str()))
}

fn gateway_port(tx: &mut Tx, row: &RouterRow) -> Result<Option<PortRow>> {
    match &row.gw_port_id {
        Some(id) => tx.find(eq("id", id.as_str())),
        None => Ok(None),
    }
}

fn set_gateway(tx: &mut Tx, call: &Call, row: &mut RouterRow, info: &Value) -> Result<()> {
    let network_id = info
        .get("network_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let network: NetworkRow = networks::get(tx, call, network_id)?;
    if !network.external {
        return Err(fault::bad(
            "router",
            format!("Network {} is not an external network", network.id),
        ));
    }
    row.enable_snat = match info.get("enable_snat").filter(|v| !v.is_null()) {
        Some(value) => convert::boolean(value)?,
        None => true,
    };
    let wants: Option<Vec<Want>> = match info
        .get("external_fixed_ips")
        .filter(|v| v.as_array().is_some_and(|a| !a.is_empty()))
    {
        Some(value) => Some(serde_json::from_value(value.clone())?),
        None => None,
    };
    let inside = inside_cidrs(tx, &row.id)?;
    for subnet in subnets::of_network(tx, &network.id)? {
        let theirs = ipam::cidr(&subnet)?;
        if let Some((own, id)) = inside.iter().find(|(own, _)| overlap(own, &theirs)) {
            let words = format!(
                "Cidr {theirs} of subnet {} overlaps with cidr {own} of subnet {id}",
                subnet.id
            );
            return Err(fault::bad("router", words));
        }
    }
    if let Some(old) = gateway_port(tx, row)? {
        if old.network_id == network.id {
            if let Some(wants) = wants {
                ports::readdress(tx, call, &old, wants)?;
                call.touch_port(&old, [], Change::ADDRESSES);
            }
            return Ok(());
        }
        clear_gateway(tx, call, row)?;
    }
    let mut body = json!({
        "network_id": network.id, "tenant_id": "", "device_owner": ports::GATEWAY, "device_id": row.id,
        "admin_state_up": true, "security_groups": [], "port_security_enabled": false,
    });
    if let Some(wants) = wants {
        let wants: Vec<Value> = wants.iter().map(want).collect();
        body["fixed_ips"] = Value::Array(wants);
    }
    row.gw_port_id = Some(ports::create_for(tx, call, body)?);
    Ok(())
}

pub(crate) fn want(want: &Want) -> Value {
    let mut value = json!({});
    if let Some(subnet) = &want.subnet_id {
        value["subnet_id"] = json!(subnet);
    }
    if let Some(ip) = &want.ip_address {
        value["ip_address"] = json!(ip);
    }
    value
}

fn clear_gateway(tx: &mut Tx, call: &Call, row: &mut RouterRow) -> Result<()> {
    let Some(port) = gateway_port(tx, row)? else {
        return Ok(());
    };
    let floating = all([
        eq("router_id", row.id.as_str()),
        eq("floating_network_id", port.network_id.as_str()),
    ]);
    if tx.exists::<FloatingIpRow>(floating)? {
        let words = format!(
            "Gateway cannot be updated for router {}, since a gateway to external network {} is required by one or more floating IPs.",
            row.id, port.network_id
        );
        return Err(fault::conflict(
            "RouterExternalGatewayInUseByFloatingIp",
            words,
        ));
    }
    ports::remove(tx, call, &port)?;
    row.gw_port_id = None;
    row.enable_snat = true;
    tx.update::<RouterRow>(
        eq("id", row.id.as_str()),
        &[set("gw_port_id", None::<&str>)],
    )
    .map(drop)
}

pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Networks that the router's legs inside are on: (cidr, subnet).
pub(crate) fn inside_cidrs(tx: &mut Tx, router: &str) -> Result<Vec<(IpNet, String)>> {
    cidrs(tx, eq("device_owner", ports::INTERFACE), router)
}

fn cidrs(tx: &mut Tx, owner: Cond, router: &str) -> Result<Vec<(IpNet, String)>> {
    let legs = tx.select::<PortRow>(all([eq("device_id", router), owner]))?;
    let held = ports::addresses(tx, legs.iter().map(|p| p.id.as_str()))?;
    let ids = held.values().flatten().map(|a| a.subnet_id.as_str());
    let rows = tx.select::<SubnetRow>(is_in("id", ids))?;
    rows.into_iter()
        .map(|s| Ok((ipam::cidr(&s)?, s.id)))
        .collect()
}

const MAX_ROUTES: usize = 30;

/// Next hops must be neighbours of the router, and not the router itself.
pub(crate) fn routes_fit(
    tx: &mut Tx,
    row: &RouterRow,
    routes: Vec<RouteRow>,
) -> Result<Vec<RouteRow>> {
    if routes.len() > MAX_ROUTES {
        let words = format!(
            "Unable to complete operation for {}. The number of routes exceeds the maximum {MAX_ROUTES}.",
            row.id
        );
        return Err(fault::refused("RoutesExhausted", words));
    }
    let reach = cidrs(
        tx,
        any([
            eq("device_owner", ports::INTERFACE),
            eq("device_owner", ports::GATEWAY),
        ]),
        &row.id,
    )?;
    let legs = tx.select::<PortRow>(all([
        eq("device_id", row.id.as_str()),
        oslo_db::prefix("device_owner", "network:router_"),
    ]))?;
    let held = ports::addresses(tx, legs.iter().map(|p| p.id.as_str()))?;
    for route in &routes {
        let invalid = |why: &str| {
            let shown = format!(
                "[{{'destination': '{}', 'nexthop': '{}'}}]",
                route.destination, route.nexthop
            );
            fault::refused(
                "InvalidRoutes",
                format!("Invalid format for routes: {shown}, {why}"),
            )
        };
        let hop: IpAddr = route
            .nexthop
            .parse()
            .map_err(|_| invalid("the nexthop is not an address"))?;
        if !reach.iter().any(|(net, _)| net.contains(&hop)) {
            return Err(invalid("the nexthop is not connected with router"));
        }
        if held
            .values()
            .flatten()
            .any(|a| a.ip_address == hop.to_string())
        {
            return Err(invalid("the nexthop is used by router"));
        }
    }
    Ok(routes)
}
