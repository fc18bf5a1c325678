//! Several hosts: guests on two of them, DHCP, routers, metadata and the way out on a third, and a fourth that takes over.

use crate::guest::{Guest, arrives, reaches};
use crate::machine::{Machine, ip};
use crate::real::{nova, rule};
use crate::server::{Net, Server, conf, dhcp_host};
use host_netns::{Id, IfName, Mac, Namespace, announce, link};
use neutron_agents::NeutronAgentsConf;
use neutron_types::rpc::*;
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One host with its agents.
struct Node {
    name: &'static str,
    machine: Machine,
    conf: NeutronAgentsConf,
    agents: Arc<Supervisor>,
    end: IpAddr,
    /// Where its wires end on the switch.
    wires: Vec<String>,
}

impl Node {
    async fn boot(name: &'static str, last: u8, agents: &[&str], switch: &Machine) -> Node {
        let mut machine = Machine::boot(&format!("t{}-{name}", std::process::id())).await;
        let end = format!("10.254.0.{last}");
        let address = format!("{end}/24");
        let mut wires = vec![machine.plug("eth0", switch, "data", &address).await];
        let network = agents.contains(&"l3");
        if network {
            wires.push(machine.plug("ext0", switch, "outside", "").await);
        }
        let conf = NeutronAgentsConf {
            host: name.into(),
            agents: agents.iter().map(|a| a.to_string()).collect(),
            local_ip: Some(end.clone()),
            external_interface: if network { "ext0" } else { "" }.into(),
            nova_metadata_url: "http://10.254.0.100:8775".into(),
            metadata_proxy_shared_secret: "sesame".into(),
            // The one that takes over says where its addresses are every other second; nothing else waits for that.
            resync_interval: if name == "net2" { 2 } else { 3600 },
            ..conf(name)
        };
        machine.undo(&conf);
        Node {
            name,
            machine,
            conf,
            agents: Arc::new(Supervisor::new()),
            end: end.parse().unwrap(),
            wires,
        }
    }

    /// Takes its wires out of the switch, or puts them back in: nothing on the host itself can mend that.
    async fn wired(&self, switch: &Machine, word: &str) {
        for wire in &self.wires {
            let set = format!("link set {wire} {word}");
            switch.on(async move { ip(&set).await }).await;
        }
    }

    async fn start(&self, bus: &Bus) {
        let (bus, conf, agents) = (bus.clone(), self.conf.clone(), Arc::clone(&self.agents));
        let start = async move { neutron_agents::start(&bus, &conf, &agents) };
        self.machine.on(start).await.unwrap();
    }

    /// Each agent as a process of its own would be, the one that the others wait for last.
    async fn start_apart(&self, bus: &Bus) {
        for agent in ["metadata", "l3", "dhcp", "l2"] {
            let (bus, conf, agents) = (bus.clone(), self.conf.clone(), Arc::clone(&self.agents));
            let start = async move { neutron_agents::start_some(&bus, &conf, &[agent], &agents) };
            self.machine.on(start).await.unwrap();
        }
    }

    async fn links(&self) -> BTreeMap<String, link::Link> {
        let links = self.machine.on(async { link::list(None).await.unwrap() });
        let links = links.await.into_iter().map(|l| (l.name.clone(), l));
        links.collect()
    }

    /// Whom the tunnel floods to.
    async fn peers(&self, tunnel: &IfName) -> Vec<IpAddr> {
        let entries = self
            .machine
            .on(async { link::tunnel_entries().await.unwrap() });
        let known = entries.await.remove(tunnel.as_str()).unwrap_or_default();
        known.peers.into_iter().collect()
    }

    async fn guest(&self, port: &PortState, address: &'static str) -> Arc<Guest> {
        let port = port.clone();
        let boot = async move {
            let guest = Guest::boot(&port).await;
            let _ = guest.udp("0.0.0.0:0").await;
            guest.add_address(address).await;
            guest.default_route("10.88.1.1").await;
            Arc::new(guest)
        };
        self.machine.on(boot).await
    }

    async fn udp(&self, guest: &Arc<Guest>, address: &'static str) -> UdpSocket {
        let guest = Arc::clone(guest);
        self.machine
            .on(async move { guest.udp(address).await })
            .await
    }
}

async fn eventually<F: AsyncFn() -> bool>(what: &str, seen: F) {
    let start = Instant::now();
    while !seen().await {
        let late = start.elapsed() > Duration::from_secs(20);
        assert!(!late, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_network_on_several_hosts() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to make namespaces and bridges");
        return;
    }
    let vni = 4242;
    let switch = Machine::boot(&format!("t{}-switch", std::process::id())).await;
    for bridge in ["data", "outside"] {
        let add = format!("link add {bridge} type bridge forward_delay 0 mcast_snooping 0");
        switch.on(async move { ip(&add).await }).await;
        switch
            .on(async move { ip(&format!("link set {bridge} up")).await })
            .await;
    }
    // The controller, which the hosts of the network reach, and the world outside, which they reach by their second wire.
    let controller = Machine::boot(&format!("t{}-ctl", std::process::id())).await;
    controller
        .plug("eth0", &switch, "data", "10.254.0.100/24")
        .await;
    controller
        .on(async { nova("10.254.0.100:8775").await })
        .await;
    let world = Machine::boot(&format!("t{}-world", std::process::id())).await;
    world
        .plug("eth0", &switch, "outside", "198.18.7.1/24")
        .await;
    let all = ["l2", "dhcp", "l3", "metadata"];
    let node1 = Node::boot("node1", 1, &["l2"], &switch).await;
    let node2 = Node::boot("node2", 2, &["l2"], &switch).await;
    let net1 = Node::boot("net1", 3, &all, &switch).await;
    let net2 = Node::boot("net2", 4, &all, &switch).await;

    let net = Net::new("10.88.1");
    let external = Net {
        id: base::new_id(),
        subnet: base::new_id(),
        prefix: "198.18.7",
    };
    let group = base::new_id();
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
            addresses: vec!["10.88.1.1/24".parse().unwrap()],
        }],
        gateway: Some(RouterGateway {
            port_id: outer.id.clone(),
            network_id: external.id.clone(),
            addresses: vec!["198.18.7.2/24".parse().unwrap()],
            nexthops: vec![external.ip(1)],
            enable_snat: true,
        }),
        floating_ips: vec![FloatingIpState {
            id: base::new_id(),
            floating_ip_address: external.ip(9),
            fixed_ip_address: net.ip(12),
            port_id: b.id.clone(),
        }],
        routes: vec![],
    };
    let security = SecurityGroupState {
        id: group.clone(),
        stateful: true,
        rules: vec![
            rule("egress", serde_json::json!({})),
            rule(
                "ingress",
                serde_json::json!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5000,
                "remote_group_id": group}),
            ),
            rule(
                "ingress",
                serde_json::json!({"protocol": "udp", "port_range_min": 5001, "port_range_max": 5001}),
            ),
        ],
    };
    // What the server says of the network to a host.
    let network = |peers: &[&Node], dhcp_here: bool| {
        let mut state = net.state(false);
        (state.network_type, state.segmentation_id) = (NetworkType::Vxlan, Some(vni));
        (state.mtu, state.dhcp_here) = (1450, dhcp_here);
        state.tunnel_peers = peers.iter().map(|n| n.end).collect();
        state
    };
    let guests = |port: &PortState, peers: &[&Node]| HostState {
        networks: vec![network(peers, false)],
        ports: vec![port.clone()],
        security_groups: vec![security.clone()],
        remote_groups: [(group.clone(), vec![net.ip(11).into(), net.ip(12).into()])].into(),
        ..HostState::default()
    };
    let services = |peers: &[&Node]| {
        let mut outside = external.state(false);
        (outside.network_type, outside.external) = (NetworkType::Flat, true);
        (outside.physical_network, outside.mtu) = (Some("public".into()), 1500);
        (outside.dhcp_here, outside.subnets[0].enable_dhcp) = (false, false);
        HostState {
            networks: vec![network(peers, true), outside],
            ports: vec![dhcp.clone(), inner.clone(), outer.clone()],
            dhcp_hosts: vec![dhcp_host(&a, "alpha"), dhcp_host(&b, "beta")],
            routers: vec![router.clone()],
            ..HostState::default()
        }
    };

    let (bus, server) = (Bus::in_process(), Server::default());
    let _serving = server.serve(&bus).await;
    let owner = MetadataOwner {
        instance_id: "instance-b".into(),
        project_id: "p1".into(),
    };
    let source = MetadataSource::Router(router.id.clone());
    server.0.lock().unwrap().owners = vec![(source, net.ip(12), owner)];
    server
        .want_hosts(&bus, |hosts| {
            hosts.insert("node1".into(), guests(&a, &[&node2, &net1]));
            hosts.insert("node2".into(), guests(&b, &[&node1, &net1]));
            hosts.insert("net1".into(), services(&[&node1, &node2]));
            hosts.insert("net2".into(), HostState::default());
        })
        .await;
    // An interface with an address is somebody's way to this host: it stays where it is until the address is gone.
    net1.machine
        .on(async { ip("addr add 198.18.7.3/24 dev ext0").await })
        .await;
    for node in [&node1, &node2, &net1] {
        node.start(&bus).await;
    }
    server
        .until("the router's legs and the DHCP server", |t| {
            [&inner, &outer, &dhcp].iter().all(|p| t.up.contains(&p.id))
        })
        .await;
    assert_eq!(net1.links().await["ext0"].master, None);
    net1.machine
        .on(async { ip("addr del 198.18.7.3/24 dev ext0").await })
        .await;
    eventually("the way out", async || {
        net1.links().await["ext0"].master.as_deref() == Some("br-ex")
    })
    .await;
    assert!(
        net1.links().await["br-ex"].addresses.is_empty(),
        "the host itself has no address outside"
    );

    let guest_a = node1.guest(&a, "10.88.1.11/24").await;
    let guest_b = node2.guest(&b, "10.88.1.12/24").await;
    server
        .until("both guests", |t| {
            t.up.contains(&a.id) && t.up.contains(&b.id)
        })
        .await;
    let tunnel = IfName::vxlan(vni);
    for node in [&node1, &node2, &net1] {
        let links = node.links().await;
        assert_eq!(links[tunnel.as_str()].mtu, 1450);
        let bridge = links[tunnel.as_str()].master.clone().unwrap();
        assert_eq!(links[&bridge].mtu, 1450);
        assert_eq!(node.peers(&tunnel).await.len(), 2, "{}", node.name);
    }

    // A lease, from another host.
    let lease = |node: &'static str, guest: &Arc<Guest>| {
        let guest = Arc::clone(guest);
        async move {
            guest
                .dhcp_discover()
                .await
                .unwrap_or_else(|| panic!("no offer on {node}"))
        }
    };
    let (offered, options) = node1.machine.on(lease("node1", &guest_a)).await;
    assert_eq!(offered.to_string(), "10.88.1.11");
    let mtu: &[u8] = &[26, 2, 0x05, 0xaa];
    assert!(
        options.windows(4).any(|w| w == mtu),
        "MTU 1450: {options:?}"
    );

    // From guest to guest, over the tunnel; groups hold across hosts; full packets fit.
    let from_a = node1.udp(&guest_a, "0.0.0.0:0").await;
    let (open, other) = (
        node2.udp(&guest_b, "0.0.0.0:5000").await,
        node2.udp(&guest_b, "0.0.0.0:6000").await,
    );
    let peer = reaches(&from_a, "10.88.1.12:5000", &open).expect("a guest on another host");
    assert_eq!(peer.ip(), net.ip(11));
    assert!(
        reaches(&from_a, "10.88.1.12:6000", &other).is_none(),
        "no rule"
    );
    let full = [7; 1450 - 28];
    arrives(&from_a, &full, "10.88.1.12:5000".parse().unwrap(), &open);

    // From outside by the floating address, and out by the router's.
    let outside = world
        .on(async { UdpSocket::bind("198.18.7.1:0").unwrap() })
        .await;
    outside
        .set_read_timeout(Some(Duration::from_millis(400)))
        .unwrap();
    let public = node2.udp(&guest_b, "0.0.0.0:5001").await;
    let caller = reaches(&outside, "198.18.7.9:5001", &public).expect("the floating address");
    let callee = arrives(&public, b"ok", caller, &outside);
    assert_eq!(callee.ip(), external.ip(9));
    let home = outside.local_addr().unwrap().to_string();
    let seen = reaches(&from_a, &home, &outside).expect("out");
    assert_eq!(seen.ip(), external.ip(2));

    // Metadata: to the router's host, and from there to the controller.
    let asks = |guest: &Arc<Guest>| {
        let guest = Arc::clone(guest);
        async move {
            let request = "GET /openstack HTTP/1.1\r\nHost: x\r\n\r\n".to_string();
            guest.http("169.254.169.254:80", request).await
        }
    };
    let answer = node2.machine.on(asks(&guest_b)).await.unwrap();
    assert!(answer.contains("X-Instance-ID: instance-b\r\n"), "{answer}");
    let refused = node1.machine.on(asks(&guest_a)).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");

    // The network host dies with all that is on it; the other one takes over.
    net1.wired(&switch, "down").await;
    assert!(reaches(&outside, "198.18.7.9:5001", &public).is_none());
    server.0.lock().unwrap().up.clear();
    net2.start_apart(&bus).await;
    server
        .want_hosts(&bus, |hosts| {
            hosts.insert("node1".into(), guests(&a, &[&node2, &net2]));
            hosts.insert("node2".into(), guests(&b, &[&node1, &net2]));
            hosts.insert("net2".into(), services(&[&node1, &node2]));
        })
        .await;
    let moved = Instant::now();
    eventually("the floating address on the other host", async || {
        reaches(&outside, "198.18.7.9:5001", &public).is_some()
    })
    .await;
    println!(
        "the floating address answers {:?} after it was moved",
        moved.elapsed()
    );
    for node in [&node1, &node2] {
        let peers = node.peers(&tunnel).await;
        assert!(
            peers.contains(&net2.end) && !peers.contains(&net1.end),
            "{peers:?}"
        );
    }
    eventually("metadata on the other host", async || {
        let answer = node2.machine.on(asks(&guest_b)).await;
        answer.is_ok_and(|a| a.contains("X-Instance-ID: instance-b\r\n"))
    })
    .await;
    let (offered, _) = node1.machine.on(lease("node1", &guest_a)).await;
    assert_eq!(offered.to_string(), "10.88.1.11");

    // It comes back before it knows, and answers for what is not its own any more, as the neighbours see; whoever asks
    // nobody again goes on to send there. Then it is told, and does nothing twice.
    let (mac, device) = (
        Mac::parse(&outer.mac_address).unwrap(),
        IfName::router_outside(&Id::parse(&outer.id).unwrap()),
    );
    let permanent = format!(
        "neigh replace 198.18.7.9 lladdr {} dev eth0 nud permanent",
        outer.mac_address
    );
    world.on(async move { ip(&permanent).await }).await;
    net1.wired(&switch, "up").await;
    let stale = Namespace::router(&Id::parse(&router.id).unwrap());
    let answer = async move {
        let taken = "198.18.7.9".parse().unwrap();
        announce::addresses(&stale, &device, mac, vec![taken]).await
    };
    net1.machine.on(answer).await.unwrap();
    server
        .want_hosts(&bus, |hosts| {
            hosts.insert("net1".into(), HostState::default());
        })
        .await;
    eventually("nothing on the old host", async || {
        let links = net1.links().await;
        !links.contains_key(tunnel.as_str()) && !links.keys().any(|name| name.starts_with("tap"))
    })
    .await;
    eventually("the floating address, still", async || {
        reaches(&outside, "198.18.7.9:5001", &public).is_some()
    })
    .await;
    eventually("the other guest, still", async || {
        reaches(&from_a, "10.88.1.12:5000", &open).is_some()
    })
    .await;

    // A host whose last guest goes is flooded no more.
    server
        .want_hosts(&bus, |hosts| {
            hosts.insert("node1".into(), HostState::default());
            hosts.insert("node2".into(), guests(&b, &[&net2]));
            hosts.insert("net2".into(), services(&[&node2]));
        })
        .await;
    eventually("no way to the host that left", async || {
        node2.peers(&tunnel).await == [net2.end] && net2.peers(&tunnel).await == [node2.end]
    })
    .await;
    eventually("no tunnel where no port is", async || {
        !node1.links().await.contains_key(tunnel.as_str())
    })
    .await;

    // Taken down, the operator has his interface back.
    assert!(net2.links().await["ext0"].master.is_some());
    assert!(net2.agents.stop(Duration::from_secs(10)).await);
    let conf = net2.conf.clone();
    net2.machine
        .on(async move { neutron_agents::teardown(&conf).await.unwrap() })
        .await;
    let left = net2.links().await;
    let names: Vec<&str> = left.keys().map(String::as_str).collect();
    assert_eq!(names, ["eth0", "ext0", "lo"]);
    assert_eq!(left["ext0"].master, None);
    for node in [&node1, &node2, &net1] {
        assert!(node.agents.stop(Duration::from_secs(10)).await);
    }
}
