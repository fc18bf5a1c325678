//! nova in many processes: api, conductors and schedulers on one database and one bus, and compute hosts that come and go.

use crate::boot::{boot, flavor};
use crate::harness::{API, CONDUCTOR, Cloud, Process, SCHEDULER};
use base::Timestamp;
use nova::db::compute_nodes::ComputeNodeRow;
use nova::instance::status::VmState;
use nova_types::rpc::{ConductorApi as _, ConductorClient, HostReport, PowerAction, PowerState};
use oslo_context::RequestContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn no_quota(conf: &mut nova::config::Conf) {
    conf.quota_instances = -1;
    conf.quota_cores = -1;
}

async fn one(cloud: &Cloud, flavor: &str) -> String {
    boot(cloud, "alice", flavor, 1, json!({})).await.remove(0)
}

fn words(server: &Value) -> &str {
    server["fault"]["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_schedulers_book_no_room_twice() {
    let mut cloud = Cloud::of(API, no_quota).await;
    cloud.host("host2", false).await;
    cloud.host("host3", false).await;
    cloud.neighbours.room(4);
    let _processes = [
        cloud.process("c1", CONDUCTOR).await,
        cloud.process("c2", CONDUCTOR).await,
        cloud.process("s1", SCHEDULER).await,
        cloud.process("s2", SCHEDULER).await,
    ];
    let flavor = flavor(&cloud).await;
    let ids = boot(&cloud, "alice", &flavor, 18, json!({})).await;
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    for id in &ids {
        let server = cloud.settled(id).await;
        let held = cloud.neighbours.allocated(id);
        match server["status"].as_str() {
            Some("ACTIVE") => {
                let host = server["OS-EXT-SRV-ATTR:host"].as_str().unwrap();
                let name = format!("compute-node/{host}/{host}.example");
                assert_eq!(
                    held,
                    [base::id::named_id(&name)],
                    "the claim is where it is"
                );
                *on.entry(host.to_string()).or_default() += 1;
            }
            _ => {
                assert!(held.is_empty(), "what failed holds nothing");
                failed.push(words(&server).to_string());
            }
        }
    }
    let room = |host: &str| (host.to_string(), 4);
    assert_eq!(on, BTreeMap::from(["host1", "host2", "host3"].map(room)));
    assert_eq!(failed.len(), 6);
    for words in failed {
        assert!(words.starts_with("No valid host was found."), "{words}");
    }
    assert!(cloud.neighbours.consumers().values().all(|c| c.len() == 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_waits_for_a_scheduler_and_says_when_none_comes() {
    let cloud = Cloud::of(CONDUCTOR, |conf| conf.scheduler_wait = 2).await;
    let id = one(&cloud, &flavor(&cloud).await).await;
    let server = cloud.settled(&id).await;
    assert_eq!(server["status"], "ERROR");
    assert_eq!(words(&server), "No nova-scheduler answered within 2s.");
    assert!(cloud.neighbours.allocated(&id).is_empty());

    // One that comes in time.
    let cloud = Cloud::of(CONDUCTOR, |conf| conf.scheduler_wait = 30).await;
    let id = one(&cloud, &flavor(&cloud).await).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let _scheduler = cloud.process("s1", SCHEDULER).await;
    assert_eq!(cloud.settled(&id).await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_alone_wakes_a_conductor() {
    let cloud = Cloud::of(API, no_quota).await;
    let _conductor = cloud.process("c1", CONDUCTOR).await;
    let _scheduler = cloud.process("s1", SCHEDULER).await;
    let flavor = flavor(&cloud).await;
    let mut took = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let id = one(&cloud, &flavor).await;
        assert_eq!(cloud.settled(&id).await["status"], "ACTIVE");
        took.push(begun.elapsed());
    }
    // A conductor that nobody woke would find each but the first, which begin when it has just looked, at the end of its
    // second; a slow machine is not slow all the time.
    let shortest = took[1..].iter().min();
    assert!(shortest < Some(&Duration::from_millis(800)), "{took:?}");
    let list = cloud.get("admin", "2.1", "/v2.1/os-services").await;
    let mut services: Vec<(&str, &str)> = list["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["binary"].as_str().unwrap(), s["host"].as_str().unwrap()))
        .collect();
    services.sort();
    let wanted = [
        ("nova-compute", "host1"),
        ("nova-conductor", "c1"),
        ("nova-scheduler", "s1"),
    ];
    assert_eq!(services, wanted, "each says what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_conductor_did_another_one_ends() {
    let cloud = Cloud::of(API, no_quota).await;
    let first = cloud.process("c1", CONDUCTOR).await;
    let _scheduler = cloud.process("s1", SCHEDULER).await;
    let flavor = flavor(&cloud).await;
    cloud.hold(true);
    let id = one(&cloud, &flavor).await;
    let path = format!("/v2.1/servers/{id}");
    let spawning = |s: &Value| (s["server"]["OS-EXT-STS:task_state"] == "spawning").then_some(());
    cloud.wait("admin", &path, spawning).await;
    let _second = cloud.process("c2", CONDUCTOR).await;
    first.kill().await;
    let died = Instant::now();
    cloud.hold(false);
    while cloud.get("admin", "2.1", &path).await["server"]["status"] != "ACTIVE" {
        let waited = died.elapsed();
        assert!(
            waited < Duration::from_secs(25),
            "lease and a second: {waited:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cloud.neighbours.allocated(&id).len(), 1);
    let asked = cloud.neighbours.asked("placement PUT /allocations");
    assert_eq!(asked.len(), 1, "what was saved was not done again");
}

async fn state_of(cloud: &Cloud, host: &str) -> Value {
    let path = format!("/v2.1/os-services?host={host}");
    cloud.get("admin", "2.53", &path).await["services"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_down_or_disabled_get_no_servers() {
    let cloud = Cloud::new().await;
    let flavor = flavor(&cloud).await;
    let service = state_of(&cloud, "host1").await;
    assert_eq!(
        (&service["state"], &service["status"]),
        (&json!("up"), &json!("enabled"))
    );
    let path = format!("/v2.1/os-services/{}", service["id"].as_str().unwrap());
    let by_name =
        |down: bool| json!({"host": "host1", "binary": "nova-compute", "forced_down": down});
    let refuses = async |why: &str| {
        let server = cloud.settled(&one(&cloud, &flavor).await).await;
        assert_eq!(server["status"], "ERROR", "{why}");
        assert!(
            words(&server).contains("ComputeFilter removed 1"),
            "{why}: {server}"
        );
    };
    let takes = async |why: &str| {
        let server = cloud.settled(&one(&cloud, &flavor).await).await;
        assert_eq!(server["status"], "ACTIVE", "{why}: {}", words(&server));
    };

    // By id, at once, and in spite of heartbeats.
    let put = async |version: &str, path: &str, body: Value| {
        let (status, answer) = cloud.ask("admin", version, "PUT", path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    };
    put("2.53", &path, json!({"forced_down": true})).await;
    cloud.heartbeat("host1").await;
    assert_eq!(state_of(&cloud, "host1").await["state"], "down");
    refuses("forced down").await;
    put("2.53", &path, json!({"forced_down": false})).await;
    takes("up again").await;

    // In the words of old.
    put("2.11", "/v2.1/os-services/force-down", by_name(true)).await;
    assert_eq!(state_of(&cloud, "host1").await["state"], "down");
    refuses("forced down by name").await;
    put("2.11", "/v2.1/os-services/force-down", by_name(false)).await;

    put(
        "2.53",
        &path,
        json!({"status": "disabled", "disabled_reason": "new disks"}),
    )
    .await;
    refuses("disabled").await;
    put("2.53", &path, json!({"status": "enabled"})).await;
    takes("enabled").await;

    // Not heard of for too long.
    cloud.clock.advance(Duration::from_secs(59));
    assert_eq!(state_of(&cloud, "host1").await["state"], "up");
    cloud.clock.advance(Duration::from_secs(2));
    assert_eq!(state_of(&cloud, "host1").await["state"], "down");
    refuses("silent").await;
    cloud.heartbeat("host1").await;
    takes("heard of again").await;
}

async fn report(cloud: &Cloud, change: impl FnOnce(&mut HostReport)) -> Vec<String> {
    let mut report = cloud.report("host1");
    change(&mut report);
    let (conductor, ctx) = (ConductorClient::new(&cloud.bus), RequestContext::internal());
    conductor.report_host(&ctx, report).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn conductors_side_by_side_keep_placement_up_to_date() {
    let cloud = Cloud::of(API, no_quota).await;
    let (first, second) = (
        cloud.process("c1", CONDUCTOR).await,
        cloud.process("c2", CONDUCTOR).await,
    );
    let told = async |vcpus: u32, by: &Process| {
        cloud.neighbours.asked("");
        let mut report = cloud.report("host1");
        report.vcpus = vcpus;
        let conductor = nova::rpc::Conductor(by.nova());
        let ctx = RequestContext::internal();
        conductor.report_host(&ctx, report).await.unwrap();
        let asked = cloud.neighbours.asked("placement PUT /resource_providers");
        !asked.is_empty()
    };
    assert!(told(8, &first).await);
    assert!(!told(8, &first).await, "nothing changed");
    assert!(told(16, &second).await);
    assert!(told(8, &first).await, "the other one said 16 since");
    assert!(!told(8, &first).await);
    assert!(told(8, &second).await, "it only knows of what it said");
}

async fn skew(cloud: &Cloud) -> i64 {
    let nodes = cloud
        .nova
        .db
        .read(|tx| tx.select::<ComputeNodeRow>(oslo_db::everything()));
    nodes.await.unwrap()[0].clock_skew_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn the_skew_of_a_hosts_clock_is_kept() {
    let cloud = Cloud::new().await;
    report(&cloud, |_| ()).await;
    assert_eq!(skew(&cloud).await, 0);
    for (ahead, expected) in [(7_500_000, 7_500), (-90_000_000, -90_000), (0, 0)] {
        let now = cloud.clock.now();
        report(&cloud, |r| r.reported_at = Timestamp(now.0 + ahead)).await;
        assert_eq!(skew(&cloud).await, expected);
        // The host's own clock has no say in whether it lives.
        assert_eq!(state_of(&cloud, "host1").await["state"], "up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_away_is_brought_in_line_with_what_was_decided_meanwhile() {
    let cloud = Cloud::new().await;
    let stopped = cloud
        .server(|s| {
            s.vm_state = VmState::Stopped;
            s.power_state = 4;
        })
        .await;
    let running = cloud.server(|_| ()).await;
    let deleted = cloud.server(|_| ()).await;

    cloud.neighbours.wire();
    // Away: what is deleted now is deleted at once.
    cloud.clock.advance(Duration::from_secs(90));
    let path = format!("/v2.1/servers/{}", deleted.id);
    assert_eq!(
        cloud.ask("alice", "2.1", "DELETE", &path, None).await.0,
        204
    );
    for _ in 0..1000 {
        if cloud.ask("alice", "2.1", "GET", &path, None).await.0 == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Back: one guest runs and should not, one should and does not, one nobody knows any more.
    let guests = [
        (stopped.id.clone(), PowerState::Running),
        (running.id.clone(), PowerState::Shutdown),
        (deleted.id.clone(), PowerState::Running),
    ];
    let belong = report(&cloud, |r| r.instances = guests.into()).await;
    assert!(belong.contains(&stopped.id) && belong.contains(&running.id));
    assert!(!belong.contains(&deleted.id), "the host removes it");
    for id in [&stopped.id, &running.id] {
        let server = cloud.settled(id).await;
        assert_eq!(server["status"], "SHUTOFF");
        assert_eq!(server["OS-EXT-STS:power_state"], 4);
    }
    let told = cloud.powers();
    let (ids, actions): (Vec<String>, Vec<PowerAction>) = told.into_iter().unzip();
    assert_eq!(ids, std::slice::from_ref(&stopped.id));
    assert!(matches!(actions[0], PowerAction::Stop { .. }));

    // A report from before a stop is no reason to stop once more.
    let again = [(stopped.id.clone(), PowerState::Running)];
    report(&cloud, |r| r.instances = again.into()).await;
    assert_eq!(cloud.powers().len(), 1);
}
