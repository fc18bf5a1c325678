//! Actions on routers: legs inside, and static routes one by one.

use crate::db::{
    AllocationRow, FloatingIpRow, NetworkRow, PortRow, RouteRow, RouterRow, SubnetRow, held,
};
use crate::ipam;
use crate::noun::{Body, Call, within};
use crate::routers::{Routers, inside_cidrs, overlap, routes_fit};
use crate::subnets::Subnets;
use crate::topics::{Change, Topic};
use crate::{Neutron, crud, fault, ports, schedule};
use base::{Error, Json, Result};
use ipnet::IpNet;
use oslo_db::{Tx, all, eq, ne};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The router of the path, if `rule` lets the caller change it. Nobody else does before the transaction ends: legs, routes
/// and floating addresses lean on each other.
fn router(tx: &mut Tx, call: &Call, id: &str, rule: &str) -> Result<RouterRow> {
    let (row, view) = crud::take::<Routers>(tx, call, id)?;
    if call.policy.check(rule, &call.ctx, &view) {
        Ok(row)
    } else {
        Err(fault::denied(rule))
    }
}

fn text(body: &Body, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_str).map(str::to_string)
}

fn request(req: &Req) -> Result<Body> {
    let body = req.json.as_ref().and_then(Value::as_object).cloned();
    body.ok_or_else(|| fault::bad("router", "Body required"))
}

pub(crate) async fn add(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let body = request(&req)?;
    let id = req.param("id").to_string();
    let done = neutron
        .change(&call, move |tx, call| {
            let router = router(tx, call, &id, "add_router_interface")?;
            match (text(&body, "port_id"), text(&body, "subnet_id")) {
                (Some(_), Some(_)) => Err(fault::bad(
                    "router",
                    "Cannot specify both subnet-id and port-id",
                )),
                (Some(port), None) => add_port(tx, call, &router, &port),
                (None, Some(subnet)) => add_subnet(tx, call, &router, &subnet),
                (None, None) => Err(fault::bad(
                    "router",
                    "Either subnet_id or port_id must be specified",
                )),
            }
        })
        .await?;
    Reply::ok(&done)
}

/// A router may not lead to overlapping networks.
fn no_overlap(tx: &mut Tx, router: &RouterRow, subnet: &SubnetRow) -> Result<()> {
    let net = ipam::cidr(subnet)?;
    for (own, id) in inside_cidrs(tx, &router.id)? {
        if id == subnet.id {
            return Err(fault::bad(
                "router",
                format!("Router already has a port on subnet {}", subnet.id),
            ));
        }
        if overlap(&own, &net) {
            return Err(fault::bad(
                "router",
                format!(
                    "Cidr {net} of subnet {} overlaps with cidr {own} of subnet {id}",
                    subnet.id
                ),
            ));
        }
    }
    Ok(())
}

fn reply(router: &RouterRow, port: &PortRow, subnets: &[String]) -> Value {
    json!({
        "id": router.id, "tenant_id": port.project_id, "project_id": port.project_id, "port_id": port.id,
        "network_id": port.network_id, "subnet_id": subnets.first(), "subnet_ids": subnets,
    })
}

fn add_port(tx: &mut Tx, call: &Call, router: &RouterRow, id: &str) -> Result<Value> {
    let (mut port, _) = crud::take::<ports::Ports>(tx, call, id)?;
    if !port.device_id.is_empty() {
        let words = format!(
            "Unable to complete operation on port {} for network {}. Port already has an attached device {}.",
            port.id, port.network_id, port.device_id
        );
        return Err(fault::conflict("PortInUse", words));
    }
    let held = tx.select::<AllocationRow>(eq("port_id", id))?;
    if held.is_empty() {
        return Err(fault::bad(
            "router",
            "Router port must have at least one fixed IP",
        ));
    }
    let mut ids = Vec::new();
    for address in &held {
        if let Some(subnet) = tx.find::<SubnetRow>(eq("id", address.subnet_id.as_str()))? {
            if subnet.ip_version == 4
                && ids.len() == 1
                && held.iter().filter(|a| !a.ip_address.contains(':')).count() > 1
            {
                return Err(fault::bad(
                    "router",
                    "Cannot have multiple IPv4 subnets on router port",
                ));
            }
            no_overlap(tx, router, &subnet)?;
            ids.push(subnet.id);
        }
    }
    let groups = ports::groups(tx, id)?;
    call.touch_port(&port, &groups, Change::ADDRESSES);
    port.device_id = router.id.clone();
    port.device_owner = ports::INTERFACE.into();
    port.port_security_enabled = false;
    port.status = "DOWN".into();
    crate::revise!(port, call);
    tx.delete::<crate::db::PortGroupRow>(eq("port_id", id))?;
    crate::noun::save(tx, &port)?;
    call.touch_port(&port, [], Change::ADDRESSES);
    schedule::l3(tx, call, &router.id)?;
    Ok(reply(router, &port, &ids))
}

fn add_subnet(tx: &mut Tx, call: &Call, router: &RouterRow, id: &str) -> Result<Value> {
    let (subnet, view) = crud::load::<Subnets>(tx, call, id)?;
    // From here on the subnet stays as it is.
    tx.find_for_update::<NetworkRow>(eq("id", subnet.network_id.as_str()))?;
    let subnet: SubnetRow = tx
        .find(eq("id", id))?
        .ok_or_else(|| fault::not_found("subnet", id))?;
    let Some(gateway) = &subnet.gateway_ip else {
        return Err(fault::bad(
            "router",
            "Subnet for router interface must have a gateway IP",
        ));
    };
    // Using another project's network needs the right to have a port there.
    if !call.policy.check("create_port", &call.ctx, &view) {
        return Err(fault::not_found("subnet", id));
    }
    no_overlap(tx, router, &subnet)?;
    if subnet.ip_version == 6
        && let Some(port) = v6_leg(tx, router, &subnet.network_id)?
    {
        return join(tx, call, router, port, &subnet, gateway);
    }
    let body = json!({
        "network_id": subnet.network_id, "tenant_id": router.project_id, "device_owner": ports::INTERFACE, "device_id": router.id,
        "fixed_ips": [{"subnet_id": subnet.id, "ip_address": gateway}], "security_groups": [], "port_security_enabled": false,
    });
    crate::quota::reserve(tx, call, &router.project_id, "port")?;
    let created = ports::create_for(tx, call, body)?;
    schedule::l3(tx, call, &router.id)?;
    schedule::dhcp(tx, call, &subnet.network_id)?;
    let port: PortRow = tx
        .find(eq("id", created))?
        .ok_or_else(|| Error::internal("the new port is gone"))?;
    Ok(reply(router, &port, std::slice::from_ref(&subnet.id)))
}

/// IPv6 subnets of a network share one leg.
fn v6_leg(tx: &mut Tx, router: &RouterRow, network: &str) -> Result<Option<PortRow>> {
    let legs = all([
        eq("device_id", router.id.as_str()),
        eq("network_id", network),
        eq("device_owner", ports::INTERFACE),
    ]);
    for leg in tx.select::<PortRow>(legs)? {
        let held = tx.select::<AllocationRow>(eq("port_id", leg.id.as_str()))?;
        if held.iter().all(|a| a.ip_address.contains(':')) {
            return Ok(Some(leg));
        }
    }
    Ok(None)
}

fn join(
    tx: &mut Tx,
    call: &Call,
    router: &RouterRow,
    port: PortRow,
    subnet: &SubnetRow,
    gateway: &str,
) -> Result<Value> {
    crate::networks::lean(tx, call, &port.network_id)?;
    let position = tx.count::<AllocationRow>(eq("port_id", port.id.as_str()))? as i64;
    let owner = ipam::Owner {
        network_id: &port.network_id,
        port_id: &port.id,
        mac: &port.mac_address,
        router: true,
    };
    let want = ipam::Want {
        subnet_id: Some(subnet.id.clone()),
        ip_address: Some(gateway.to_string()),
    };
    ipam::allocate(
        tx,
        &owner,
        std::slice::from_ref(subnet),
        Some(&[want]),
        position,
    )?;
    call.touch_port(&port, [], Change::ADDRESSES);
    Ok(reply(router, &port, std::slice::from_ref(&subnet.id)))
}

pub(crate) async fn remove(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let body = request(&req)?;
    let id = req.param("id").to_string();
    let done = neutron
        .change(&call, move |tx, call| {
            let router = router(tx, call, &id, "remove_router_interface")?;
            let (port, subnet) = (text(&body, "port_id"), text(&body, "subnet_id"));
            let found = match (&port, &subnet) {
                (None, None) => {
                    return Err(fault::bad(
                        "router",
                        "Either subnet_id or port_id must be specified",
                    ));
                }
                (Some(port), _) => {
                    let leg = all([
                        eq("id", port.as_str()),
                        eq("device_id", router.id.as_str()),
                        eq("device_owner", ports::INTERFACE),
                    ]);
                    tx.find::<PortRow>(leg)?.ok_or_else(|| {
                        let words = format!(
                            "Router {} does not have an interface with id {port}",
                            router.id
                        );
                        Error::not_found(words).class("RouterInterfaceNotFound")
                    })?
                }
                (None, Some(subnet)) => leg_on(tx, &router, subnet)?,
            };
            let held = tx.select::<AllocationRow>(eq("port_id", found.id.as_str()))?;
            if let Some(subnet) = &subnet
                && !held.iter().any(|a| a.subnet_id == *subnet)
            {
                let words = format!(
                    "Subnet {subnet} on port {} does not match requested subnet",
                    found.id
                );
                return Err(fault::refused("SubnetMismatchForPort", words));
            }
            take_away(
                tx,
                call,
                &router,
                &found,
                &held,
                if port.is_some() {
                    None
                } else {
                    subnet.as_deref()
                },
            )
        })
        .await?;
    Reply::ok(&done)
}

fn leg_on(tx: &mut Tx, router: &RouterRow, subnet: &str) -> Result<PortRow> {
    let here = within::<AllocationRow>("id", "port_id", eq("subnet_id", subnet));
    let leg = all([
        eq("device_id", router.id.as_str()),
        eq("device_owner", ports::INTERFACE),
        here,
    ]);
    tx.find::<PortRow>(leg)?.ok_or_else(|| {
        let words = format!("Router {} has no interface on subnet {subnet}", router.id);
        Error::not_found(words).class("RouterInterfaceNotFoundForSubnet")
    })
}

fn take_away(
    tx: &mut Tx,
    call: &Call,
    router: &RouterRow,
    port: &PortRow,
    held: &[AllocationRow],
    only: Option<&str>,
) -> Result<Value> {
    let ids: Vec<String> = held
        .iter()
        .map(|a| a.subnet_id.clone())
        .filter(|s| only.is_none_or(|o| o == s))
        .collect();
    for id in &ids {
        let Some(subnet) = tx.find::<SubnetRow>(eq("id", id.as_str()))? else {
            continue;
        };
        needed(tx, router, &subnet)?;
    }
    if ids.len() < held.len() {
        // The leg stays for its other subnets.
        for id in &ids {
            tx.delete::<AllocationRow>(all([
                eq("port_id", port.id.as_str()),
                eq("subnet_id", id.as_str()),
            ]))?;
        }
        call.touch_port(port, [], Change::ADDRESSES);
    } else {
        ports::remove(tx, call, port)?;
    }
    Ok(reply(router, port, &ids))
}

/// Floating addresses and routes that lead over a leg keep it.
fn needed(tx: &mut Tx, router: &RouterRow, subnet: &SubnetRow) -> Result<()> {
    let net: IpNet = ipam::cidr(subnet)?;
    let inside = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| net.contains(&ip));
    for floating in tx.select::<FloatingIpRow>(eq("router_id", router.id.as_str()))? {
        if floating.fixed_ip_address.as_deref().is_some_and(inside) {
            let words = format!(
                "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more floating IPs.",
                subnet.id, router.id
            );
            return Err(fault::conflict("RouterInterfaceInUseByFloatingIP", words));
        }
    }
    if router.routes.0.iter().any(|r| inside(&r.nexthop)) {
        let words = format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more routes.",
            subnet.id, router.id
        );
        return Err(fault::conflict("RouterInterfaceInUseByRoute", words));
    }
    Ok(())
}

async fn edit_routes(
    neutron: Arc<Neutron>,
    req: Req,
    rule: &'static str,
    edit: fn(&mut Vec<RouteRow>, &[RouteRow]),
) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let sent = request(&req)?
        .get("router")
        .and_then(|r| r.get("routes"))
        .cloned();
    let sent =
        sent.ok_or_else(|| fault::bad("router", "Unable to find 'routes' in request body"))?;
    crate::validate::check("type:hostroutes", &sent, &Value::Null)
        .map_err(|why| Error::bad_request(format!("Invalid input for routes. Reason: {why}.")))?;
    let sent: Vec<RouteRow> = serde_json::from_value(sent)?;
    let id = req.param("id").to_string();
    let view = neutron
        .change(&call, move |tx, call| {
            let mut row = router(tx, call, &id, rule)?;
            let mut routes = row.routes.0.clone();
            edit(&mut routes, &sent);
            row.routes = Json(routes_fit(tx, &row, routes)?);
            crate::revise!(row, call);
            crate::noun::save(tx, &row)?;
            call.touch(Topic::Router(row.id.clone()));
            Ok(crud::views::<Routers>(tx, call, vec![row])?.pop())
        })
        .await?;
    let view = view.ok_or_else(|| Error::internal("no view of a router"))?;
    Reply::ok(&json!({"router": crud::Shown::new::<Routers>(&call, Vec::new())?.show(view)}))
}

pub(crate) async fn add_routes(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    edit_routes(neutron, req, "add_extraroutes", |routes, sent| {
        for route in sent {
            if !routes.contains(route) {
                routes.push(route.clone());
            }
        }
    })
    .await
}

pub(crate) async fn remove_routes(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    edit_routes(neutron, req, "remove_extraroutes", |routes, sent| {
        routes.retain(|r| !sent.contains(r))
    })
    .await
}

/// Finds the router through which a fixed address reaches an external network. It does so until the transaction ends.
pub(crate) fn router_between(
    tx: &mut Tx,
    external: &str,
    subnet: &str,
) -> Result<Option<RouterRow>> {
    let here = within::<AllocationRow>("id", "port_id", eq("subnet_id", subnet));
    for leg in tx.select::<PortRow>(all([
        eq("device_owner", ports::INTERFACE),
        ne("device_id", ""),
        here,
    ]))? {
        // Held, and then looked at again: the leg may have gone before.
        let router = eq("id", leg.device_id.as_str());
        let Some(router) = held::find::<RouterRow>(tx, router)? else {
            continue;
        };
        let here = within::<AllocationRow>("id", "port_id", eq("subnet_id", subnet));
        let leg = all([
            eq("id", leg.id.as_str()),
            eq("device_id", router.id.as_str()),
            here,
        ]);
        if !tx.exists::<PortRow>(leg)? {
            continue;
        }
        let Some(gateway) = &router.gw_port_id else {
            continue;
        };
        if tx.exists::<PortRow>(all([
            eq("id", gateway.as_str()),
            eq("network_id", external),
        ]))? {
            return Ok(Some(router));
        }
    }
    Ok(None)
}
