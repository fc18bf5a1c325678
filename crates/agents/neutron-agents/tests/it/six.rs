//! IPv6 over a network with a tunnel: guests make their own addresses, groups and guards hold, tunnels follow their peers.

use crate::guest::{Guest, reaches};
use crate::server::{Net, Server, Undo, conf, dhcp_host, until};
use host_netns::{IfName, Mac, Namespace, daemon, link, ns};
use ipnet::IpNet;
use neutron_agents::NeutronAgentsConf;
use neutron_types::rpc::*;
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

fn slaac(mac: &str) -> Ipv6Addr {
    let host = Mac::parse(mac).unwrap().link_local().to_bits() & u128::from(u64::MAX);
    Ipv6Addr::from_bits("fd77::".parse::<Ipv6Addr>().unwrap().to_bits() | host)
}

async fn has_address(namespace: &Namespace, address: Ipv6Addr) {
    let start = Instant::now();
    loop {
        let links = link::list(Some(namespace)).await.unwrap();
        if links.iter().any(|l| {
            l.addresses
                .contains(&IpNet::new(IpAddr::V6(address), 64).unwrap())
        }) {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "no advertisement made {address}: {links:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_number_themselves() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to make namespaces and bridges");
        return;
    }
    let short = &base::new_id()[..6];
    let vni = 0x0080_0000 | u32::from_str_radix(short, 16).unwrap() >> 2;
    let conf = NeutronAgentsConf {
        tag: format!("test-{short}"),
        external_bridge: format!("brx-{short}"),
        local_ip: Some("127.0.0.1".into()),
        resync_interval: 1,
        ..conf("six")
    };
    let _undo = Undo(conf.clone());
    let bus = Bus::in_process();
    let server = Server::default();
    let _serving = server.serve(&bus).await;
    let agents = Supervisor::new();
    neutron_agents::start(&bus, &conf, &agents).unwrap();
    let (net, group) = (Net::new("10.78.1"), base::new_id());
    let six = |last: u8, owner: &str| {
        let mut port = net.port(last, owner, &[&group]);
        port.fixed_ips[0].ip_address = slaac(&port.mac_address).into();
        port
    };
    let (a, b, mut leg) = (
        six(11, "compute:nova"),
        six(12, "compute:nova"),
        six(1, "network:router_interface"),
    );
    leg.fixed_ips[0].ip_address = "fd77::1".parse().unwrap();
    // A second network whose guests are told their addresses.
    let told = Net::new("10.78.2");
    let (mut c, mut dhcp) = (
        told.port(3, "compute:nova", &[&group]),
        told.port(2, "network:dhcp", &[]),
    );
    c.fixed_ips[0].ip_address = "fd78::c0".parse().unwrap();
    dhcp.fixed_ips[0].ip_address = "fd78::2".parse().unwrap();
    let rule = |text: &str| -> RuleState { serde_json::from_str(text).unwrap() };
    let router = RouterState {
        id: base::new_id(),
        admin_state_up: true,
        interfaces: vec![RouterInterface {
            port_id: leg.id.clone(),
            addresses: vec!["fd77::1/64".parse().unwrap()],
        }],
        ..RouterState::default()
    };
    server
        .want(&bus, |s| {
            let mut network = net.state(false);
            network.network_type = NetworkType::Vxlan;
            network.segmentation_id = Some(vni);
            network.dhcp_here = false;
            let subnet = &mut network.subnets[0];
            (subnet.cidr, subnet.gateway_ip) = ("fd77::/64".parse().unwrap(), Some("fd77::1".parse().unwrap()));
            (subnet.ipv6_ra_mode, subnet.ipv6_address_mode) = (Some("slaac".into()), Some("slaac".into()));
            subnet.dns_nameservers.clear();
            let mut managed = told.state(true);
            let subnet = &mut managed.subnets[0];
            (subnet.cidr, subnet.gateway_ip) = ("fd78::/64".parse().unwrap(), Some("fd78::1".parse().unwrap()));
            (subnet.ipv6_ra_mode, subnet.ipv6_address_mode) =
                (Some("dhcpv6-stateful".into()), Some("dhcpv6-stateful".into()));
            subnet.dns_nameservers = vec!["fd78::53".parse().unwrap()];
            s.networks = vec![network, managed];
            s.ports = vec![a.clone(), b.clone(), leg.clone(), c.clone(), dhcp.clone()];
            s.dhcp_hosts = vec![dhcp_host(&c, "gamma")];
            let rules = vec![
                rule(r#"{"direction": "egress", "ip_version": 6}"#),
                rule(r#"{"direction": "ingress", "ip_version": 6, "protocol": "udp", "port_range_min": 5000, "port_range_max": 5000}"#),
            ];
            s.security_groups = vec![SecurityGroupState { id: group.clone(), stateful: true, rules }];
            s.routers = vec![router.clone()];
            s.networks[0].tunnel_peers = vec!["192.0.2.11".parse().unwrap(), "192.0.2.12".parse().unwrap()];
        })
        .await;
    let (guest_a, guest_b) = (Guest::boot(&a).await, Guest::boot(&b).await);
    let guest_c = Guest::boot(&c).await;
    server
        .until("all guests", |t| {
            [&a, &b, &c].iter().all(|p| t.up.contains(&p.id))
        })
        .await;
    let leased = guest_c.dhcp6_solicit().await.expect("DHCPv6 answers");
    assert_eq!(leased.0.to_string(), "fd78::c0");
    assert_eq!(leased.1, Some("fd78::53".parse().unwrap()));
    has_address(&guest_a.namespace, slaac(&a.mac_address)).await;
    has_address(&guest_b.namespace, slaac(&b.mac_address)).await;

    let from_a = guest_a.udp("[::]:0").await;
    let (open, other) = (
        guest_b.udp("[::]:5000").await,
        guest_b.udp("[::]:6000").await,
    );
    let to = |port: u16| format!("[{}]:{port}", slaac(&b.mac_address));
    let start = Instant::now();
    while reaches(&from_a, &to(5000), &open).is_none() {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "an allowed packet over IPv6"
        );
    }
    assert!(
        reaches(&from_a, &to(6000), &other).is_none(),
        "no rule allows port 6000"
    );
    guest_a.add_address("fd77::bad/64").await;
    let liar = guest_a.udp("[fd77::bad]:0").await;
    assert!(
        reaches(&liar, &to(5000), &open).is_none(),
        "an address that is not the port's"
    );

    // Tunnels follow the hosts there are.
    let tunnel = IfName::vxlan(vni);
    let peers = async || {
        let mut entries = link::tunnel_entries().await.unwrap();
        entries.remove(tunnel.as_str()).unwrap_or_default().peers
    };
    assert_eq!(peers().await.len(), 2);
    server
        .want(&bus, |s| s.networks[0].tunnel_peers.truncate(1))
        .await;
    let start = Instant::now();
    while peers().await != ["192.0.2.11".parse::<IpAddr>().unwrap()].into() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the tunnel still floods to a host that left"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // What somebody breaks is mended by the next look at the whole host.
    let folder = conf.state_path.join("routers").join(&router.id);
    let running = || daemon::find(&folder.join("radvd.pid"), "radvd.conf");
    let first = running().expect("radvd runs");
    daemon::end(first).await;
    until("radvd again", || running().is_some_and(|pid| pid != first)).await;

    assert!(agents.stop(Duration::from_secs(10)).await);
    let space = Namespace::parse(&format!("qrouter-{}", router.id)).unwrap();
    assert!(ns::exists(&space), "stopping the agents stops no network");
    neutron_agents::teardown(&conf).await.unwrap();
    assert!(!ns::exists(&space) && link::index(&tunnel).is_none());
    for guest in [&guest_a, &guest_b, &guest_c] {
        ns::delete(&guest.namespace).await.unwrap();
    }
}
