//! `network_data.json`: a guest's cards, networks and name servers; the same for config drive and metadata service.

use crate::db::instances::{CachedAddress, CachedPort};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The document for the ports of one instance.
pub fn network_data(ports: &[CachedPort]) -> Value {
    let mut links = Vec::new();
    let mut networks = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for port in ports {
        let link = format!("tap{}", port.id.get(..11).unwrap_or(&port.id));
        links.push(json!({
            "id": link,
            "vif_id": port.id,
            "type": if port.vif_type.is_empty() { "phy" } else { &port.vif_type },
            "mtu": if port.mtu == 0 { Value::Null } else { json!(port.mtu) },
            "ethernet_mac_address": port.mac,
        }));
        for address in &port.addresses {
            networks.push(network(networks.len(), &link, port, address));
            for server in &address.dns {
                let service = json!({"type": "dns", "address": server});
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
    }
    json!({"links": links, "networks": networks, "services": services})
}

fn network(number: usize, link: &str, port: &CachedPort, address: &CachedAddress) -> Value {
    let v6 = address.version == 6;
    let mut network = json!({
        "id": format!("network{number}"),
        "link": link,
        "network_id": port.network_id,
    });
    if address.dhcp && !v6 {
        network["type"] = json!("ipv4_dhcp");
        return network;
    }
    if address.dhcp {
        network["type"] = json!("ipv6_dhcp");
        return network;
    }
    network["type"] = json!(if v6 { "ipv6" } else { "ipv4" });
    network["ip_address"] = json!(address.ip);
    network["netmask"] = json!(netmask(&address.cidr, v6));
    network["services"] = address
        .dns
        .iter()
        .map(|s| json!({"type": "dns", "address": s}))
        .collect();
    let everywhere = if v6 { "::" } else { "0.0.0.0" };
    network["routes"] = match &address.gateway {
        Some(gateway) => {
            json!([{"network": everywhere, "netmask": everywhere, "gateway": gateway}])
        }
        None => json!([]),
    };
    network
}

/// The mask of a CIDR, written out as upstream does.
fn netmask(cidr: &str, v6: bool) -> String {
    let length: u32 = cidr
        .rsplit_once('/')
        .and_then(|(_, l)| l.parse().ok())
        .unwrap_or(if v6 { 128 } else { 32 });
    if v6 {
        let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
        return Ipv6Addr::from(mask).to_string();
    }
    Ipv4Addr::from(u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_and_dhcp() {
        let address = |ip: &str, dhcp| CachedAddress {
            ip: ip.into(),
            version: 4,
            cidr: "10.0.0.0/20".into(),
            gateway: Some("10.0.0.1".into()),
            dns: vec!["9.9.9.9".into()],
            dhcp,
            ..CachedAddress::default()
        };
        let port = CachedPort {
            id: "0123456789abcdef".into(),
            mac: "fa:16:3e:00:00:01".into(),
            vif_type: "bridge".into(),
            mtu: 1450,
            addresses: vec![address("10.0.0.5", true), address("10.0.0.6", false)],
            ..CachedPort::default()
        };
        let data = network_data(&[port]);
        assert_eq!(data["links"][0]["id"], "tap0123456789a");
        assert_eq!(data["networks"][0]["type"], "ipv4_dhcp");
        assert_eq!(data["networks"][1]["netmask"], "255.255.240.0");
        assert_eq!(data["networks"][1]["routes"][0]["gateway"], "10.0.0.1");
        assert_eq!(
            data["services"],
            json!([{"type": "dns", "address": "9.9.9.9"}])
        );
        assert_eq!(netmask("2001:db8::/64", true), "ffff:ffff:ffff:ffff::");
        assert_eq!(netmask("0.0.0.0/0", false), "0.0.0.0");
    }
}
