//! What a boot costs, counted: queries, messages, and how many hosts it wakes.

use crate::house::{House, text};
use async_trait::async_trait;
use base::{Clock, Result, Timestamp};
use futures::StreamExt;
use neutron::Conf;
use neutron_types::rpc::{
    AgentApi, AgentClient, AgentReport, HostNews, HostReport, PluginClient, PortsReport, Revisions,
};
use oslo_context::RequestContext;
use oslo_db::Stats;
use oslo_messaging::{Bus, ServerHandle};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What is asked of the database until nothing more is: what follows a change beside it counts, too.
async fn queries(house: &House, work: impl Future<Output = ()>) -> u64 {
    let before = settled(house).await;
    work.await;
    settled(house).await.queries - before.queries
}

async fn settled(house: &House) -> Stats {
    let mut stats = house.db.stats();
    loop {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let now = house.db.stats();
        if now == stats {
            return now;
        }
        stats = now;
    }
}

#[tokio::test]
async fn the_queries_of_a_boot() {
    let house = House::new().await;
    for n in 0..5 {
        house.agents(&format!("node{n}")).await;
    }
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/16").await;
    // The first port makes the project's default group.
    house.port("alice-p1", json!({"network_id": net})).await;
    let mut id = String::new();
    let create = queries(&house, async {
        let body = json!({"network_id": net, "project_id": "p1", "device_owner": "compute:nova",
            "device_id": base::new_id(), "binding:host_id": "node1"});
        id = text(&house.port("service-service", body).await["id"]);
    })
    .await;
    let path = format!("/v2.0/ports/{id}");
    let up = queries(&house, house.up("node1", &[&id])).await;
    let state = house.state("node1").await;
    let again = queries(&house, async {
        let news = house.news("node1", Some(&state.revisions)).await;
        assert_eq!(news, HostNews::Nothing);
    })
    .await;
    let whole = queries(&house, async { drop(house.state("node1").await) }).await;
    let beat = queries(&house, house.agents("node1")).await;
    let bind = queries(&house, async {
        let body = json!({"port": {"binding:host_id": "node4"}});
        house.put("service-service", &path, body).await;
    })
    .await;
    let delete = queries(&house, house.delete("service-service", &path)).await;
    println!(
        "create {create} up {up} whole state {whole} nothing new {again} heartbeat of three agents {beat} \
         bind {bind} delete {delete}"
    );
    // Three (bind, delete) to five (create) of them are the herald's, once for however many changes there were meanwhile.
    assert!(create <= 21, "{create}");
    assert!(up <= 2, "{up}");
    assert!(whole <= 19, "{whole}");
    assert_eq!(again, 1);
    assert_eq!(beat, 2);
    assert!(bind <= 19, "{bind}");
    assert!(delete <= 16, "{delete}");
}

/// A host that does as the agents do, and counts.
struct Simulated {
    wake: Notify,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    wakes: AtomicU64,
    nothing: AtomicU64,
    around: AtomicU64,
    all: AtomicU64,
    up: AtomicU64,
}

#[async_trait]
impl AgentApi for Simulated {
    async fn state_changed(&self, _: &RequestContext, _: Revisions) -> Result<()> {
        self.counts.wakes.fetch_add(1, Relaxed);
        self.wake.notify_one();
        Ok(())
    }
}

async fn simulate(host: String, plugin: PluginClient, us: Arc<Simulated>) {
    let ctx = RequestContext::internal();
    let mut known: Option<Revisions> = None;
    let counts = &us.counts;
    loop {
        let news = plugin.host_state(&ctx, host.clone(), known.clone()).await;
        match news.unwrap() {
            HostNews::Nothing => drop(counts.nothing.fetch_add(1, Relaxed)),
            HostNews::Around(around) => {
                counts.around.fetch_add(1, Relaxed);
                known = Some(around.revisions);
            }
            HostNews::All(state) => {
                counts.all.fetch_add(1, Relaxed);
                known = Some(state.revisions);
                let new = state.ports.iter().filter(|p| !p.active);
                let up: Vec<String> = new.map(|p| p.id.clone()).collect();
                if !up.is_empty() {
                    counts.up.fetch_add(up.len() as u64, Relaxed);
                    let host = host.clone();
                    let down = Vec::new();
                    let report = PortsReport { host, up, down };
                    plugin.ports_status(&ctx, vec![report]).await.unwrap();
                }
            }
        }
        us.wake.notified().await;
    }
}

struct Hosts {
    counts: Arc<Counts>,
    _listening: Vec<ServerHandle>,
    _working: Vec<tokio::task::JoinHandle<()>>,
}

impl Hosts {
    async fn boot(house: &House, bus: &Bus, count: usize) -> Hosts {
        let counts = Arc::new(Counts::default());
        let (mut listening, mut working) = (Vec::new(), Vec::new());
        let names: Vec<String> = (1..=count).map(|n| format!("rack-{n}")).collect();
        for (some, n) in names.chunks(100).zip(0..) {
            let report = |(i, host): (usize, &String)| HostReport {
                host: host.clone(),
                agents: vec![AgentReport {
                    agent_type: "Linux bridge agent".into(),
                    binary: "neutron-linuxbridge-agent".into(),
                    configurations: [("tunneling_ip".into(), json!(format!("10.{n}.0.{}", i + 1)))]
                        .into_iter()
                        .collect(),
                    ..AgentReport::default()
                }],
            };
            let reports = some.iter().enumerate().map(report).collect();
            let ctx = RequestContext::internal();
            house.plugin().report_agents(&ctx, reports).await.unwrap();
        }
        for host in &names {
            let us = Arc::new(Simulated {
                wake: Notify::new(),
                counts: Arc::clone(&counts),
            });
            listening.push(AgentClient::serve(bus, host, us.clone()).await.unwrap());
            let plugin = PluginClient::new(bus.clone());
            working.push(tokio::spawn(simulate(host.clone(), plugin, us)));
        }
        Hosts {
            counts,
            _listening: listening,
            _working: working,
        }
    }

    async fn until(&self, what: &str, seen: impl Fn(&Counts) -> bool) {
        let begun = Instant::now();
        while !seen(&self.counts) {
            assert!(begun.elapsed() < Duration::from_secs(300), "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Many boots on many hosts: in one network and group, which concerns all of them, or each host's project for itself.
async fn boots(hosts: usize, boots: usize, together: bool) {
    let bus = Bus::in_process();
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let conf = Conf {
        quota_port: -1,
        quota_network: -1,
        quota_subnet: -1,
        ..Conf::default()
    };
    let house = House::server("control", "sqlite::memory:", bus.clone(), clock, conf, None).await;
    let cloud = Hosts::boot(&house, &bus, hosts).await;
    cloud
        .until("all ask", |c| c.all.load(Relaxed) >= hosts as u64)
        .await;
    let mut networks = Vec::new();
    for n in 0..if together { 1 } else { hosts } {
        let owner = format!("alice-p{n}");
        let net = house.network(&owner, json!({})).await;
        house.subnet(&owner, &net, "10.0.0.0/16").await;
        networks.push(net);
    }
    let begun = Instant::now();
    let before = settled(&house).await;
    let (house, networks) = (&house, &networks);
    futures::stream::iter(0..boots)
        .map(|i| async move {
            let n = if together { 0 } else { i % hosts };
            let body = json!({"network_id": networks[n], "project_id": format!("p{n}"),
                "device_owner": "compute:nova", "device_id": base::new_id(),
                "binding:host_id": format!("rack-{}", i % hosts + 1)});
            house.port("service-service", body).await;
        })
        .buffer_unordered(8)
        .for_each(async |()| ())
        .await;
    let created = begun.elapsed();
    cloud
        .until("all up", |c| c.up.load(Relaxed) >= boots as u64)
        .await;
    let up = begun.elapsed();
    let after = settled(house).await;
    let heard = house.compute.heard.lock().unwrap();
    let events: usize = heard
        .iter()
        .map(|m| m["events"].as_array().unwrap().len())
        .sum();
    let c = &cloud.counts;
    let each = |n: u64| n as f64 / boots as f64;
    println!(
        "{hosts} hosts, {boots} boots, {}: created in {created:?}, up after {up:?}; of each boot: {:.1} queries, {:.2} \
         transactions, {:.2} wakes, {:.2} whole states, {:.2} parts, {:.2} askings for nothing, {:.3} messages to nova",
        if together {
            "one network"
        } else {
            "a project for each host"
        },
        each(after.queries - before.queries),
        each(after.reads + after.writes - before.reads - before.writes),
        each(c.wakes.load(Relaxed)),
        each(c.all.load(Relaxed) - hosts as u64),
        each(c.around.load(Relaxed)),
        each(c.nothing.load(Relaxed)),
        each(heard.len() as u64),
    );
    assert_eq!(events, boots, "compute is told of each");
    assert!(heard.len() < boots, "and not one by one: {}", heard.len());
    if !together {
        // The host, and its own part of network and group.
        assert!(each(c.wakes.load(Relaxed)) < 3.0);
    } else {
        // Before, each boot woke each host.
        assert!(each(c.wakes.load(Relaxed)) < hosts as f64 / 4.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hosts_in_one_network() {
    boots(100, 300, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hosts_of_their_own() {
    boots(100, 300, false).await;
}
