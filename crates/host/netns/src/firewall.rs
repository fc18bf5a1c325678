//! Security groups and anti-spoofing on kernel bridges, in pure nft.
//!
//! The bridge family knows devices but cannot track connections on every kernel; the inet family tracks connections but
//! sees only the bridge. So the bridge table writes who sends (low half) and who receives (high half) into the packet's
//! mark, and the inet table, which bridge netfilter calls between the two, judges by the mark. One tracking zone per network
//! keeps equal addresses of different projects apart. What is not allowed is dropped.

use crate::nft::{Family, replacing};
use crate::{Id, IfName, Mac, Tag};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// Everything that is filtered on this host for one cloud.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    /// Bridges that carry guests.
    pub bridges: Vec<BridgeZone>,
    /// Bridge ports without security: DHCP servers, routers, tunnels, guests that asked for none.
    pub trusted: Vec<IfName>,
    /// Ports of bridges on which the host itself has no part: what they send to the host is dropped.
    pub closed: Vec<IfName>,
    /// Bridge ports with security.
    pub ports: Vec<GuardedPort>,
    /// Security groups named by ports.
    pub groups: Vec<Group>,
    /// Addresses of remote groups named by rules.
    pub sets: BTreeMap<Id, Vec<IpNet>>,
}

/// A bridge that carries guests.
#[derive(Clone, Debug)]
pub struct BridgeZone {
    /// Its name.
    pub name: IfName,
    /// Its tracking zone; `None` for the external bridge, over which the host itself speaks too.
    pub zone: Option<u16>,
}

/// A guest's port.
#[derive(Clone, Debug)]
pub struct GuardedPort {
    /// Its number on this host, not 0; stays the same while the port is here.
    pub number: u16,
    /// The host's end.
    pub tap: IfName,
    /// Hardware and network addresses it may use.
    pub pairs: Vec<(Mac, IpNet)>,
    /// Its groups.
    pub groups: Vec<Id>,
    /// `admin_state_up`; if not, nothing passes.
    pub enabled: bool,
}

/// A security group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: Id,
    /// Whether answers are allowed too.
    pub stateful: bool,
    /// What it allows.
    pub rules: Vec<Rule>,
}

/// What a group allows.
#[derive(Clone, Debug)]
pub struct Rule {
    /// To the guest, or from it.
    pub ingress: bool,
    /// IPv6, or IPv4.
    pub six: bool,
    /// Which packets.
    pub packets: Packets,
    /// Which other end.
    pub remote: Remote,
}

/// Which packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// All.
    Any,
    /// All of an IP protocol.
    Protocol(u8),
    /// Destination ports of TCP, UDP, SCTP, DCCP or UDP-Lite.
    Ports(u8, u16, u16),
    /// An ICMP type and perhaps code.
    Icmp(u8, Option<u8>),
}

/// Which other end a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Any.
    Any,
    /// These addresses.
    Prefix(IpNet),
    /// Members of a group: a key of [`Firewall::sets`].
    Set(Id),
}

/// The tables this makes.
pub fn tables(tag: &Tag) -> [(Family, String); 2] {
    [(Family::Bridge, tag.table()), (Family::Inet, tag.table())]
}

/// The transaction that makes the host filter like this.
pub fn transaction(tag: &Tag, firewall: &Firewall) -> String {
    let bridge = replacing(Family::Bridge, &tag.table(), &bridge_table(firewall));
    let inet = replacing(Family::Inet, &tag.table(), &inet_table(firewall));
    bridge + &inet
}

/// A set or map; empty ones must not have an `elements` line.
fn set(out: &mut String, head: &str, name: &str, kind: &str, elements: &[String]) {
    let _ = writeln!(out, "  {head} {name} {{ type {kind}");
    if !elements.is_empty() {
        let _ = writeln!(out, "    elements = {{ {} }}", elements.join(", "));
    }
    out.push_str("  }\n");
}

fn chain(out: &mut String, name: &str, rules: &[String]) {
    let _ = writeln!(out, "  chain {name} {{");
    for rule in rules {
        let _ = writeln!(out, "    {rule}");
    }
    out.push_str("  }\n");
}

fn bridge_table(firewall: &Firewall) -> String {
    let mut out = String::new();
    let quoted =
        |names: &[IfName]| -> Vec<String> { names.iter().map(|n| format!("\"{n}\"")).collect() };
    set(
        &mut out,
        "set",
        "trusted",
        "ifname",
        &quoted(&firewall.trusted),
    );
    set(
        &mut out,
        "set",
        "closed",
        "ifname",
        &quoted(&firewall.closed),
    );
    for port in &firewall.ports {
        chain(&mut out, &format!("from-{}", port.number), &from_port(port));
        let mark = u32::from(port.number) << 16;
        chain(
            &mut out,
            &format!("to-{}", port.number),
            &[format!("meta mark set meta mark and 0xffff or {mark:#x}")],
        );
    }
    let jumps = |word: &str| -> Vec<String> {
        firewall
            .ports
            .iter()
            .map(|p| format!("\"{}\" : jump {word}-{}", p.tap, p.number))
            .collect()
    };
    set(
        &mut out,
        "map",
        "sources",
        "ifname : verdict",
        &jumps("from"),
    );
    set(
        &mut out,
        "map",
        "destinations",
        "ifname : verdict",
        &jumps("to"),
    );
    chain(
        &mut out,
        "prerouting",
        &[
            "type filter hook prerouting priority -310; policy accept;".into(),
            "iifname @trusted meta mark set 0".into(),
            "iifname vmap @sources".into(),
        ],
    );
    chain(
        &mut out,
        "forward",
        &[
            "type filter hook forward priority -10; policy accept;".into(),
            "oifname vmap @destinations".into(),
        ],
    );
    // A guest speaks to the host only through a router.
    let input = [
        "type filter hook input priority -10; policy accept;".to_string(),
        "iifname @closed drop".into(),
    ];
    chain(&mut out, "input", &input);
    out
}

/// What a guest may send as whom.
fn from_port(port: &GuardedPort) -> Vec<String> {
    let mut rules = vec![format!("meta mark set {}", port.number)];
    if !port.enabled {
        rules.push("drop".into());
        return rules;
    }
    let macs: std::collections::BTreeSet<Mac> = port.pairs.iter().map(|(m, _)| *m).collect();
    let macs = macs
        .iter()
        .map(Mac::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    rules.push(format!("ether saddr != {{ {macs} }} drop"));
    rules.push(format!("ether type arp arp operation request arp saddr ip 0.0.0.0 arp saddr ether {{ {macs} }} accept"));
    rules.push("ether type ip udp sport 67 udp dport 68 drop".into());
    rules.push("ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept".into());
    rules.push("ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop".into());
    rules.push("ether type ip6 udp sport 547 udp dport 546 drop".into());
    rules.push("ether type ip6 ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, 143, mld-listener-report } accept".into());
    for (mac, address) in &port.pairs {
        match address {
            IpNet::V4(net) => {
                rules.push(format!("ether type arp ether saddr {mac} arp saddr ether {mac} arp saddr ip {net} accept"));
                rules.push(format!(
                    "ether type ip ether saddr {mac} ip saddr {net} accept"
                ));
            }
            IpNet::V6(net) => rules.extend(from_v6(*mac, net.network(), net.broadcast())),
        }
        rules.extend(from_v6(*mac, mac.link_local(), mac.link_local()));
    }
    let mut seen = std::collections::HashSet::new();
    rules.retain(|r| seen.insert(r.clone()));
    rules.push("drop".into());
    rules
}

/// A neighbour advertisement must speak of an address the port may use; nft 1.0.6 has no word for its target.
fn from_v6(mac: Mac, first: Ipv6Addr, last: Ipv6Addr) -> [String; 3] {
    let (low, high) = (first.to_bits(), last.to_bits());
    let target = if low == high {
        format!("@th,64,128 {low:#034x}")
    } else {
        format!("@th,64,128 {low:#034x}-{high:#034x}")
    };
    let source = if low == high {
        format!("ip6 saddr {first}")
    } else {
        format!("ip6 saddr {first}-{last}")
    };
    [
        format!(
            "ether type ip6 ether saddr {mac} icmpv6 type nd-neighbor-advert {source} {target} accept"
        ),
        format!(
            "ether type ip6 ether saddr {mac} icmpv6 type != nd-neighbor-advert {source} accept"
        ),
        format!("ether type ip6 ether saddr {mac} meta l4proto != ipv6-icmp {source} accept"),
    ]
}

fn inet_table(firewall: &Firewall) -> String {
    let mut out = String::new();
    let bridges: Vec<String> = firewall
        .bridges
        .iter()
        .map(|b| format!("\"{}\"", b.name))
        .collect();
    set(&mut out, "set", "bridges", "ifname", &bridges);
    for (id, members) in &firewall.sets {
        let of = |six: bool| -> Vec<String> {
            members
                .iter()
                .filter(|m| matches!(m, IpNet::V6(_)) == six)
                .map(|m| m.trunc().to_string())
                .collect()
        };
        set(
            &mut out,
            "set",
            &format!("m4-{id}"),
            "ipv4_addr; flags interval; auto-merge",
            &of(false),
        );
        set(
            &mut out,
            "set",
            &format!("m6-{id}"),
            "ipv6_addr; flags interval; auto-merge",
            &of(true),
        );
    }
    for group in &firewall.groups {
        for (word, ingress) in [("sgi", true), ("sge", false)] {
            let rules: Vec<String> = group
                .rules
                .iter()
                .filter(|r| r.ingress == ingress)
                .map(|r| allow(r, &firewall.sets))
                .collect();
            chain(&mut out, &format!("{word}-{}", group.id), &rules);
        }
    }
    let mut zones = vec!["type filter hook prerouting priority -301; policy accept;".to_string()];
    for bridge in &firewall.bridges {
        if let Some(zone) = bridge.zone {
            zones.push(format!("iifname \"{}\" ct zone set {zone}", bridge.name));
        }
    }
    chain(&mut out, "zones", &zones);
    let known: BTreeMap<&Id, bool> = firewall
        .groups
        .iter()
        .map(|g| (&g.id, g.stateful))
        .collect();
    for port in &firewall.ports {
        chain(
            &mut out,
            &format!("out-{}", port.number),
            &port_rules(port, &known, false),
        );
        chain(
            &mut out,
            &format!("in-{}", port.number),
            &port_rules(port, &known, true),
        );
    }
    // Two base chains, because `accept` ends only its own: a packet must be allowed out of one guest and into the other.
    let marks = |word: &str, shift: u32| -> Vec<String> {
        firewall
            .ports
            .iter()
            .map(|p| {
                format!(
                    "{:#x} : jump {word}-{}",
                    u32::from(p.number) << shift,
                    p.number
                )
            })
            .collect()
    };
    set(
        &mut out,
        "map",
        "senders",
        "mark : verdict",
        &marks("out", 0),
    );
    set(
        &mut out,
        "map",
        "receivers",
        "mark : verdict",
        &marks("in", 16),
    );
    chain(
        &mut out,
        "egress",
        &[
            "type filter hook forward priority 0; policy accept;".into(),
            "iifname @bridges meta mark and 0xffff vmap @senders".into(),
        ],
    );
    chain(
        &mut out,
        "ingress",
        &[
            "type filter hook forward priority 1; policy accept;".into(),
            "iifname @bridges meta mark and 0xffff0000 vmap @receivers".into(),
        ],
    );
    out
}

fn port_rules(port: &GuardedPort, groups: &BTreeMap<&Id, bool>, ingress: bool) -> Vec<String> {
    if !port.enabled {
        return vec!["drop".into()];
    }
    let own: Vec<&Id> = port
        .groups
        .iter()
        .filter(|g| groups.contains_key(g))
        .collect();
    let stateful = own.is_empty() || own.iter().any(|g| groups[*g]);
    let mut rules: Vec<String> = Vec::new();
    if ingress {
        rules.push("udp sport 67 udp dport 68 accept".into());
        rules.push("udp sport 547 udp dport 546 accept".into());
        rules.push("icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, 143 } accept".into());
    } else {
        rules.push("udp sport 68 udp dport 67 accept".into());
        rules.push("udp sport 546 udp dport 547 accept".into());
        rules.push("icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld-listener-done, 143 } accept".into());
    }
    if stateful {
        rules.push("ct state established,related accept".into());
        rules.push("ct state invalid drop".into());
    }
    let word = if ingress { "sgi" } else { "sge" };
    rules.extend(own.iter().map(|g| format!("jump {word}-{g}")));
    rules.push("drop".into());
    rules
}

fn allow(rule: &Rule, sets: &BTreeMap<Id, Vec<IpNet>>) -> String {
    let mut text = format!("meta nfproto {}", if rule.six { "ipv6" } else { "ipv4" });
    let family = if rule.six { "ip6" } else { "ip" };
    let side = if rule.ingress { "saddr" } else { "daddr" };
    match &rule.remote {
        Remote::Any => {}
        // A rule of one family about addresses of the other matches nothing; it must not become "any".
        Remote::Prefix(net) if matches!(net, IpNet::V6(_)) != rule.six => {
            return "meta nfproto 255 drop".into();
        }
        Remote::Prefix(net) => {
            let _ = write!(text, " {family} {side} {}", net.trunc());
        }
        Remote::Set(id) if !sets.contains_key(id) => return "meta nfproto 255 drop".into(),
        Remote::Set(id) => {
            let _ = write!(
                text,
                " {family} {side} @m{}-{id}",
                if rule.six { 6 } else { 4 }
            );
        }
    }
    match rule.packets {
        Packets::Any => {}
        Packets::Protocol(number) => {
            let _ = write!(text, " meta l4proto {number}");
        }
        Packets::Ports(number, low, high) => {
            let _ = write!(text, " meta l4proto {number} th dport {low}-{high}");
        }
        Packets::Icmp(kind, code) => {
            let word = if rule.six { "icmpv6" } else { "icmp" };
            let _ = write!(text, " {word} type {kind}");
            if let Some(code) = code {
                let _ = write!(text, " {word} code {code}");
            }
        }
    }
    text + " accept"
}

/// The address alone, if it is one (and not a range): what connections are tracked under.
pub fn single(net: &IpNet) -> Option<IpAddr> {
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
#[path = "firewall_tests.rs"]
mod tests;
