//! Hosts that only ask what is new know what there is; and whoever has something new is woken, and few others.

use crate::house::{House, text};
use async_trait::async_trait;
use base::{Clock, Result, Timestamp};
use neutron::Conf;
use neutron_types::rpc::{
    AgentApi, AgentClient, AgentKind, AgentReport, HostNews, HostReport, HostState, PluginClient,
    Revisions, agent_server,
};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Ear(Arc<AtomicUsize>);

#[async_trait]
impl AgentApi for Ear {
    async fn state_changed(&self, _: &RequestContext, _: Revisions) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A host that follows what is new.
struct Follower {
    host: &'static str,
    state: HostState,
    woken: Arc<AtomicUsize>,
    heard: usize,
    _hears: Vec<ServerHandle>,
}

impl Follower {
    async fn new(host: &'static str, bus: &Bus, kinds: &[AgentKind]) -> Follower {
        let woken = Arc::new(AtomicUsize::new(0));
        let mut hears = Vec::new();
        for kind in kinds {
            let (name, ear) = (agent_server(host, *kind), Arc::new(Ear(woken.clone())));
            hears.push(AgentClient::serve(bus, &name, ear).await.unwrap());
        }
        Follower {
            host,
            state: HostState::default(),
            woken,
            heard: 0,
            _hears: hears,
        }
    }

    fn take(&mut self, news: HostNews) {
        match news {
            HostNews::Nothing => {}
            HostNews::All(state) => self.state = state,
            HostNews::Around(around) => {
                self.state.remote_groups.extend(around.remote_groups);
                for network in &mut self.state.networks {
                    if let Some(peers) = around.tunnel_peers.get(&network.id) {
                        network.tunnel_peers.clone_from(peers);
                    }
                }
                self.state.revisions = around.revisions;
            }
        }
    }
}

struct World {
    url: String,
    clock: Clock,
    house: House,
    followers: Vec<Follower>,
    silent: &'static [&'static str],
    /// Wakes for nothing.
    needless: usize,
    wakes: usize,
}

impl World {
    async fn new(url: &str) -> World {
        let bus = Bus::in_process();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let house = World::server("control", url, &bus, &clock).await;
        let all = [AgentKind::L2, AgentKind::Dhcp, AgentKind::L3];
        let mut followers = Vec::new();
        for host in ["net", "node1", "node22", "idle-one"] {
            house.agents(host).await;
            followers.push(Follower::new(host, &bus, &all).await);
        }
        let mut world = World {
            url: url.into(),
            clock,
            house,
            followers,
            silent: &[],
            needless: 0,
            wakes: 0,
        };
        for follower in &mut world.followers {
            follower.state = world.house.state(follower.host).await;
        }
        world
    }

    async fn server(name: &str, url: &str, bus: &Bus, clock: &Clock) -> House {
        let conf = Conf {
            neighbour_notices_per_second: 10_000,
            ..Conf::default()
        };
        House::server(name, url, bus.clone(), clock.clone(), conf, None).await
    }

    /// After each change: who asks what is new knows all, as a server says that has never been asked before.
    async fn follows(&mut self, what: &str) {
        let fresh = World::server("fresh", &self.url, &Bus::in_process(), &self.clock).await;
        let mut changed = Vec::new();
        for follower in &mut self.followers {
            let before = follower.state.clone();
            let mut attempts = 3;
            let now = loop {
                let known = follower.state.revisions.clone();
                let news = self.house.news(follower.host, Some(&known)).await;
                follower.take(news);
                let now = fresh.state(follower.host).await;
                if follower.state == now {
                    break now;
                }
                // On a slow machine the server may have given work to somebody meanwhile.
                attempts -= 1;
                assert!(
                    attempts > 0,
                    "{} after {what}: {:?} is not {now:?}",
                    follower.host,
                    follower.state
                );
            };
            let revisions = now.revisions.clone();
            changed.push(
                HostState {
                    revisions,
                    ..before
                } != now,
            );
        }
        // Whoever has something new is told so; the silent are not.
        let begun = Instant::now();
        for (follower, changed) in self.followers.iter().zip(&changed) {
            let waits = *changed && !self.silent.contains(&follower.host);
            while waits && follower.woken.load(Ordering::SeqCst) == follower.heard {
                let late = begun.elapsed() > Duration::from_secs(20);
                assert!(!late, "{} was not told of: {what}", follower.host);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // What is told for nothing comes as fast as what is not.
        tokio::time::sleep(Duration::from_millis(10)).await;
        for (follower, changed) in self.followers.iter_mut().zip(&changed) {
            let woken = follower.woken.load(Ordering::SeqCst);
            self.wakes += woken - follower.heard;
            self.needless += if *changed { 0 } else { woken - follower.heard };
            follower.heard = woken;
        }
    }

    async fn put(&mut self, path: &str, body: Value) -> Value {
        let reply = self.house.put("admin", path, body.clone()).await;
        self.follows(&format!("PUT {path} {body}")).await;
        reply
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        let reply = self.house.post("admin", path, body.clone()).await;
        self.follows(&format!("POST {path} {body}")).await;
        reply
    }

    async fn delete(&mut self, path: &str) {
        self.house.delete("admin", path).await;
        self.follows(&format!("DELETE {path}")).await;
    }

    /// Makes something of a project and says its id.
    async fn make(&mut self, noun: &str, plural: &str, body: Value) -> String {
        let reply = self
            .post(&format!("/v2.0/{plural}"), json!({ noun: body }))
            .await;
        text(&reply[noun]["id"])
    }

    async fn port(&mut self, network: &str, host: &str, more: Value) -> String {
        let mut body = json!({"network_id": network, "tenant_id": "p1", "binding:host_id": host,
            "device_owner": "compute:nova", "device_id": base::new_id()});
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        self.make("port", "ports", body).await
    }

    async fn agent(&self, host: &str, kind: &str) -> String {
        let path = format!("/v2.0/agents?host={host}&agent_type={kind}+agent");
        let found = self.house.get("admin", &path).await;
        text(&found["agents"][0]["id"])
    }
}

async fn story(url: &str) {
    let mut w = World::new(url).await;
    let net = w
        .make("network", "networks", json!({"tenant_id": "p1"}))
        .await;
    let other = w
        .make("network", "networks", json!({"tenant_id": "p1"}))
        .await;
    let v4 = json!({"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4, "tenant_id": "p1"});
    let subnet = w.make("subnet", "subnets", v4).await;
    let second = json!({"network_id": other, "cidr": "10.1.0.0/24", "ip_version": 4});
    let second = w.make("subnet", "subnets", second).await;

    // Ports come to hosts, change, move and go.
    let a = w.port(&net, "node1", json!({})).await;
    let b = w.port(&net, "node22", json!({})).await;
    let c = w.port(&other, "node22", json!({})).await;
    let unbound = w.port(&net, "", json!({})).await;
    let port = |id: &str| format!("/v2.0/ports/{id}");
    for change in [
        json!({"name": "n"}),
        json!({"admin_state_up": false}),
        json!({"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.0.0.50"}]}),
        json!({"allowed_address_pairs": [{"ip_address": "10.0.0.200"}]}),
        json!({"dns_name": "web"}),
        json!({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}]}),
        json!({"mac_address": "fa:16:3e:11:22:33"}),
        json!({"security_groups": []}),
        json!({"allowed_address_pairs": []}),
        json!({"port_security_enabled": false}),
        json!({"port_security_enabled": true}),
        json!({"binding:host_id": "idle-one"}),
        json!({"binding:host_id": "node1", "device_id": "x"}),
        json!({"device_owner": "compute:other"}),
    ] {
        w.put(&port(&a), json!({"port": change})).await;
    }
    w.put(
        &port(&unbound),
        json!({"port": {"binding:host_id": "node1"}}),
    )
    .await;
    w.put(&port(&unbound), json!({"port": {"binding:host_id": ""}}))
        .await;

    // Groups and rules.
    let group = json!({"name": "g", "tenant_id": "p1"});
    let group = w.make("security_group", "security-groups", group).await;
    let friend = json!({"name": "h", "tenant_id": "p1"});
    let friend = w.make("security_group", "security-groups", friend).await;
    w.put(&port(&a), json!({"port": {"security_groups": [group]}}))
        .await;
    w.put(&port(&c), json!({"port": {"security_groups": [friend]}}))
        .await;
    let rule = |more: Value| {
        let mut rule =
            json!({"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        rule
    };
    let open = rule(json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}));
    let open = w
        .make("security_group_rule", "security-group-rules", open)
        .await;
    let remote = rule(json!({"remote_group_id": friend}));
    w.make("security_group_rule", "security-group-rules", remote)
        .await;
    w.put(
        &port(&c),
        json!({"port": {"fixed_ips": [{"ip_address": "10.1.0.77"}]}}),
    )
    .await;
    let d = w
        .port(&other, "idle-one", json!({"security_groups": [friend]}))
        .await;
    w.delete(&format!("/v2.0/security-group-rules/{open}"))
        .await;
    w.delete(&port(&d)).await;
    w.put(&port(&c), json!({"port": {"security_groups": []}}))
        .await;
    w.delete(&format!("/v2.0/security-groups/{friend}")).await;
    w.put(
        &format!("/v2.0/security-groups/{group}"),
        json!({"security_group": {"name": "gg"}}),
    )
    .await;

    // Networks and subnets.
    w.put(
        &format!("/v2.0/networks/{net}"),
        json!({"network": {"mtu": 1300}}),
    )
    .await;
    let at = format!("/v2.0/subnets/{subnet}");
    w.put(&at, json!({"subnet": {"dns_nameservers": ["9.9.9.9"]}}))
        .await;
    w.put(&at, json!({"subnet": {"enable_dhcp": false}})).await;
    w.put(&at, json!({"subnet": {"enable_dhcp": true}})).await;
    let v6 = json!({"network_id": net, "cidr": "2001:db8::/64", "ip_version": 6,
        "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
    let v6 = w.make("subnet", "subnets", v6).await;
    w.delete(&format!("/v2.0/subnets/{v6}")).await;

    // Routers, their legs, the way out and floating addresses.
    let outside = json!({"router:external": true});
    let outside = w.make("network", "networks", outside).await;
    let pool = json!({"network_id": outside, "cidr": "198.18.0.0/24", "ip_version": 4,
        "enable_dhcp": false});
    w.make("subnet", "subnets", pool).await;
    let router = w
        .make("router", "routers", json!({"tenant_id": "p1"}))
        .await;
    let at = format!("/v2.0/routers/{router}");
    let leg = |verb: &str| format!("{at}/{verb}_router_interface");
    w.put(&leg("add"), json!({"subnet_id": subnet})).await;
    w.put(&leg("add"), json!({"subnet_id": second})).await;
    let gateway = json!({"router": {"external_gateway_info": {"network_id": outside}}});
    w.put(&at, gateway).await;
    let snat = json!({"network_id": outside, "enable_snat": false});
    w.put(&at, json!({"router": {"external_gateway_info": snat}}))
        .await;
    w.put(
        &at,
        json!({"router": {"routes": [{"destination": "10.5.0.0/24", "nexthop": "10.0.0.9"}]}}),
    )
    .await;
    w.put(&at, json!({"router": {"routes": []}})).await;
    w.put(&at, json!({"router": {"admin_state_up": false}}))
        .await;
    w.put(&at, json!({"router": {"admin_state_up": true}}))
        .await;
    let floating = json!({"floating_network_id": outside, "port_id": a, "tenant_id": "p1"});
    let floating = w.make("floatingip", "floatingips", floating).await;
    let to = format!("/v2.0/floatingips/{floating}");
    w.put(&to, json!({"floatingip": {"port_id": b}})).await;
    w.put(&to, json!({"floatingip": {"port_id": null}})).await;
    w.put(&to, json!({"floatingip": {"port_id": c}})).await;
    w.delete(&port(&c)).await;
    w.delete(&to).await;

    // The operator moves what agents serve.
    let served = w
        .house
        .get("admin", &format!("/v2.0/networks/{net}/dhcp-agents"))
        .await;
    let serving = text(&served["agents"][0]["id"]);
    w.delete(&format!("/v2.0/agents/{serving}/dhcp-networks/{net}"))
        .await;
    let free = w.agent("idle-one", "DHCP").await;
    w.post(
        &format!("/v2.0/agents/{free}/dhcp-networks"),
        json!({"network_id": net}),
    )
    .await;
    let has = w.house.get("admin", &format!("{at}/l3-agents")).await;
    let has = text(&has["agents"][0]["id"]);
    w.delete(&format!("/v2.0/agents/{has}/l3-routers/{router}"))
        .await;
    let free = w.agent("node22", "L3").await;
    w.post(
        &format!("/v2.0/agents/{free}/l3-routers"),
        json!({"router_id": router}),
    )
    .await;
    w.put(
        &format!("/v2.0/agents/{free}"),
        json!({"agent": {"admin_state_up": false}}),
    )
    .await;
    w.put(
        &format!("/v2.0/agents/{free}"),
        json!({"agent": {"admin_state_up": true}}),
    )
    .await;
    let l2 = w.agent("node22", "Linux+bridge").await;
    w.delete(&format!("/v2.0/agents/{l2}")).await;
    w.house.agents("node22").await;
    w.follows("an agent is back").await;

    // Hosts die: what they served moves.
    w.clock.advance(Duration::from_secs(100));
    for (host, silent) in [
        ("node1", &["net", "node22", "idle-one"] as &[_]),
        ("idle-one", &["net", "node22"]),
    ] {
        w.silent = silent;
        w.house.agents(host).await;
        w.follows("others are silent").await;
    }
    w.silent = &[];
    for host in ["net", "node22"] {
        w.house.agents(host).await;
        w.follows("they are back").await;
    }

    // All goes.
    w.put(&leg("remove"), json!({"subnet_id": second})).await;
    w.put(&leg("remove"), json!({"subnet_id": subnet})).await;
    w.put(&at, json!({"router": {"external_gateway_info": null}}))
        .await;
    w.delete(&at).await;
    for id in [&a, &b, &unbound] {
        w.delete(&port(id)).await;
    }
    for id in [&net, &other, &outside] {
        w.delete(&format!("/v2.0/networks/{id}")).await;
    }
    for follower in &w.followers {
        assert!(follower.state.networks.is_empty() && follower.state.ports.is_empty());
    }
    println!("{} wakes, of which {} for nothing", w.wakes, w.needless);
    assert!(w.needless * 3 < w.wakes, "{} of {}", w.needless, w.wakes);
}

#[tokio::test]
async fn whoever_asks_what_is_new_knows_all() {
    let folder = std::env::temp_dir().join(format!("neutron-follow-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    story(&format!("sqlite://{}", folder.join("n.sqlite").display())).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn whoever_asks_what_is_new_knows_all_on_mariadb() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    story(&server.database().await.unwrap()).await;
}

/// Who is new to one server is told by another, even if that one has just looked who listens.
#[tokio::test]
async fn a_host_that_another_server_met_is_told_at_once() {
    let folder = std::env::temp_dir().join(format!("neutron-met-{}", base::new_id()));
    std::fs::create_dir(&folder).unwrap();
    let url = format!("sqlite://{}", folder.join("n.sqlite").display());
    let (bus, clock) = (
        Bus::in_process(),
        Clock::manual(Timestamp::from_seconds(1_800_000_000)),
    );
    let one = World::server("one", &url, &bus, &clock).await;
    let _two = World::server("two", &url, &bus, &clock).await;
    let net = one.network("alice-p1", json!({})).await;
    let guest = async |host: &str| {
        let guest = json!({"network_id": net, "device_id": "vm", "device_owner": "compute:nova",
            "binding:host_id": host});
        one.port("admin", guest).await;
    };
    for host in ["new-1", "new-22", "new-333"] {
        let newcomer = Follower::new(host, &bus, &[AgentKind::L2]).await;
        // The one server looks who listens, for the sake of a host where nobody does.
        guest("nowhere").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let report = HostReport {
            host: host.into(),
            agents: vec![AgentReport {
                agent_type: "Linux bridge agent".into(),
                binary: "neutron-linuxbridge-agent".into(),
                ..AgentReport::default()
            }],
        };
        let other = PluginClient::new(bus.clone()).server("two");
        let ctx = RequestContext::internal();
        other.report_agents(&ctx, vec![report]).await.unwrap();
        let start = Instant::now();
        let before = newcomer.woken.load(Ordering::SeqCst);
        guest(host).await;
        while newcomer.woken.load(Ordering::SeqCst) == before {
            assert!(start.elapsed() < Duration::from_secs(20), "never told");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("told after {:?}", start.elapsed());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
