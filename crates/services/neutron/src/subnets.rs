//! Subnets: which addresses a network has, and what its hosts are told.

use crate::db::{AllocationRow, NetworkRow, Pool, PortRow, RbacRow, RouteRow, SubnetRow};
use crate::ipam::{self, Owner};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View, within};
use crate::topics::{Change, Topic};
use crate::{fault, networks, ports, revise, schedule, standard};
use base::{Json, Result, id};
use ipnet::IpNet;
use oslo_db::{Cond, Tx, all, any, eq, is_in, ne, not};
use serde_json::{Value, json};
use std::net::IpAddr;

pub(crate) struct Subnets;

impl Noun for Subnets {
    type Row = SubnetRow;
    const MEMBER: &'static str = "subnet";
    const PLURAL: &'static str = "subnets";

    fn id(row: &SubnetRow) -> &str {
        &row.id
    }

    fn revision(row: &SubnetRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn visible(call: &Call) -> Cond {
        any([
            eq("project_id", call.ctx.project()),
            within::<NetworkRow>("network_id", "id", networks::visible(call)),
        ])
    }

    fn filter(call: &Call, attribute: &str, values: &[String]) -> Result<Option<Cond>> {
        match attribute {
            "shared" => {
                let mut ways = Vec::new();
                for value in values {
                    let targets = is_in("target_project", ["*", call.ctx.project()]);
                    let shared = within::<RbacRow>(
                        "network_id",
                        "object_id",
                        all([eq("action", networks::SHARED), targets]),
                    );
                    ways.push(if crate::convert::boolean(&json!(value))? {
                        shared
                    } else {
                        not(shared)
                    });
                }
                Ok(Some(any(ways)))
            }
            "router:external" => {
                let mut ways = Vec::new();
                for value in values {
                    let external = crate::convert::boolean(&json!(value))?;
                    ways.push(within::<NetworkRow>(
                        "network_id",
                        "id",
                        eq("external", external),
                    ));
                }
                Ok(Some(any(ways)))
            }
            // No subnet comes from a pool.
            "subnetpool_id" => Ok(Some(if values.iter().any(String::is_empty) {
                oslo_db::everything()
            } else {
                oslo_db::nothing()
            })),
            _ => Ok(None),
        }
    }

    fn views(tx: &mut Tx, call: &Call, rows: Vec<SubnetRow>) -> Result<Vec<View>> {
        let parents = networks::parents(tx, call, rows.iter().map(|r| r.network_id.as_str()))?;
        let view = |row: &SubnetRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            fields.put("name", json!(row.name));
            fields.put("network_id", json!(row.network_id));
            fields.put("ip_version", json!(row.ip_version));
            fields.put("cidr", json!(row.cidr));
            fields.put("gateway_ip", json!(row.gateway_ip));
            fields.put("enable_dhcp", json!(row.enable_dhcp));
            fields.put("ipv6_ra_mode", json!(row.ipv6_ra_mode));
            fields.put("ipv6_address_mode", json!(row.ipv6_address_mode));
            fields.put("allocation_pools", json!(row.allocation_pools.0));
            fields.put("dns_nameservers", json!(row.dns_nameservers.0));
            fields.put("host_routes", json!(row.host_routes.0));
            fields.put("subnetpool_id", Value::Null);
            let parent = parents.get(&row.network_id).cloned().unwrap_or_default();
            let external = parent
                .get("router:external")
                .cloned()
                .unwrap_or(json!(false));
            fields.put("router:external", external);
            View { fields, parent }
        };
        Ok(rows.iter().map(view).collect())
    }

    /// Two subnets of a network are made one after the other, or they could overlap.
    fn parent(tx: &mut Tx, call: &Call, body: &Body) -> Result<Body> {
        let network = networks::alone(tx, call, &body.text("network_id"))?;
        networks::parent_of(tx, call, &network)
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<SubnetRow> {
        let network = networks::lean(tx, call, &body.text("network_id"))?;
        if let Some(pool) = body.maybe_text("subnetpool_id") {
            let words = format!("Subnet pool {pool} could not be found.");
            return Err(base::Error::not_found(words).class("SubnetPoolNotFound"));
        }
        let Some(text) = body.maybe_text("cidr") else {
            return Err(fault::bad(
                "subnets",
                "a subnetpool must be specified in the absence of a cidr",
            ));
        };
        let net: IpNet = text
            .parse()
            .map_err(|_| fault::invalid_input(format!("'{text}' is not a valid IP subnet")))?;
        let version = body.int("ip_version").unwrap_or(4);
        of_version(version, net.addr(), "cidr")?;
        modes(body, &net, version)?;
        let enable_dhcp = body.flag("enable_dhcp");
        if enable_dhcp
            && (matches!(net, IpNet::V4(n) if n.prefix_len() > 30)
                || matches!(net, IpNet::V6(n) if n.prefix_len() > 126))
        {
            return Err(fault::invalid_input(
                "Subnet has a prefix length that is incompatible with DHCP service enabled",
            ));
        }
        if enable_dhcp && (net.addr().is_multicast() || net.addr().is_loopback()) {
            let kind = if net.addr().is_multicast() {
                "Multicast"
            } else {
                "Loopback"
            };
            return Err(fault::invalid_input(format!(
                "{kind} IP subnet is not supported if enable_dhcp is True"
            )));
        }
        for other in tx.select::<SubnetRow>(eq("network_id", network.id.as_str()))? {
            let theirs = ipam::cidr(&other)?;
            if theirs.contains(&net) || net.contains(&theirs) {
                let words = format!(
                    "Requested subnet with cidr: {net} for network: {} overlaps with another subnet",
                    network.id
                );
                return Err(fault::invalid_input(words));
            }
        }
        let gateway: Option<IpAddr> = match body.get("gateway_ip") {
            None if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            None => Some(ipam::address(ipam::hosts(&net).0, version == 6)),
            Some(value) => value.as_str().and_then(|t| t.parse().ok()),
        };
        if let Some(ip) = gateway {
            gateway_fits(&net, ip, version)?;
        }
        let pools = match body.get("allocation_pools") {
            None => ipam::default_pools(&net, gateway),
            Some(_) => pools_fit(&net, version, body.typed("allocation_pools")?)?,
        };
        gateway_outside(gateway, &pools)?;
        let row = SubnetRow {
            id: id::new_id(),
            project_id: body.text("tenant_id"),
            network_id: network.id.clone(),
            name: body.text("name"),
            ip_version: version,
            cidr: net.to_string(),
            gateway_ip: gateway.map(|g| g.to_string()),
            enable_dhcp,
            ipv6_ra_mode: body.maybe_text("ipv6_ra_mode"),
            ipv6_address_mode: body.maybe_text("ipv6_address_mode"),
            allocation_pools: Json(pools),
            dns_nameservers: Json(nameservers(body, version)?),
            host_routes: Json(host_routes(body, version)?),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        tx.insert(&row)?;
        if ipam::is_auto(&row) {
            add_to_hosts(tx, call, &row)?;
        }
        schedule::dhcp(tx, call, &network.id)?;
        call.touch(Topic::Network(network.id));
        Ok(row)
    }

    fn update(tx: &mut Tx, call: &Call, mut row: SubnetRow, changes: &Body) -> Result<SubnetRow> {
        // A router's leg takes the gateway's address before this, or after it.
        tx.find_for_update::<NetworkRow>(eq("id", row.network_id.as_str()))?;
        let net = ipam::cidr(&row)?;
        for name in changes.keys() {
            match name.as_str() {
                "name" => row.name = changes.text(name),
                "description" => row.description = changes.text(name),
                "enable_dhcp" => {
                    row.enable_dhcp = changes.flag(name);
                    if !row.enable_dhcp
                        && (row.ipv6_ra_mode.is_some() || row.ipv6_address_mode.is_some())
                    {
                        let words = "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False";
                        return Err(fault::invalid_input(words));
                    }
                }
                "dns_nameservers" => {
                    row.dns_nameservers = Json(nameservers(changes, row.ip_version)?)
                }
                "host_routes" => row.host_routes = Json(host_routes(changes, row.ip_version)?),
                "allocation_pools" => {
                    row.allocation_pools =
                        Json(pools_fit(&net, row.ip_version, changes.typed(name)?)?);
                }
                "gateway_ip" => {
                    let wanted: Option<IpAddr> =
                        changes.maybe_text(name).and_then(|t| t.parse().ok());
                    let wanted_text = wanted.map(|w| w.to_string());
                    if row.gateway_ip != wanted_text {
                        gateway_unused(tx, &row)?;
                    }
                    if let Some(ip) = wanted {
                        gateway_fits(&net, ip, row.ip_version)?;
                    }
                    row.gateway_ip = wanted_text;
                }
                _ => {}
            }
        }
        gateway_outside(
            row.gateway_ip.as_deref().and_then(|g| g.parse().ok()),
            &row.allocation_pools.0,
        )?;
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        schedule::dhcp(tx, call, &row.network_id)?;
        call.touch(Topic::Network(row.network_id.clone()));
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: SubnetRow) -> Result<()> {
        // Nobody takes an address of it from here on.
        tx.find_for_update::<NetworkRow>(eq("id", row.network_id.as_str()))?;
        let held = tx.select::<AllocationRow>(eq("subnet_id", row.id.as_str()))?;
        let ports = tx.select::<PortRow>(is_in("id", held.iter().map(|a| a.port_id.as_str())))?;
        let auto = ipam::is_auto(&row);
        let blocking = |p: &&PortRow| {
            p.device_owner != "network:dhcp"
                && (!auto || p.device_owner == "network:router_interface")
        };
        if ports.iter().any(|p| blocking(&p)) {
            return Err(fault::subnet_in_use(
                &row.id,
                "One or more ports have an IP allocation from this subnet",
            ));
        }
        tx.delete::<AllocationRow>(eq("subnet_id", row.id.as_str()))?;
        touch_hosts(tx, call, &ports)?;
        tx.delete::<SubnetRow>(eq("id", row.id.as_str()))?;
        schedule::dhcp(tx, call, &row.network_id)?;
        call.touch(Topic::Network(row.network_id));
        Ok(())
    }
}

/// The subnets of a network, oldest first.
pub(crate) fn of_network(tx: &mut Tx, network: &str) -> Result<Vec<SubnetRow>> {
    tx.select_sorted::<SubnetRow>(
        eq("network_id", network),
        &[("created_at", base::Dir::Asc), ("id", base::Dir::Asc)],
        None,
    )
}

fn of_version(version: i64, ip: IpAddr, name: &str) -> Result<()> {
    if (version == 6) == ip.is_ipv6() {
        return Ok(());
    }
    Err(fault::invalid_input(format!(
        "{name} '{ip}' does not match the ip_version '{version}'"
    )))
}

fn modes(body: &Body, net: &IpNet, version: i64) -> Result<()> {
    let (ra, address) = (
        body.maybe_text("ipv6_ra_mode"),
        body.maybe_text("ipv6_address_mode"),
    );
    if ra.is_none() && address.is_none() {
        return Ok(());
    }
    if version != 6 {
        let name = if ra.is_some() {
            "ipv6_ra_mode"
        } else {
            "ipv6_address_mode"
        };
        return Err(fault::invalid_input(format!(
            "{name} is not valid when ip_version is 4"
        )));
    }
    if !body.flag("enable_dhcp") {
        return Err(fault::invalid_input(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False",
        ));
    }
    if let (Some(ra), Some(address)) = (&ra, &address)
        && ra != address
    {
        let words = format!(
            "ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. If both attributes are set, they must be the same value"
        );
        return Err(fault::invalid_input(words));
    }
    let auto = [&ra, &address]
        .into_iter()
        .flatten()
        .any(|m| m != "dhcpv6-stateful");
    if auto && net.prefix_len() != 64 {
        let words = format!(
            "Invalid CIDR {net} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64"
        );
        return Err(fault::invalid_input(words));
    }
    Ok(())
}

fn gateway_fits(net: &IpNet, ip: IpAddr, version: i64) -> Result<()> {
    of_version(version, ip, "gateway_ip")?;
    let (low, high) = ipam::hosts(net);
    let v6_network = ip.is_ipv6() && ip == net.network();
    if net.contains(&ip) && !v6_network && !(low..=high).contains(&ipam::number(ip)) {
        return Err(fault::invalid_input("Gateway is not valid on subnet"));
    }
    Ok(())
}

fn gateway_outside(gateway: Option<IpAddr>, pools: &[Pool]) -> Result<()> {
    let Some(ip) = gateway else { return Ok(()) };
    for (pool, (low, high)) in pools.iter().zip(ipam::pool_numbers(pools)) {
        let same_version = pool.start.contains(':') == ip.is_ipv6();
        if same_version && (low..=high).contains(&ipam::number(ip)) {
            let words = format!(
                "Gateway ip {ip} conflicts with allocation pool {}-{}.",
                pool.start, pool.end
            );
            return Err(fault::conflict("GatewayConflictWithAllocationPools", words));
        }
    }
    Ok(())
}

fn gateway_unused(tx: &mut Tx, row: &SubnetRow) -> Result<()> {
    let Some(gateway) = &row.gateway_ip else {
        return Ok(());
    };
    let held = all([
        eq("subnet_id", row.id.as_str()),
        eq("ip_address", gateway.as_str()),
    ]);
    let Some(held) = tx.find::<AllocationRow>(held)? else {
        return Ok(());
    };
    let router = all([
        eq("id", held.port_id.as_str()),
        eq("device_owner", "network:router_interface"),
    ]);
    if tx.exists::<PortRow>(router)? {
        let words = format!(
            "Current gateway ip {gateway} already in use by port {}. Unable to update.",
            held.port_id
        );
        return Err(fault::conflict("GatewayIpInUse", words));
    }
    Ok(())
}

fn pools_fit(net: &IpNet, version: i64, pools: Vec<Pool>) -> Result<Vec<Pool>> {
    let mut fitting: Vec<(u128, u128, Pool)> = Vec::new();
    let (low, high) = ipam::hosts(net);
    for pool in pools {
        let invalid = || {
            fault::refused(
                "InvalidAllocationPool",
                format!(
                    "The allocation pool {}-{} is not valid.",
                    pool.start, pool.end
                ),
            )
        };
        let start: IpAddr = pool.start.parse().map_err(|_| invalid())?;
        let end: IpAddr = pool.end.parse().map_err(|_| invalid())?;
        let right_version = start.is_ipv6() == (version == 6) && end.is_ipv6() == (version == 6);
        let (a, b) = (ipam::number(start), ipam::number(end));
        if !right_version || b < a {
            return Err(invalid());
        }
        if a < low || b > high {
            let words =
                format!("The allocation pool {start}-{end} spans beyond the subnet cidr {net}.");
            return Err(fault::refused("OutOfBoundsAllocationPool", words));
        }
        if let Some((_, _, other)) = fitting.iter().find(|(x, y, _)| a <= *y && *x <= b) {
            let words = format!(
                "Found overlapping allocation pools: {}-{} {start}-{end} for subnet {net}.",
                other.start, other.end
            );
            return Err(fault::conflict("OverlappingAllocationPools", words));
        }
        fitting.push((
            a,
            b,
            Pool {
                start: start.to_string(),
                end: end.to_string(),
            },
        ));
    }
    Ok(fitting.into_iter().map(|(_, _, pool)| pool).collect())
}

const MAX_DNS_NAMESERVERS: usize = 5;
const MAX_HOST_ROUTES: usize = 20;

fn nameservers(body: &Body, version: i64) -> Result<Vec<String>> {
    let servers: Vec<String> = body
        .list("dns_nameservers")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    if servers.len() > MAX_DNS_NAMESERVERS {
        let words = format!(
            "Unable to complete operation for {}. The number of DNS nameservers exceeds the limit {MAX_DNS_NAMESERVERS}.",
            body.maybe_text("id").unwrap_or_else(|| "new subnet".into())
        );
        return Err(fault::refused("DNSNameServersExhausted", words));
    }
    for server in &servers {
        if let Ok(ip) = server.parse() {
            of_version(version, ip, "dns_nameserver")?;
        }
    }
    Ok(servers)
}

fn host_routes(body: &Body, version: i64) -> Result<Vec<RouteRow>> {
    if body.list("host_routes").len() > MAX_HOST_ROUTES {
        let words = format!(
            "Unable to complete operation for new subnet. The number of host routes exceeds the limit {MAX_HOST_ROUTES}."
        );
        return Err(fault::refused("HostRoutesExhausted", words));
    }
    let routes: Vec<RouteRow> = serde_json::from_value(Value::Array(body.list("host_routes")))?;
    for route in &routes {
        if let (Ok(net), Ok(hop)) = (route.destination.parse::<IpNet>(), route.nexthop.parse()) {
            of_version(version, net.addr(), "host_routes destination")?;
            of_version(version, hop, "host_routes nexthop")?;
        }
    }
    Ok(routes)
}

/// Hosts that are there already make themselves an address in a new subnet of their kind.
fn add_to_hosts(tx: &mut Tx, call: &Call, subnet: &SubnetRow) -> Result<()> {
    let guests = all([
        eq("network_id", subnet.network_id.as_str()),
        ne("device_owner", "network:router_interface"),
        ne("device_owner", "network:router_gateway"),
    ]);
    let found = tx.select::<PortRow>(guests)?;
    touch_hosts(tx, call, &found)?;
    for port in found {
        let owner = Owner {
            network_id: &subnet.network_id,
            port_id: &port.id,
            mac: &port.mac_address,
            router: false,
        };
        let position = tx.count::<AllocationRow>(eq("port_id", port.id.as_str()))? as i64;
        ipam::allocate(
            tx,
            &owner,
            std::slice::from_ref(subnet),
            Some(&[]),
            position,
        )?;
    }
    Ok(())
}

/// The addresses of these ports change.
fn touch_hosts(tx: &mut Tx, call: &Call, found: &[PortRow]) -> Result<()> {
    let mut groups = ports::groups_of(tx, found.iter().map(|p| p.id.as_str()))?;
    for port in found {
        let groups = groups.remove(&port.id).unwrap_or_default();
        call.touch_port(port, &groups, Change::ADDRESSES);
    }
    Ok(())
}
