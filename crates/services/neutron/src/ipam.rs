//! Addresses: pools, choosing a free one, and the allocations that hold them.
//!
//! An address belongs to whoever has the row (subnet_id, ip_address). Choosing and inserting happen in one transaction;
//! where two of them choose the same, the unique key refuses the second and `Neutron::change` runs it again.

use crate::db::{AllocationRow, Pool, SubnetRow};
use crate::fault;
use base::Result;
use ipnet::IpNet;
use oslo_db::{Tx, all, eq, is_in};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as a number.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// A number as an address of the same version as `like`.
pub(crate) fn address(number: u128, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from(number))
    } else {
        IpAddr::V4(Ipv4Addr::from(number as u32))
    }
}

pub(crate) fn cidr(subnet: &SubnetRow) -> Result<IpNet> {
    subnet.cidr.parse().map_err(|e| {
        base::Error::internal(format!(
            "subnet {} has cidr {}: {e}",
            subnet.id, subnet.cidr
        ))
    })
}

/// First and last usable number of a network: without network and broadcast address where there are such.
pub(crate) fn hosts(net: &IpNet) -> (u128, u128) {
    let (first, last) = (number(net.network()), number(net.broadcast()));
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 => (first + 1, last - 1),
        IpNet::V6(v6) if v6.prefix_len() < 127 => (first + 1, last),
        _ => (first, last),
    }
}

/// Everything but the gateway.
pub(crate) fn default_pools(net: &IpNet, gateway: Option<IpAddr>) -> Vec<Pool> {
    let v6 = matches!(net, IpNet::V6(_));
    let (first, last) = hosts(net);
    let pool = |start: u128, end: u128| Pool {
        start: address(start, v6).to_string(),
        end: address(end, v6).to_string(),
    };
    match gateway.map(number).filter(|g| (first..=last).contains(g)) {
        None => vec![pool(first, last)],
        Some(g) => {
            let mut pools = Vec::new();
            if g > first {
                pools.push(pool(first, g - 1));
            }
            if g < last {
                pools.push(pool(g + 1, last));
            }
            pools
        }
    }
}

pub(crate) fn pool_numbers(pools: &[Pool]) -> Vec<(u128, u128)> {
    let ends = |p: &Pool| Some((number(p.start.parse().ok()?), number(p.end.parse().ok()?)));
    pools.iter().filter_map(ends).collect()
}

/// Addresses in the pools.
pub(crate) fn size(pools: &[Pool]) -> u128 {
    pool_numbers(pools).iter().map(|(a, b)| b - a + 1).sum()
}

/// Whether hosts make their own addresses there from their hardware address.
pub(crate) fn is_auto(subnet: &SubnetRow) -> bool {
    let auto =
        |mode: &Option<String>| matches!(mode.as_deref(), Some("slaac" | "dhcpv6-stateless"));
    auto(&subnet.ipv6_address_mode) || auto(&subnet.ipv6_ra_mode)
}

/// The address a host makes from its hardware address (EUI-64).
pub(crate) fn eui64(net: &IpNet, mac: &str) -> Option<IpAddr> {
    let bytes: Vec<u8> = mac
        .split(':')
        .filter_map(|p| u8::from_str_radix(p, 16).ok())
        .collect();
    let [a, b, c, d, e, f] = bytes.as_slice() else {
        return None;
    };
    let low = u64::from_be_bytes([a ^ 2, *b, *c, 0xff, 0xfe, *d, *e, *f]);
    Some(address(
        number(net.network()) & !u128::from(u64::MAX) | u128::from(low),
        true,
    ))
}

/// What a port wants of one address.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(crate) struct Want {
    #[serde(default)]
    pub subnet_id: Option<String>,
    #[serde(default)]
    pub ip_address: Option<String>,
}

/// Whose addresses these are.
pub(crate) struct Owner<'a> {
    pub network_id: &'a str,
    pub port_id: &'a str,
    pub mac: &'a str,
    /// Router legs take any address, also in subnets where hosts make their own.
    pub router: bool,
}

pub(crate) fn exhausted(network: &str) -> base::Error {
    fault::conflict(
        "IpAddressGenerationFailure",
        format!("No more IP addresses available on network {network}."),
    )
}

/// Allocates what is wanted; `None` means one of each version, as hosts usually want.
pub(crate) fn allocate(
    tx: &mut Tx,
    owner: &Owner<'_>,
    subnets: &[SubnetRow],
    wants: Option<&[Want]>,
    first: i64,
) -> Result<()> {
    let mut position = first;
    let mut have: HashSet<String> = HashSet::new();
    match wants {
        Some(wants) => {
            for want in wants {
                let (subnet, ip) = decide(tx, owner, subnets, want)?;
                if want.ip_address.is_some() {
                    unheld(tx, subnet, ip)?;
                }
                take(tx, owner, subnet, ip, position)?;
                have.insert(subnet.id.clone());
                position += 1;
            }
        }
        None => {
            for version in [4, 6] {
                let of_version: Vec<&SubnetRow> = subnets
                    .iter()
                    .filter(|s| s.ip_version == version && !is_auto(s))
                    .collect();
                if of_version.is_empty() {
                    continue;
                }
                let mut done = false;
                for subnet in &of_version {
                    if let Some(ip) = free(tx, subnet)? {
                        take(tx, owner, subnet, ip, position)?;
                        position += 1;
                        done = true;
                        break;
                    }
                }
                if !done {
                    return Err(exhausted(owner.network_id));
                }
            }
        }
    }
    if !owner.router {
        for subnet in subnets
            .iter()
            .filter(|s| is_auto(s) && !have.contains(&s.id))
        {
            let held = all([
                eq("port_id", owner.port_id),
                eq("subnet_id", subnet.id.as_str()),
            ]);
            if tx.exists::<AllocationRow>(held)? {
                continue;
            }
            if let Some(ip) = eui64(&cidr(subnet)?, owner.mac) {
                unheld(tx, subnet, ip)?;
                take(tx, owner, subnet, ip, position)?;
                position += 1;
            }
        }
    }
    Ok(())
}

fn decide<'s>(
    tx: &mut Tx,
    owner: &Owner<'_>,
    subnets: &'s [SubnetRow],
    want: &Want,
) -> Result<(&'s SubnetRow, IpAddr)> {
    let ip: Option<IpAddr> = want.ip_address.as_deref().and_then(|t| t.parse().ok());
    let subnet = match (&want.subnet_id, ip) {
        (Some(id), _) => subnets.iter().find(|s| s.id == *id).ok_or_else(|| {
            fault::invalid_input(format!(
                "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                owner.network_id
            ))
        })?,
        (None, Some(ip)) => {
            let mut found = None;
            for subnet in subnets {
                if cidr(subnet)?.contains(&ip) {
                    found = Some(subnet);
                }
            }
            found.ok_or_else(|| {
                let words = format!("IP address {ip} is not a valid IP for any of the subnets on the specified network.");
                fault::refused("InvalidIpForNetwork", words)
            })?
        }
        (None, None) => return Err(fault::invalid_input("IP allocation requires subnet_id or ip_address")),
    };
    let net = cidr(subnet)?;
    let Some(ip) = ip else {
        if is_auto(subnet) && !owner.router {
            let ip = eui64(&net, owner.mac).ok_or_else(|| exhausted(owner.network_id))?;
            unheld(tx, subnet, ip)?;
            return Ok((subnet, ip));
        }
        let ip = free(tx, subnet)?.ok_or_else(|| exhausted(owner.network_id))?;
        return Ok((subnet, ip));
    };
    let (low, high) = hosts(&net);
    if !net.contains(&ip) || !(low..=high).contains(&number(ip)) {
        let words = format!("IP address {ip} is not a valid IP for the specified subnet.");
        return Err(fault::refused("InvalidIpForSubnet", words));
    }
    if is_auto(subnet) && !owner.router && eui64(&net, owner.mac) != Some(ip) {
        let words = format!(
            "IPv6 address {ip} cannot be directly assigned to a port on subnet {} as the subnet is configured for automatic addresses",
            subnet.id
        );
        return Err(fault::refused("AllocationOnAutoAddressSubnet", words));
    }
    Ok((subnet, ip))
}

/// An address that was not chosen among the free ones may be somebody's.
fn unheld(tx: &mut Tx, subnet: &SubnetRow, ip: IpAddr) -> Result<()> {
    if tx.exists::<AllocationRow>(all([
        eq("subnet_id", subnet.id.as_str()),
        eq("ip_address", ip.to_string()),
    ]))? {
        let words = format!("IP address {ip} already allocated in subnet {}", subnet.id);
        return Err(fault::conflict("IpAddressAlreadyAllocated", words));
    }
    Ok(())
}

fn take(
    tx: &mut Tx,
    owner: &Owner<'_>,
    subnet: &SubnetRow,
    ip: IpAddr,
    position: i64,
) -> Result<()> {
    tx.insert(&AllocationRow {
        subnet_id: subnet.id.clone(),
        ip_address: ip.to_string(),
        network_id: owner.network_id.into(),
        port_id: owner.port_id.into(),
        position,
    })
}

/// A free address of the pools. Small subnets are looked through; in large ones a few random addresses nearly
/// always hit, so that a creation costs the same with ten ports and with fifty thousand.
pub(crate) fn free(tx: &mut Tx, subnet: &SubnetRow) -> Result<Option<IpAddr>> {
    let pools = pool_numbers(&subnet.allocation_pools.0);
    let total = size(&subnet.allocation_pools.0);
    let v6 = subnet.ip_version == 6;
    if total > 1024 {
        let candidates: Vec<String> = (0..8)
            .filter_map(|_| nth(&pools, rand::random_range(0..total)))
            .map(|n| address(n, v6).to_string())
            .collect();
        let taken = tx.select::<AllocationRow>(all([
            eq("subnet_id", subnet.id.as_str()),
            is_in("ip_address", candidates.iter().map(String::as_str)),
        ]))?;
        let taken: HashSet<String> = taken.into_iter().map(|a| a.ip_address).collect();
        if let Some(ip) = candidates.into_iter().find(|c| !taken.contains(c)) {
            return Ok(ip.parse().ok());
        }
    }
    let rows = tx.select::<AllocationRow>(eq("subnet_id", subnet.id.as_str()))?;
    let taken: HashSet<u128> = rows
        .iter()
        .filter_map(|a| a.ip_address.parse().ok())
        .map(number)
        .collect();
    // Writers that run at the same time on another machine should not all choose the lowest one.
    let window: Vec<u128> = pools
        .iter()
        .flat_map(|(a, b)| *a..=*b)
        .filter(|n| !taken.contains(n))
        .take(10)
        .collect();
    if window.is_empty() {
        return Ok(None);
    }
    Ok(Some(address(
        window[rand::random_range(0..window.len())],
        v6,
    )))
}

fn nth(pools: &[(u128, u128)], mut at: u128) -> Option<u128> {
    for (low, high) in pools {
        let size = high - low + 1;
        if at < size {
            return Some(low + at);
        }
        at -= size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_leave_the_gateway_out() {
        let net: IpNet = "10.0.0.0/24".parse().unwrap();
        let pools = default_pools(&net, "10.0.0.1".parse().ok());
        assert_eq!(
            pools,
            vec![Pool {
                start: "10.0.0.2".into(),
                end: "10.0.0.254".into()
            }]
        );
        assert_eq!(default_pools(&net, "10.0.0.9".parse().ok()).len(), 2);
        assert_eq!(default_pools(&net, None)[0].start, "10.0.0.1");
        let net: IpNet = "2001:db8::/64".parse().unwrap();
        assert_eq!(
            default_pools(&net, "2001:db8::1".parse().ok())[0].start,
            "2001:db8::2"
        );
    }

    #[test]
    fn hosts_make_their_own_addresses() {
        let net: IpNet = "2001:db8::/64".parse().unwrap();
        assert_eq!(
            eui64(&net, "fa:16:3e:00:00:01").unwrap().to_string(),
            "2001:db8::f816:3eff:fe00:1"
        );
    }
}
