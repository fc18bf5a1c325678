use super::*;
use crate::NeutronAgentsConf;
use serde_json::json;

const NET: &str = "3f2504e0-4f89-11d3-9a0c-0305e82c3301";
const PORT: &str = "5f2504e0-4f89-11d3-9a0c-0305e82c3302";
const SUBNET: &str = "6f2504e0-4f89-11d3-9a0c-0305e82c3303";

fn settings() -> Settings {
    NeutronAgentsConf {
        host: "h".into(),
        ..NeutronAgentsConf::default()
    }
    .settings()
    .unwrap()
}

fn network(more: serde_json::Value) -> NetworkState {
    let mut value = json!({"id": NET, "network_type": "vxlan", "segmentation_id": 7, "mtu": 1450, "dhcp_here": true,
        "subnets": [{"id": SUBNET, "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "enable_dhcp": true, "isolated": true}]});
    value
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn port(owner: &str, mac: &str) -> PortState {
    serde_json::from_value(json!({"id": PORT, "network_id": NET, "mac_address": mac, "device_owner": owner, "admin_state_up": true,
        "port_security_enabled": true, "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.0.0.2"}]}))
    .unwrap()
}

#[test]
fn an_isolated_network_gets_metadata_from_its_dhcp_server() {
    let state = |isolated: bool| {
        let mut network = network(json!({}));
        network.subnets[0].isolated = isolated;
        HostState {
            networks: vec![network],
            ports: vec![port("network:dhcp", "fa:16:3e:00:00:02")],
            ..HostState::default()
        }
    };
    let route_via = |plan: &Plan| {
        plan.dhcp[0].server.subnets[0]
            .routes
            .iter()
            .find(|(to, _)| *to == metadata_net())
            .unwrap()
            .1
            .to_string()
    };
    let isolated = plan(&state(true), &settings());
    assert!(isolated.dhcp[0].metadata && isolated.dhcp[0].leg.addresses.contains(&metadata_net()));
    assert_eq!(route_via(&isolated), "10.0.0.2");
    let routed = plan(&state(false), &settings());
    assert!(!routed.dhcp[0].metadata);
    assert_eq!(route_via(&routed), "10.0.0.1");
}

#[test]
fn tunnels_need_an_address_of_the_host() {
    let state = HostState {
        networks: vec![network(json!({}))],
        ..HostState::default()
    };
    let tunnel = |settings: &Settings| {
        plan(&state, settings)
            .bridges
            .values()
            .next()
            .unwrap()
            .tunnel
            .clone()
    };
    assert!(tunnel(&settings()).is_none());
    let with = Settings {
        local_ip: Some("192.0.2.1".parse().unwrap()),
        ..settings()
    };
    assert_eq!(tunnel(&with).unwrap().name.as_str(), "vxlan-7");
}

#[test]
fn what_is_wrong_stays_alone_and_lets_nothing_through() {
    let bad = HostState {
        networks: vec![
            network(json!({})),
            network(json!({"id": base::new_id(), "network_type": "vlan"})),
        ],
        ports: vec![port("compute:nova", "fa:16:3e:00:00:01} accept")],
        ..HostState::default()
    };
    let plan = plan(&bad, &settings());
    assert_eq!(plan.bridges.len(), 1, "the good network goes on");
    assert_eq!(plan.problems.len(), 2, "{:?}", plan.problems);
    assert!(
        !plan.firewall.ports[0].enabled,
        "a port that is not understood passes nothing"
    );
}

#[test]
fn rules_are_understood_as_upstream_means_them() {
    let mut state = HostState {
        networks: vec![network(json!({}))],
        ..HostState::default()
    };
    let rules = json!([
        {"direction": "ingress", "ip_version": 6, "protocol": "icmp", "port_range_min": 128},
        {"direction": "ingress", "ip_version": 4, "protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
        {"direction": "ingress", "ip_version": 4, "protocol": "tcp", "port_range_min": 9, "port_range_max": 3},
        {"direction": "ingress", "ip_version": 4, "protocol": "6; accept"},
        {"direction": "egress", "ip_version": 4, "remote_group_id": PORT},
    ]);
    state.security_groups = serde_json::from_value(json!([{"id": NET, "rules": rules}])).unwrap();
    let plan = plan(&state, &settings());
    use host_netns::firewall::{Packets, Remote};
    let group = &plan.firewall.groups[0];
    let packets: Vec<Packets> = group.rules.iter().map(|r| r.packets).collect();
    assert_eq!(
        packets,
        [
            Packets::Icmp(128, None),
            Packets::Ports(6, 22, 22),
            Packets::Any
        ]
    );
    assert_eq!(group.rules[2].remote, Remote::Set(Id::parse(PORT).unwrap()));
    assert_eq!(
        plan.firewall.sets[&Id::parse(PORT).unwrap()],
        [],
        "a group that nobody is in matches nobody"
    );
    assert!(group.stateful);
    assert_eq!(plan.problems.len(), 2, "{:?}", plan.problems);
}
