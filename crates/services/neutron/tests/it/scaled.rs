//! Two servers over one MariaDB and one RabbitMQ, and what agents see of them: one cloud.

use crate::house::{House, text};
use async_trait::async_trait;
use base::{Clock, Result, Timestamp};
use futures::future::join_all;
use neutron::Conf;
use neutron_types::rpc::{AgentApi, AgentClient, HostNews, HostState, Revisions};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Options, RabbitConfig, ServerHandle};
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// As much of an agent as hears and asks.
struct Agent {
    host: &'static str,
    told: Arc<AtomicUsize>,
    bus: Bus,
    _hears: ServerHandle,
}

/// Counts how often it is told.
struct Ear(Arc<AtomicUsize>);

#[async_trait]
impl AgentApi for Ear {
    async fn state_changed(&self, _: &RequestContext, _: Revisions) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Agent {
    async fn start(host: &'static str, url: &str) -> Agent {
        let (told, bus) = (Arc::new(AtomicUsize::new(0)), bus(url));
        let ear = Arc::new(Ear(Arc::clone(&told)));
        let _hears = AgentClient::serve(&bus, host, ear).await.unwrap();
        Agent {
            host,
            told,
            bus,
            _hears,
        }
    }

    async fn try_fetch(&self, known: Option<&Revisions>) -> Result<HostNews> {
        let plugin = neutron_types::rpc::PluginClient::new(self.bus.clone());
        let plugin = plugin.timeout(Duration::from_secs(5));
        plugin
            .host_state(
                &RequestContext::internal(),
                self.host.into(),
                known.cloned(),
            )
            .await
    }

    async fn fetch(&self) -> HostState {
        match self.try_fetch(None).await.unwrap() {
            HostNews::All(state) => state,
            other => panic!("not all: {other:?}"),
        }
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }

    async fn hears_more_than(&self, before: usize) {
        let start = Instant::now();
        while self.told() <= before {
            assert!(start.elapsed() < Duration::from_secs(20), "never told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn bus(url: &str) -> Bus {
    let options = Options {
        call_timeout: Duration::from_secs(20),
        ..Options::default()
    };
    Bus::rabbit(RabbitConfig::parse(url).unwrap(), options).unwrap()
}

fn list<'a>(body: &'a Value, key: &str) -> &'a Vec<Value> {
    body[key].as_array().unwrap()
}

/// The one DHCP port of a network.
async fn dhcp_port(house: &House, network: &str) -> Value {
    let path = format!("/v2.0/ports?network_id={network}&device_owner=network:dhcp");
    let body = house.get("admin", &path).await;
    let ports = list(&body, "ports");
    assert_eq!(ports.len(), 1, "one DHCP port of {network}: {body}");
    ports[0].clone()
}

/// The one host that serves a network, which is where its port is.
async fn served_by(house: &House, network: &str) -> String {
    let path = format!("/v2.0/networks/{network}/dhcp-agents");
    let body = house.get("admin", &path).await;
    let agents = list(&body, "agents");
    assert_eq!(agents.len(), 1, "one agent serves {network}: {body}");
    let host = text(&agents[0]["host"]);
    assert_eq!(dhcp_port(house, network).await["binding:host_id"], host);
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_one_cloud() {
    let mut broker = RabbitMq::start().await.unwrap();
    let database = MariaDb::start().await.unwrap();
    let (url, clock) = (
        database.database().await.unwrap(),
        Clock::manual(Timestamp::from_seconds(1_800_000_000)),
    );
    let server = |name: &'static str| {
        let (bus, clock, url) = (bus(&broker.url()), clock.clone(), url.clone());
        async move { House::server(name, &url, bus, clock, Conf::default(), None).await }
    };
    // Both migrate the same database at the same time.
    let (one, two) = tokio::join!(server("control1"), server("control2"));
    let both = [&one, &two];
    let agent = Agent::start("node1", &broker.url()).await;
    // The first agents come at the same time, to networks that wait for one: each gets one.
    let mut early = Vec::new();
    for i in 0..10 {
        let net = one.network("alice-p1", json!({})).await;
        one.subnet("alice-p1", &net, &format!("10.8.{i}.0/24"))
            .await;
        early.push(net);
    }
    tokio::join!(one.agents("node1"), two.agents("node22"));
    for net in &early {
        served_by(&two, net).await;
    }

    // Each change is told by the server that made it to the hosts that it concerns, and moves what they depend on.
    let net = one.network("alice-p1", json!({})).await;
    one.subnet("alice-p1", &net, "10.1.0.0/24").await;
    let guest = json!({"network_id": net, "device_id": "vm", "device_owner": "compute:nova",
        "binding:host_id": "node1"});
    one.port("admin", guest).await;
    let mut before = agent.fetch().await;
    for (house, cidr) in [(&one, "10.2.0.0/24"), (&two, "10.3.0.0/24")] {
        let told = agent.told();
        house.subnet("alice-p1", &net, cidr).await;
        agent.hears_more_than(told).await;
        let news = agent.try_fetch(Some(&before.revisions)).await.unwrap();
        let HostNews::All(state) = news else {
            panic!("a subnet is news: {news:?}");
        };
        before = state;
    }
    let same = agent.try_fetch(Some(&before.revisions)).await.unwrap();
    assert_eq!(same, HostNews::Nothing);
    served_by(&one, &net).await;

    // Subnets of one network through both servers at once: one agent, one port.
    for round in 0..5 {
        let net = one.network("alice-p1", json!({})).await;
        let (a, b) = (format!("10.{round}.1.0/24"), format!("10.{round}.2.0/24"));
        tokio::join!(
            one.subnet("alice-p1", &net, &a),
            two.subnet("alice-p1", &net, &b)
        );
        served_by(&two, &net).await;
        let port = dhcp_port(&one, &net).await;
        assert_eq!(list(&port, "fixed_ips").len(), 2, "an address in each");
    }

    // Many networks at once, and an agent that asks all the time: what it is told never goes back, and what it knows by
    // asking for what is new is what there is.
    let made = join_all((0..30).map(|i| async move {
        let net = both[i % 2].network("alice-p1", json!({})).await;
        both[(i + 1) % 2]
            .subnet("alice-p1", &net, &format!("10.9.{i}.0/24"))
            .await;
        net
    }));
    let watch = async {
        for _ in 0..60 {
            let news = agent.try_fetch(Some(&before.revisions)).await.unwrap();
            let HostNews::All(now) = news else {
                continue;
            };
            let older = |(topic, revision): (&String, &i64)| {
                now.revisions.get(topic).is_some_and(|r| r < revision)
            };
            assert!(!before.revisions.iter().any(older), "{now:?}");
            before = now;
        }
        before
    };
    let (nets, mut before) = tokio::join!(made, watch);
    match agent.try_fetch(Some(&before.revisions)).await.unwrap() {
        HostNews::All(state) => before = state,
        HostNews::Nothing => {}
        HostNews::Around(_) => panic!("nobody moved"),
    }
    assert_eq!(before, agent.fetch().await);
    let mut hosts = Vec::new();
    for net in &nets {
        hosts.push(served_by(&one, net).await);
    }
    assert!(hosts.iter().any(|h| h == "node1") && hosts.iter().any(|h| h == "node22"));
    let ids = |state: HostState| {
        let networks = state.networks.into_iter().filter(|n| n.dhcp_here);
        networks.map(|n| n.id).collect::<Vec<_>>()
    };
    let told = ids(agent.fetch().await);
    let here = nets.iter().zip(&hosts).filter(|(_, h)| *h == "node1");
    assert!(here.clone().count() > 0 && here.clone().all(|(n, _)| told.contains(n)));

    // An administrator's word stands, however many heartbeats pass it.
    let agents = one
        .get("admin", "/v2.0/agents?host=node1&agent_type=DHCP+agent")
        .await;
    let path = format!("/v2.0/agents/{}", text(&agents["agents"][0]["id"]));
    let beats = join_all((0..20).map(|i| both[i % 2].agents("node1")));
    let off = json!({"agent": {"admin_state_up": false}});
    tokio::join!(beats, two.put("admin", &path, off));
    let shown = one.get("admin", &path).await;
    assert_eq!(shown["agent"]["admin_state_up"], false);
    assert_eq!(shown["agent"]["alive"], true);
    assert!(ids(agent.fetch().await).is_empty(), "it serves nothing");
    for net in &nets {
        assert_eq!(served_by(&two, net).await, "node22", "handed over at once");
    }
    let on = json!({"agent": {"admin_state_up": true}});
    one.put("admin", &path, on).await;
    assert_eq!(
        served_by(&two, &nets[0]).await,
        "node22",
        "and not taken back"
    );

    // node22 dies: what both servers learn at the same time moves once, though each could choose one of two.
    let mut revisions = Vec::new();
    for net in &nets {
        revisions.push(
            dhcp_port(&one, net).await["revision_number"]
                .as_i64()
                .unwrap(),
        );
    }
    clock.advance(Duration::from_secs(100));
    let heirs = ["node1", "node333"];
    join_all((0..12).map(|i| both[i % 2].agents(heirs[i / 2 % 2]))).await;
    let mut inherited = Vec::new();
    for (net, before) in nets.iter().zip(&revisions) {
        let host = served_by(&one, net).await;
        assert!(heirs.contains(&host.as_str()), "{host}");
        inherited.push(host);
        let now = dhcp_port(&two, net).await["revision_number"].clone();
        assert_eq!(now, before + 1, "moved once");
    }
    // It comes back, and finds no work that is another's now.
    join_all((0..4).map(|i| both[i % 2].agents("node22"))).await;
    assert!(two.state("node22").await.networks.is_empty());
    for (net, host) in nets.iter().zip(&inherited) {
        assert_eq!(served_by(&one, net).await, *host);
    }

    // A server ends: the other one answers agents.
    drop(one);
    let start = Instant::now();
    while agent.try_fetch(None).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody answers");
    }
    // The broker is started anew: agents hear again.
    broker.restart().await.unwrap();
    let start = Instant::now();
    while agent.try_fetch(None).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(40), "the bus is lost");
    }
    let last = agent.told();
    // What was changed while nobody could be told is found by the next look, and later changes are told again.
    two.subnet("alice-p1", &nets[0], "10.200.0.0/24").await;
    let start = Instant::now();
    while agent.told() <= last {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "never told again"
        );
        let name = format!("10.201.{}.0/24", start.elapsed().as_millis() % 250);
        let body = json!({"subnet": {"network_id": net, "cidr": name, "ip_version": 4}});
        two.call("alice-p1", "POST", "/v2.0/subnets", Some(body))
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let state = two.state(&inherited[0]).await;
    let net = state.networks.iter().find(|n| n.id == nets[0]).unwrap();
    assert!(net.subnets.len() >= 2);
}

/// Tunnels of a network end where its ports are, and nowhere else.
#[tokio::test]
async fn hosts_know_the_other_hosts_of_their_networks() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let alone = house.network("alice-p1", json!({})).await;
    // The network is older than any agent with a tunnel.
    for host in ["net", "node1", "node22", "idle-one"] {
        house.agents(host).await;
    }
    let served = served_by(&house, &net).await;
    let guest = async |host: &str, network: &str| {
        let body = json!({"network_id": network, "tenant_id": "p1", "device_owner": "compute:nova",
            "device_id": base::new_id(), "binding:host_id": host});
        text(&house.port("admin", body).await["id"])
    };
    let peers = async |host: &str, network: &str| {
        let state = house.state(host).await;
        let found = state.networks.into_iter().find(|n| n.id == network);
        let found = found.unwrap().tunnel_peers.into_iter();
        found.map(|a| a.to_string()).collect::<Vec<_>>()
    };
    let end = |host: &str| format!("192.0.2.{}", host.len());
    let on: Vec<&str> = ["node1", "node22"]
        .into_iter()
        .filter(|h| *h != served)
        .collect();
    let mut first = Vec::new();
    for host in &on {
        first.push(guest(host, &net).await);
        guest(host, &alone).await;
    }
    let mut expected: Vec<String> = on.iter().map(|h| end(h)).collect();
    expected.sort();
    assert_eq!(peers(&served, &net).await, expected);
    for host in &on {
        let mut others: Vec<String> = on.iter().filter(|h| *h != host).map(|h| end(h)).collect();
        assert_eq!(peers(host, &alone).await, others, "no DHCP, no third host");
        others.push(end(&served));
        others.sort();
        assert_eq!(peers(host, &net).await, others);
    }
    // A silent host keeps its guests; one without guests is left out.
    house.clock.advance(Duration::from_secs(50));
    house.agents(&served).await;
    house.clock.advance(Duration::from_secs(50));
    assert_eq!(peers(&served, &net).await, expected);
    house
        .delete("admin", &format!("/v2.0/ports/{}", first[0]))
        .await;
    assert_eq!(
        peers(&served, &net).await,
        [end(on[1..].first().unwrap_or(&on[0]))][..on.len() - 1]
    );
}
