//! Floating addresses: an outside address that leads to a port inside.

use crate::db::{FloatingIpRow, PortRow};
use crate::interfaces::router_between;
use crate::ipam::Want;
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View};
use crate::topics::Topic;
use crate::{crud, fault, networks, ports, revise, routers, standard};
use base::{Error, Result, id};
use oslo_db::{Cond, Tx, all, eq, is_in, ne};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(crate) struct FloatingIps;

impl Noun for FloatingIps {
    type Row = FloatingIpRow;
    const MEMBER: &'static str = "floatingip";
    const PLURAL: &'static str = "floatingips";

    fn id(row: &FloatingIpRow) -> &str {
        &row.id
    }

    fn revision(row: &FloatingIpRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn visible(call: &Call) -> Cond {
        eq("project_id", call.ctx.project())
    }

    fn views(tx: &mut Tx, _: &Call, rows: Vec<FloatingIpRow>) -> Result<Vec<View>> {
        let inner = tx.select::<PortRow>(is_in(
            "id",
            rows.iter().filter_map(|r| r.port_id.as_deref()),
        ))?;
        let inner: HashMap<&str, &PortRow> = inner.iter().map(|p| (p.id.as_str(), p)).collect();
        let view = |row: &FloatingIpRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            fields.put("floating_network_id", json!(row.floating_network_id));
            fields.put("floating_ip_address", json!(row.floating_ip_address));
            fields.put("port_id", json!(row.port_id));
            fields.put("fixed_ip_address", json!(row.fixed_ip_address));
            fields.put("router_id", json!(row.router_id));
            fields.put("status", json!(row.status));
            fields.put("dns_name", json!(row.dns_name));
            fields.put("dns_domain", json!(row.dns_domain));
            let details = row.port_id.as_deref().and_then(|p| inner.get(p)).map(|p| {
                json!({
                    "name": p.name, "network_id": p.network_id, "mac_address": p.mac_address, "admin_state_up": p.admin_state_up,
                    "status": p.status, "device_id": p.device_id, "device_owner": p.device_owner,
                })
            });
            fields.put("port_details", json!(details));
            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<FloatingIpRow> {
        let network = networks::get(tx, call, &body.text("floating_network_id"))?;
        if !network.external {
            return Err(fault::bad(
                "floatingip",
                format!("Network {} is not a valid external network", network.id),
            ));
        }
        let id = id::new_id();
        let wanted = Want {
            subnet_id: body.maybe_text("subnet_id"),
            ip_address: body.maybe_text("floating_ip_address"),
        };
        let mut port = json!({
            "network_id": network.id, "tenant_id": "", "device_owner": ports::FLOATING, "device_id": id,
            "security_groups": [], "port_security_enabled": false,
        });
        if wanted.subnet_id.is_some() || wanted.ip_address.is_some() {
            port["fixed_ips"] = json!([routers::want(&wanted)]);
        }
        let floating_port_id = ports::create_for(tx, call, port)?;
        let held = ports::addresses(tx, std::iter::once(floating_port_id.as_str()))?
            .remove(&floating_port_id)
            .unwrap_or_default();
        let Some(outer) = held.into_iter().find(|a| !a.ip_address.contains(':')) else {
            let words = format!(
                "Unable to find any IP address on external network {}.",
                network.id
            );
            return Err(fault::refused("ExternalIpAddressExhausted", words));
        };
        let mut row = FloatingIpRow {
            id: id.clone(),
            project_id: body.text("tenant_id"),
            floating_network_id: network.id,
            floating_port_id,
            floating_ip_address: outer.ip_address,
            port_id: None,
            fixed_ip_address: None,
            router_id: None,
            status: "DOWN".into(),
            dns_name: body.text("dns_name"),
            dns_domain: body.text("dns_domain"),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        associate(tx, call, &mut row, body)?;
        call.readdress(tx, row.port_id.as_deref())?;
        tx.insert(&row)?;
        touch(call, &row);
        Ok(row)
    }

    fn update(
        tx: &mut Tx,
        call: &Call,
        mut row: FloatingIpRow,
        changes: &Body,
    ) -> Result<FloatingIpRow> {
        touch(call, &row);
        if changes.contains_key("description") {
            row.description = changes.text("description");
        }
        if changes.contains_key("port_id") || changes.contains_key("fixed_ip_address") {
            let mut wanted = changes.clone();
            if !wanted.contains_key("port_id") {
                wanted.insert("port_id".into(), json!(row.port_id));
            }
            call.readdress(tx, row.port_id.as_deref())?;
            associate(tx, call, &mut row, &wanted)?;
            call.readdress(tx, row.port_id.as_deref())?;
        }
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        touch(call, &row);
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: FloatingIpRow) -> Result<()> {
        call.readdress(tx, row.port_id.as_deref())?;
        tx.delete::<FloatingIpRow>(eq("id", row.id.as_str()))?;
        if let Some(port) = tx.find::<PortRow>(eq("id", row.floating_port_id.as_str()))? {
            ports::remove(tx, call, &port)?;
        }
        touch(call, &row);
        Ok(())
    }
}

/// The router that has it in place, if any, must hear of it.
fn touch(call: &Call, row: &FloatingIpRow) {
    if let Some(router) = &row.router_id {
        call.touch(Topic::Router(router.clone()));
    }
}

/// Addresses that led to what is gone now lead nowhere.
pub(crate) fn release(tx: &mut Tx, call: &Call, cond: Cond) -> Result<u64> {
    let rows = tx.select::<FloatingIpRow>(cond)?;
    let count = rows.len() as u64;
    for mut row in rows {
        touch(call, &row);
        (row.port_id, row.fixed_ip_address, row.router_id) = (None, None, None);
        row.status = "DOWN".into();
        revise!(row, call);
        crate::noun::save(tx, &row)?;
    }
    Ok(count)
}

/// Leads the address to what `body` names: a port, or nothing.
fn associate(tx: &mut Tx, call: &Call, row: &mut FloatingIpRow, body: &Body) -> Result<()> {
    let Some(port_id) = body.get("port_id").and_then(Value::as_str) else {
        if body.get("fixed_ip_address").is_some_and(|v| !v.is_null()) {
            return Err(fault::bad(
                "floatingip",
                "fixed_ip_address cannot be specified without a port_id",
            ));
        }
        (row.port_id, row.fixed_ip_address, row.router_id) = (None, None, None);
        row.status = "DOWN".into();
        return Ok(());
    };
    // It stays until the address leads to it.
    let (port, _) = crud::lean::<ports::Ports>(tx, call, port_id)?;
    if !call.ctx.is_admin && port.project_id != row.project_id {
        let words = format!(
            "Port {port_id} is associated with a different tenant than Floating IP {} and therefore cannot be bound.",
            row.id
        );
        return Err(fault::bad("floatingip", words.trim_end_matches('.')));
    }
    let held = ports::addresses(tx, std::iter::once(port_id))?
        .remove(port_id)
        .unwrap_or_default();
    let inner: Vec<_> = held
        .into_iter()
        .filter(|a| !a.ip_address.contains(':'))
        .collect();
    let chosen = match body.maybe_text("fixed_ip_address") {
        Some(ip) => inner
            .into_iter()
            .find(|a| a.ip_address == ip)
            .ok_or_else(|| {
                fault::bad(
                    "floatingip",
                    format!("Port {port_id} does not have fixed ip {ip}"),
                )
            })?,
        None => match inner.len() {
            0 => {
                return Err(fault::bad(
                    "floatingip",
                    format!(
                        "Cannot add floating IP to port {port_id} that has no fixed IPv4 addresses"
                    ),
                ));
            }
            1 => inner
                .into_iter()
                .next()
                .ok_or_else(|| Error::internal("one address is none"))?,
            _ => {
                let words = format!(
                    "Port {port_id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP"
                );
                return Err(fault::bad("floatingip", words));
            }
        },
    };
    let taken = all([
        eq("floating_network_id", row.floating_network_id.as_str()),
        eq("port_id", port_id),
        eq("fixed_ip_address", chosen.ip_address.as_str()),
        ne("id", row.id.as_str()),
    ]);
    if tx.exists::<FloatingIpRow>(taken)? {
        let words = format!(
            "Cannot associate floating IP {} ({}) with port {port_id} using fixed IP {}, as that fixed IP already has a floating IP on external network {}.",
            row.floating_ip_address, row.id, chosen.ip_address, row.floating_network_id
        );
        return Err(fault::conflict("FloatingIPPortAlreadyAssociated", words));
    }
    let router = router_between(tx, &row.floating_network_id, &chosen.subnet_id)?.ok_or_else(|| {
        let words = format!(
            "External network {} is not reachable from subnet {}.  Therefore, cannot associate Port {port_id} with a Floating IP.",
            row.floating_network_id, chosen.subnet_id
        );
        Error::not_found(words).class("ExternalGatewayForFloatingIPNotFound")
    })?;
    let moved =
        row.port_id.as_deref() != Some(port_id) || row.router_id.as_deref() != Some(&router.id);
    row.port_id = Some(port_id.to_string());
    row.fixed_ip_address = Some(chosen.ip_address);
    row.router_id = Some(router.id);
    if moved {
        // COMPAT: an address is ACTIVE when its router has it in place; until the agent says so it is DOWN.
        row.status = "DOWN".into();
    }
    Ok(())
}
