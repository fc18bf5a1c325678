//! A router's address translation: floating addresses, hairpins, and the way out for everybody else.

use crate::IfName;
use crate::nft::{Family, replacing};
use ipnet::Ipv4Net;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// The name of the table in a router's namespace.
pub const TABLE: &str = "ferrostack";

/// What a router translates.
#[derive(Clone, Debug, Default)]
pub struct Nat {
    /// The leg outside.
    pub outside: Option<IfName>,
    /// The router's own address outside, if those without a floating address may go out under it.
    pub snat: Option<Ipv4Addr>,
    /// Floating address and the address inside that it leads to.
    pub floating: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Subnets inside.
    pub inside: Vec<Ipv4Net>,
}

/// The transaction that makes a router translate like this.
pub fn transaction(nat: &Nat) -> String {
    replacing(Family::Ip, TABLE, &table(nat))
}

fn table(nat: &Nat) -> String {
    let mut out = String::new();
    let map = |out: &mut String, name: &str, pairs: Vec<String>| {
        let _ = writeln!(out, "  map {name} {{ type ipv4_addr : ipv4_addr");
        if !pairs.is_empty() {
            let _ = writeln!(out, "    elements = {{ {} }}", pairs.join(", "));
        }
        out.push_str("  }\n");
    };
    map(
        &mut out,
        "to_fixed",
        nat.floating
            .iter()
            .map(|(f, i)| format!("{f} : {i}"))
            .collect(),
    );
    // A fixed address may have several floating ones, of different external networks; it goes out under the first.
    let mut first = std::collections::BTreeMap::new();
    for (floating, fixed) in &nat.floating {
        first.entry(fixed).or_insert(floating);
    }
    map(
        &mut out,
        "to_floating",
        first.iter().map(|(i, f)| format!("{i} : {f}")).collect(),
    );
    out.push_str("  set inside { type ipv4_addr; flags interval; auto-merge\n");
    if !nat.inside.is_empty() {
        let nets: Vec<String> = nat.inside.iter().map(|n| n.trunc().to_string()).collect();
        let _ = writeln!(out, "    elements = {{ {} }}", nets.join(", "));
    }
    out.push_str("  }\n");
    out.push_str("  chain prerouting { type nat hook prerouting priority dstnat; policy accept;\n    dnat to ip daddr map @to_fixed\n  }\n");
    out.push_str("  chain output { type nat hook output priority -100; policy accept;\n    dnat to ip daddr map @to_fixed\n  }\n");
    out.push_str(
        "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n",
    );
    // Hairpin: a guest that calls a neighbour by its floating address must see the answer come from there.
    out.push_str(
        "    oifname \"qr-*\" ip saddr @inside ct status dnat snat to ip saddr map @to_floating\n",
    );
    if let Some(own) = nat.snat {
        let _ = writeln!(
            out,
            "    oifname \"qr-*\" ip saddr @inside ct status dnat snat to {own}"
        );
    }
    if let Some(outside) = &nat.outside {
        let _ = writeln!(
            out,
            "    oifname \"{outside}\" snat to ip saddr map @to_floating"
        );
        if let Some(own) = nat.snat {
            let _ = writeln!(
                out,
                "    oifname \"{outside}\" ip saddr != {own} ct status ! dnat snat to {own}"
            );
        }
    }
    out.push_str("  }\n");
    out.push_str("  chain forward { type filter hook forward priority 0; policy accept;\n");
    if let (Some(outside), Some(_)) = (&nat.outside, nat.snat) {
        // Behind translation nobody outside begins to speak, except to floating addresses.
        let _ = writeln!(
            out,
            "    iifname \"{outside}\" oifname \"qr-*\" ct state new ct status ! dnat drop"
        );
    }
    out.push_str("  }\n");
    out.push_str("  chain input { type filter hook input priority 0; policy accept;\n    iifname \"qg-*\" ip daddr 169.254.169.254 drop\n  }\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates_only_what_it_has() {
        let bare = transaction(&Nat::default());
        assert!(
            !bare.contains("elements"),
            "nft refuses empty lists:\n{bare}"
        );
        assert!(!bare.contains("snat to 1"));
        let nat = Nat {
            outside: Some(IfName::parse("qg-aa").unwrap()),
            snat: Some("172.24.4.2".parse().unwrap()),
            floating: vec![("172.24.4.9".parse().unwrap(), "10.0.0.5".parse().unwrap())],
            inside: vec!["10.0.0.1/24".parse().unwrap()],
        };
        let text = transaction(&nat);
        for part in [
            "172.24.4.9 : 10.0.0.5",
            "10.0.0.5 : 172.24.4.9",
            "elements = { 10.0.0.0/24 }",
            "snat to 172.24.4.2",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let routed = transaction(&Nat { snat: None, ..nat });
        assert!(
            !routed.contains("ct status ! dnat"),
            "without SNAT the outside may route in"
        );
    }
}
