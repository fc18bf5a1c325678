//! Security groups and port security of the server's words, as the filter's types.

use crate::plan::Plan;
use base::{Error, Result};
use host_netns::firewall::{BridgeZone, Group, GuardedPort, Packets, Remote, Rule};
use host_netns::{Id, IfName, Mac};
use ipnet::IpNet;
use neutron_types::rpc::{Direction, HostState, PortState, RuleState};
use std::collections::BTreeSet;

/// Fills in the plan's filter. Numbers of ports are given when it is applied.
pub fn build(state: &HostState, plan: &mut Plan) {
    let mut zones = BTreeSet::new();
    for bridge in plan.bridges.values() {
        // From the network's id, so that connections outlive a restart of the agent.
        let mut zone = bridge
            .network
            .as_ref()
            .and_then(|id| u16::from_str_radix(&id.as_str()[..4], 16).ok())
            .unwrap_or(1)
            .max(1);
        while !zones.insert(zone) {
            zone = zone.wrapping_add(1).max(1);
        }
        let zone = (!bridge.external).then_some(zone);
        plan.firewall.bridges.push(BridgeZone {
            name: bridge.name.clone(),
            zone,
        });
        if let Some(tunnel) = &bridge.tunnel {
            plan.firewall.trusted.push(tunnel.name.clone());
            plan.firewall.closed.push(tunnel.name.clone());
        }
    }
    let legs: Vec<(IfName, IfName)> = plan
        .legs()
        .map(|l| (l.tap.clone(), l.bridge.clone()))
        .collect();
    for (tap, bridge) in legs.into_iter().chain(
        plan.guests
            .iter()
            .map(|g| (g.tap.clone(), g.bridge.clone())),
    ) {
        if plan.bridges.get(&bridge).is_some_and(|b| !b.external) {
            plan.firewall.closed.push(tap);
        }
    }
    plan.firewall.trusted.extend(
        plan.dhcp.iter().map(|d| d.leg.tap.clone()).chain(
            plan.routers
                .iter()
                .flat_map(|r| r.legs.iter().map(|l| l.tap.clone())),
        ),
    );
    for guest in &plan.guests {
        let Some(port) = state.ports.iter().find(|p| p.id == guest.port.as_str()) else {
            continue;
        };
        if !port.port_security_enabled && port.admin_state_up {
            plan.firewall.trusted.push(guest.tap.clone());
            continue;
        }
        match pairs(port) {
            Ok(pairs) => plan.firewall.ports.push(GuardedPort {
                number: 0,
                tap: guest.tap.clone(),
                pairs,
                groups: port
                    .security_groups
                    .iter()
                    .filter_map(|g| Id::parse(g).ok())
                    .collect(),
                enabled: port.admin_state_up,
            }),
            Err(e) => {
                // Not understood is not allowed.
                plan.problems.push(format!("port {}: {e}", port.id));
                let tap = guest.tap.clone();
                plan.firewall.ports.push(GuardedPort {
                    number: 0,
                    tap,
                    pairs: Vec::new(),
                    groups: Vec::new(),
                    enabled: false,
                });
            }
        }
    }
    for group in &state.security_groups {
        let Ok(id) = Id::parse(&group.id) else {
            continue;
        };
        let mut rules = Vec::new();
        for rule in &group.rules {
            match parse_rule(rule) {
                Ok(rule) => rules.push(rule),
                Err(e) => plan
                    .problems
                    .push(format!("a rule of security group {id} is left out: {e}")),
            }
        }
        plan.firewall.groups.push(Group {
            id,
            stateful: group.stateful,
            rules,
        });
    }
    for (id, members) in &state.remote_groups {
        if let Ok(id) = Id::parse(id) {
            plan.firewall.sets.insert(id, members.clone());
        }
    }
    // A rule may name a group that nobody is in.
    for rule in plan.firewall.groups.iter().flat_map(|g| &g.rules) {
        if let Remote::Set(id) = &rule.remote {
            plan.firewall.sets.entry(id.clone()).or_default();
        }
    }
}

fn pairs(port: &PortState) -> Result<Vec<(Mac, IpNet)>> {
    let own = Mac::parse(&port.mac_address)?;
    let mut pairs: Vec<(Mac, IpNet)> = port
        .fixed_ips
        .iter()
        .map(|f| (own, IpNet::from(f.ip_address)))
        .collect();
    for pair in &port.allowed_address_pairs {
        let mac = pair
            .mac_address
            .as_deref()
            .map(Mac::parse)
            .transpose()?
            .unwrap_or(own);
        pairs.push((mac, pair.ip_address.trunc()));
    }
    if pairs.is_empty() {
        // Without addresses it may still speak link-local IPv6 and ask for DHCP.
        pairs.push((own, IpNet::from(std::net::IpAddr::V6(own.link_local()))));
    }
    Ok(pairs)
}

fn parse_rule(rule: &RuleState) -> Result<Rule> {
    let six = rule.ip_version == 6;
    let remote = match (&rule.remote_group_id, rule.remote_ip_prefix) {
        (Some(id), _) => Remote::Set(Id::parse(id)?),
        (None, Some(prefix)) => Remote::Prefix(prefix),
        (None, None) => Remote::Any,
    };
    Ok(Rule {
        ingress: rule.direction == Direction::Ingress,
        six,
        packets: packets(rule, six)?,
        remote,
    })
}

fn packets(rule: &RuleState, six: bool) -> Result<Packets> {
    let Some(word) = rule
        .protocol
        .as_deref()
        .filter(|w| !matches!(*w, "any" | "-1"))
    else {
        return Ok(Packets::Any);
    };
    let number = protocol(word, six)
        .ok_or_else(|| Error::bad_request(format!("unknown protocol {word}")))?;
    let wrong = || Error::bad_request("a port or type is out of range");
    let (low, high) = (rule.port_range_min, rule.port_range_max);
    match number {
        1 | 58 => match low {
            None => Ok(Packets::Protocol(number)),
            Some(kind) => {
                let code = high.map(u8::try_from).transpose().map_err(|_| wrong())?;
                Ok(Packets::Icmp(
                    u8::try_from(kind).map_err(|_| wrong())?,
                    code,
                ))
            }
        },
        6 | 17 | 33 | 132 | 136 if low.is_some() || high.is_some() => {
            let low = u16::try_from(low.unwrap_or(0)).map_err(|_| wrong())?;
            let high = u16::try_from(high.unwrap_or(65535)).map_err(|_| wrong())?;
            if low > high {
                Err(wrong())
            } else {
                Ok(Packets::Ports(number, low, high))
            }
        }
        _ => Ok(Packets::Protocol(number)),
    }
}

fn protocol(word: &str, six: bool) -> Option<u8> {
    // COMPAT: upstream takes `icmp` in IPv6 rules for ICMPv6.
    let named = match word {
        "icmp" if six => 58,
        "icmp" => 1,
        "icmpv6" | "ipv6-icmp" => 58,
        "igmp" => 2,
        "ipip" => 4,
        "tcp" => 6,
        "egp" => 8,
        "udp" => 17,
        "dccp" => 33,
        "ipv6-encap" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ospf" => 89,
        "pgm" => 113,
        "vrrp" => 112,
        "sctp" => 132,
        "udplite" => 136,
        number => {
            return number
                .parse()
                .ok()
                .map(|n| if n == 1 && six { 58 } else { n });
        }
    };
    Some(named)
}
