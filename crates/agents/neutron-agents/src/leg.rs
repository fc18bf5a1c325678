//! A wire between a bridge and a namespace, with addresses at the inner end.

use crate::bridge::{Links, links, plug};
use crate::config::Settings;
use crate::plan::Leg;
use base::Result;
use host_netns::link::{self, Batch, RouteEntry};
use host_netns::{Namespace, announce};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// Makes the legs of a namespace so, removes devices of ours that are no leg any more, and returns the addresses that are new.
pub async fn ensure(
    namespace: &Namespace,
    legs: &[Leg],
    outer: &Links,
    settings: &Settings,
) -> Result<Vec<(Leg, Vec<IpNet>)>> {
    let inner = links(Some(namespace)).await?;
    let mut outside = Batch::new();
    for leg in legs {
        let there = inner.contains_key(leg.device.as_str());
        let mut now = outer.get(leg.tap.as_str());
        if !there {
            if now.take().is_some() {
                outside.delete(&leg.tap);
            }
            outside.add_veth(&leg.tap, &leg.device, namespace);
            outside.set_alias(&leg.tap, &settings.tag);
            outside.no_addresses(&leg.tap);
        }
        plug(&mut outside, now, &leg.tap, &leg.bridge, leg.mtu);
    }
    outside.run(None).await?;
    let mut inside = Batch::new();
    let wanted: BTreeSet<&str> = legs.iter().map(|l| l.device.as_str()).collect();
    for (name, _) in inner
        .iter()
        .filter(|(n, _)| n.starts_with("q") && !wanted.contains(n.as_str()))
    {
        inside.delete(&host_netns::IfName::parse(name)?);
    }
    let mut fresh = Vec::new();
    for leg in legs {
        let now = inner.get(leg.device.as_str());
        let device = &leg.device;
        if now.is_none_or(|l| l.address != leg.mac.to_string()) {
            inside.set_address(device, &leg.mac);
        }
        if now.is_none_or(|l| l.mtu != leg.mtu) {
            inside.set_mtu(device, leg.mtu);
        }
        if now.is_none_or(|l| !l.up) {
            inside.set_up(device);
        }
        let have = now.map(|l| l.addresses.as_slice()).unwrap_or_default();
        for old in have.iter().filter(|a| !leg.addresses.contains(a)) {
            inside.delete_address(device, old);
        }
        let mut new: Vec<IpNet> = leg
            .addresses
            .iter()
            .filter(|a| !have.contains(a))
            .copied()
            .collect();
        new.dedup();
        for address in &new {
            inside.add_address(device, address);
        }
        if !new.is_empty() {
            fresh.push((leg.clone(), new));
        }
    }
    inside.run(Some(namespace)).await?;
    Ok(fresh)
}

/// All addresses of legs, as [`ensure`] returns the new ones.
pub fn all(legs: &[Leg]) -> Vec<(Leg, Vec<IpNet>)> {
    let with_addresses = |leg: &Leg| (leg.clone(), leg.addresses.clone());
    legs.iter().map(with_addresses).collect()
}

/// Tells the neighbours who holds the addresses. Not only when they are new: a host that was cut off, and comes back with
/// legs that are another's by now, draws the traffic to itself before it is told to take them away, and switches would go
/// on sending it there, since the legs' hardware addresses are the same on each host.
pub async fn announce(namespace: &Namespace, fresh: Vec<(Leg, Vec<IpNet>)>) -> Result<()> {
    for (leg, addresses) in fresh {
        let four = addresses.iter().filter_map(|a| match a {
            IpNet::V4(net) if !net.addr().is_link_local() => Some(net.addr()),
            _ => None,
        });
        announce::addresses(namespace, &leg.device, leg.mac, four.collect()).await?;
    }
    Ok(())
}

/// Makes the routes through neighbours so.
pub async fn ensure_routes(namespace: &Namespace, wanted: &[RouteEntry]) -> Result<()> {
    let now = link::routes(Some(namespace)).await?;
    let mut batch = Batch::new();
    for old in now.iter().filter(|r| !wanted.contains(r)) {
        batch.delete_route(old);
    }
    for new in wanted.iter().filter(|r| !now.contains(r)) {
        batch.add_route(new);
    }
    batch.run(Some(namespace)).await
}
