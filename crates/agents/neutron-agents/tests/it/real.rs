//! The driver that does it, on this machine's kernel. Skipped where we are not root.

use crate::guest::{Guest, arrives, forget, reaches};
use crate::server::{Net, Server, Told, Undo, conf, dhcp_host, until};
use host_netns::{Mac, Namespace, link, nft, ns};
use neutron_agents::NeutronAgentsConf;
use neutron_types::rpc::*;
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use std::net::UdpSocket;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub fn rule(direction: &str, more: serde_json::Value) -> RuleState {
    let mut value = serde_json::json!({"direction": direction, "ip_version": 4});
    value
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// A nova that answers with the headers it was sent.
pub async fn nova(at: &str) -> String {
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8192];
            let length = stream.read(&mut head).await.unwrap();
            let reply = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
                String::from_utf8_lossy(&head[..length])
            );
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_and_its_end() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to make namespaces and bridges");
        return;
    }
    let (number, short) = (std::process::id() % 200 + 20, &base::new_id()[..6]);
    let outside = |last: u8| format!("198.18.{number}.{last}");
    let conf = NeutronAgentsConf {
        tag: format!("test-{short}"),
        external_bridge: format!("brx-{short}"),
        external_bridge_cidr: vec![format!("{}/24", outside(1))],
        nova_metadata_url: format!("http://{}", nova("127.0.0.1:0").await),
        metadata_proxy_shared_secret: "sesame".into(),
        resync_interval: 3600,
        ..conf("real")
    };
    let _undo = Undo(conf.clone());
    let bus = Bus::in_process();
    let server = Server::default();
    let _serving = server.serve(&bus).await;
    let agents = Supervisor::new();
    neutron_agents::start(&bus, &conf, &agents).unwrap();

    let group = base::new_id();
    let net = Net::new("10.77.1");
    let external = Net {
        id: base::new_id(),
        subnet: base::new_id(),
        prefix: "198.18.0",
    };
    let (a, b) = (
        net.port(11, "compute:nova", &[&group]),
        net.port(12, "compute:nova", &[&group]),
    );
    let dhcp = net.port(2, "network:dhcp", &[]);
    let (inner, mut outer) = (
        net.port(1, "network:router_interface", &[]),
        external.port(2, "network:router_gateway", &[]),
    );
    outer.fixed_ips.clear();
    let router = RouterState {
        id: base::new_id(),
        admin_state_up: true,
        interfaces: vec![RouterInterface {
            port_id: inner.id.clone(),
            addresses: vec!["10.77.1.1/24".parse().unwrap()],
        }],
        gateway: Some(RouterGateway {
            port_id: outer.id.clone(),
            network_id: external.id.clone(),
            addresses: vec![format!("{}/24", outside(2)).parse().unwrap()],
            nexthops: vec![outside(1).parse().unwrap()],
            enable_snat: true,
        }),
        floating_ips: vec![FloatingIpState {
            id: base::new_id(),
            floating_ip_address: outside(9).parse().unwrap(),
            fixed_ip_address: net.ip(12),
            port_id: b.id.clone(),
        }],
        routes: Vec::new(),
    };
    let owner = MetadataOwner {
        instance_id: "instance-a".into(),
        project_id: "project-a".into(),
    };
    server.0.lock().unwrap().owners.push((
        MetadataSource::Router(router.id.clone()),
        net.ip(11),
        owner,
    ));
    let rules = vec![
        rule("egress", serde_json::json!({})),
        rule(
            "ingress",
            serde_json::json!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5000, "remote_group_id": group}),
        ),
        rule(
            "ingress",
            serde_json::json!({"protocol": "udp", "port_range_min": 5001, "port_range_max": 5001}),
        ),
    ];
    server
        .want(&bus, |s| {
            let flat = NetworkState {
                network_type: NetworkType::Flat,
                physical_network: Some("public".into()),
                mtu: 1500,
                subnets: vec![],
                external: true,
                dhcp_here: false,
                ..external.state(false)
            };
            s.networks = vec![net.state(false), flat];
            s.ports = vec![
                a.clone(),
                b.clone(),
                dhcp.clone(),
                inner.clone(),
                outer.clone(),
            ];
            s.dhcp_hosts = vec![dhcp_host(&a, "alpha"), dhcp_host(&b, "")];
            s.security_groups = vec![SecurityGroupState {
                id: group.clone(),
                stateful: true,
                rules,
            }];
            s.remote_groups.insert(
                group.clone(),
                vec![
                    "10.77.1.11/32".parse().unwrap(),
                    "10.77.1.12/32".parse().unwrap(),
                ],
            );
            s.routers = vec![router.clone()];
        })
        .await;
    server
        .until("the router's legs", |t| {
            t.up.contains(&inner.id) && t.up.contains(&outer.id)
        })
        .await;
    assert!(
        !server.0.lock().unwrap().up.contains(&a.id),
        "no device, no port"
    );

    let (guest_a, guest_b) = (Guest::boot(&a).await, Guest::boot(&b).await);
    server
        .until("both guests", |t| {
            t.up.contains(&a.id) && t.up.contains(&b.id)
        })
        .await;
    let (offered, options) = guest_a.dhcp_discover().await.expect("an offer");
    assert_eq!(offered.to_string(), "10.77.1.11");
    let has = |bytes: &[u8]| options.windows(bytes.len()).any(|w| w == bytes);
    assert!(has(&[26, 2, 0x05, 0xa2]), "MTU 1442 in {options:?}");
    assert!(
        has(&[3, 4, 10, 77, 1, 1])
            && has(&[6, 4, 9, 9, 9, 9])
            && has(&[32, 169, 254, 169, 254, 10, 77, 1, 1]),
        "{options:?}"
    );
    for (guest, address) in [(&guest_a, "10.77.1.11/24"), (&guest_b, "10.77.1.12/24")] {
        guest.add_address(address).await;
        guest.default_route("10.77.1.1").await;
    }

    // Groups: what is allowed, its answers, and nothing else.
    let from_a = guest_a.udp("0.0.0.0:0").await;
    let (open, other) = (
        guest_b.udp("0.0.0.0:5000").await,
        guest_b.udp("0.0.0.0:6000").await,
    );
    let peer = reaches(&from_a, "10.77.1.12:5000", &open).expect("allowed by the remote group");
    assert_eq!(peer.ip(), net.ip(11));
    // The answer to an allowed packet.
    arrives(&open, b"ok", peer, &from_a);
    assert!(
        reaches(&from_a, "10.77.1.12:6000", &other).is_none(),
        "no rule allows port 6000"
    );

    // Spoofing: another address, another hardware address.
    guest_a.add_address("10.77.1.99/24").await;
    let liar = guest_a.udp("10.77.1.99:0").await;
    assert!(
        reaches(&liar, "10.77.1.12:5001", &guest_b.udp("0.0.0.0:5001").await).is_none(),
        "an address that is not the port's"
    );
    guest_a
        .set_mac(&Mac::parse("fa:16:3e:de:ad:01").unwrap())
        .await;
    assert!(
        reaches(&from_a, "10.77.1.12:5000", &open).is_none(),
        "a hardware address that is not the port's"
    );
    guest_a.set_mac(&guest_a.mac).await;
    assert!(
        reaches(&from_a, "10.77.1.12:5000", &open).is_some(),
        "honest again"
    );

    // Outside: in by the floating address, out by the router's.
    let world = UdpSocket::bind(format!("{}:0", outside(1))).unwrap();
    world
        .set_read_timeout(Some(Duration::from_millis(400)))
        .unwrap();
    let public = guest_b.udp("0.0.0.0:5001").await;
    let caller = reaches(&world, &format!("{}:5001", outside(9)), &public)
        .expect("the floating address leads to b");
    let answered = arrives(&public, b"ok", caller, &world);
    assert_eq!(answered.ip().to_string(), outside(9));
    let home = world.local_addr().unwrap().to_string();
    assert_eq!(
        reaches(&from_a, &home, &world)
            .expect("out")
            .ip()
            .to_string(),
        outside(2)
    );
    server
        .until("the floating address", |t| {
            t.floating.iter().any(|f| f.status == "ACTIVE")
        })
        .await;

    // Metadata: whose it is does not depend on what the guest claims.
    let request =
        "GET /openstack HTTP/1.1\r\nHost: x\r\nX-Instance-ID: instance-b\r\n\r\n".to_string();
    let seen = guest_a
        .http("169.254.169.254:80", request.clone())
        .await
        .unwrap();
    assert!(
        seen.contains("X-Instance-ID: instance-a\r\n") && !seen.contains("instance-b"),
        "{seen}"
    );
    let refused = guest_b.http("169.254.169.254:80", request).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");

    // Agents may end, and somebody may break what they made: the next ones mend it.
    let spaces = [
        format!("qdhcp-{}", net.id),
        format!("qrouter-{}", router.id),
    ]
    .map(|n| Namespace::parse(&n).unwrap());
    assert!(agents.stop(Duration::from_secs(10)).await);
    forget(&spaces[0]);
    let table = format!("ferrostack-{}", conf.tag);
    nft::delete(&[(nft::Family::Bridge, &table), (nft::Family::Inet, &table)])
        .await
        .unwrap();
    assert!(
        reaches(&from_a, "10.77.1.12:6000", &other).is_some(),
        "nothing filters now"
    );
    server.0.lock().unwrap().up.clear();
    let agents = Supervisor::new();
    neutron_agents::start(&bus, &conf, &agents).unwrap();
    server.until("all ports again", |t| t.up.len() == 5).await;
    assert!(reaches(&from_a, "10.77.1.12:5000", &open).is_some());
    assert_eq!(
        guest_a
            .dhcp_discover()
            .await
            .expect("an offer again")
            .0
            .to_string(),
        "10.77.1.11"
    );
    let fresh = guest_a.udp("0.0.0.0:0").await;
    assert!(
        reaches(&fresh, "10.77.1.12:6000", &other).is_none(),
        "filtered again"
    );
    // A rule that goes takes with it what it allowed.
    server
        .want(&bus, |s| {
            s.security_groups[0].rules.remove(1).direction = Direction::Egress
        })
        .await;
    let start = std::time::Instant::now();
    while reaches(&from_a, "10.77.1.12:5000", &open).is_some() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the rule still allows"
        );
    }

    // A router that is switched off stays plugged and answers nobody; on again, it leads out again.
    let last = |t: &Told| t.floating.last().map(|f| f.status.clone());
    server
        .want(&bus, |s| s.routers[0].admin_state_up = false)
        .await;
    server
        .until("the floating address is down", |t| {
            last(t).as_deref() == Some("DOWN")
        })
        .await;
    let addressed = |links: &[link::Link]| {
        let legs = links.iter().filter(|l| l.name.starts_with('q'));
        legs.map(|l| l.addresses.iter().filter(|a| a.addr().is_ipv4()).count())
            .collect::<Vec<_>>()
    };
    let inside = link::list(Some(&spaces[1])).await.unwrap();
    assert_eq!(addressed(&inside), [0, 0], "plugged, and without addresses");
    assert!(server.0.lock().unwrap().up.contains(&inner.id));
    assert!(
        reaches(&from_a, &home, &world).is_none(),
        "nothing leads out"
    );
    server
        .want(&bus, |s| s.routers[0].admin_state_up = true)
        .await;
    server
        .until("the floating address is up", |t| {
            last(t).as_deref() == Some("ACTIVE")
        })
        .await;
    assert!(reaches(&from_a, &home, &world).is_some(), "out again");

    // Wanted no more, and gone.
    assert!(spaces.iter().all(ns::exists));
    server.want(&bus, |s| s.routers.clear()).await;
    until("the router's end", || !ns::exists(&spaces[1])).await;
    assert!(agents.stop(Duration::from_secs(10)).await);
    neutron_agents::teardown(&conf).await.unwrap();
    for guest in [&guest_a, &guest_b] {
        ns::delete(&guest.namespace).await.unwrap();
    }
    assert!(!ns::exists(&spaces[0]), "the DHCP namespace is gone");
    let alias = format!("ferrostack/{}", conf.tag);
    let left: Vec<_> = link::list(None)
        .await
        .unwrap()
        .into_iter()
        .filter(|l| l.alias.as_deref() == Some(&alias))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        std::fs::read_dir(conf.state_path.join("dhcp")).is_err(),
        "no files of servers"
    );
}
