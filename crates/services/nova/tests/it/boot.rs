//! Boots over several hosts: who is chosen, who is tried next, and who says why not.

use crate::harness::Cloud;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub async fn flavor(cloud: &Cloud) -> String {
    let body = json!({"flavor": {"name": "m1.tiny", "vcpus": 1, "ram": 64, "disk": 1}});
    let made = cloud.post("admin", "2.1", "/v2.1/flavors", body).await;
    made["flavor"]["id"].as_str().unwrap().to_string()
}

/// Asks for servers; the ids of all that came of it.
pub async fn boot(cloud: &Cloud, who: &str, flavor: &str, count: u64, hints: Value) -> Vec<String> {
    let body = json!({
        "server": {"name": "web", "flavorRef": flavor, "imageRef": base::new_id(), "networks": "none",
            "min_count": count, "max_count": count, "return_reservation_id": true},
        "os:scheduler_hints": hints,
    });
    let made = cloud.post(who, "2.74", "/v2.1/servers", body).await;
    let reservation = made["reservation_id"].as_str().unwrap();
    let path = format!("/v2.1/servers?reservation_id={reservation}");
    let servers = cloud.get(who, "2.74", &path).await;
    let servers = servers["servers"].as_array().unwrap();
    assert_eq!(servers.len() as u64, count);
    let ids = servers.iter().map(|s| s["id"].as_str().unwrap());
    ids.map(str::to_string).collect()
}

async fn group(cloud: &Cloud, group: Value) -> Value {
    let body = json!({"server_group": group});
    let made = cloud
        .post("alice", "2.64", "/v2.1/os-server-groups", body)
        .await;
    json!({"group": made["server_group"]["id"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_want_to_be_apart_are_even_when_they_come_together() {
    let mut cloud = Cloud::new().await;
    cloud.host("host2", false).await;
    cloud.host("host3", false).await;
    let flavor = flavor(&cloud).await;
    let apart = json!({"name": "apart", "policy": "anti-affinity"});
    let hints = group(&cloud, apart).await;
    let ids = boot(&cloud, "alice", &flavor, 4, hints).await;
    let (mut hosts, mut failed) = (BTreeSet::new(), Vec::new());
    for id in &ids {
        let server = cloud.settled(id).await;
        match server["status"].as_str() {
            Some("ACTIVE") => {
                let host = server["OS-EXT-SRV-ATTR:host"].as_str().unwrap();
                assert!(hosts.insert(host.to_string()), "two members on {host}");
                assert_eq!(cloud.neighbours.allocated(id).len(), 1);
            }
            _ => failed.push(server),
        }
    }
    assert_eq!(hosts.len(), 3);
    let words = failed[0]["fault"]["message"].as_str().unwrap();
    assert_eq!(
        words,
        "No valid host was found. Of 3 hosts ServerGroupAntiAffinityFilter removed 3."
    );
    let id = failed[0]["id"].as_str().unwrap();
    assert!(cloud.neighbours.allocated(id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_want_to_be_together_are_even_when_they_come_together() {
    let mut cloud = Cloud::new().await;
    cloud.host("host2", false).await;
    let flavor = flavor(&cloud).await;
    let near = json!({"name": "near", "policy": "affinity"});
    let hints = group(&cloud, near).await;
    let ids = boot(&cloud, "alice", &flavor, 4, hints).await;
    let mut hosts = BTreeSet::new();
    for id in &ids {
        let server = cloud.settled(id).await;
        assert_eq!(server["status"], "ACTIVE", "{}", server["fault"]);
        hosts.insert(server["OS-EXT-SRV-ATTR:host"].to_string());
    }
    assert_eq!(hosts.len(), 1, "{hosts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_per_host_if_the_rule_says_so() {
    let cloud = Cloud::new().await;
    let flavor = flavor(&cloud).await;
    let rule =
        json!({"name": "pairs", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}});
    let hints = group(&cloud, rule).await;
    let ids = boot(&cloud, "alice", &flavor, 3, hints).await;
    let mut states = Vec::new();
    for id in &ids {
        states.push(cloud.settled(id).await["status"].to_string());
    }
    states.sort();
    assert_eq!(states, [r#""ACTIVE""#, r#""ACTIVE""#, r#""ERROR""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_is_given_back_and_another_one_tried() {
    let mut cloud = Cloud::new().await;
    // It has more room, so it is the first choice.
    cloud.host("host0", true).await;
    for _ in 0..3 {
        cloud.server(|_| ()).await;
    }
    let flavor = flavor(&cloud).await;
    let ids = boot(&cloud, "alice", &flavor, 1, json!({})).await;
    let server = cloud.settled(&ids[0]).await;
    assert_eq!(server["status"], "ACTIVE", "{}", server["fault"]);
    assert_eq!(server["OS-EXT-SRV-ATTR:host"], "host1");
    assert_eq!(cloud.neighbours.allocated(&ids[0]).len(), 1);

    // No host is left: the fault names the filter that kept the first one out, and what it said.
    cloud.host("host2", true).await;
    let aggregate = json!({"aggregate": {"name": "broken", "availability_zone": "broken"}});
    let made = cloud
        .post("admin", "2.1", "/v2.1/os-aggregates", aggregate)
        .await;
    let action = format!("/v2.1/os-aggregates/{}/action", made["aggregate"]["id"]);
    let join = json!({"add_host": {"host": "host2"}});
    cloud.post("admin", "2.1", &action, join).await;
    let body = json!({"server": {"name": "web", "flavorRef": flavor, "imageRef": base::new_id(), "networks": "none",
        "availability_zone": "broken"}});
    let made = cloud.post("alice", "2.74", "/v2.1/servers", body).await;
    let id = made["server"]["id"].as_str().unwrap();
    let server = cloud.settled(id).await;
    assert_eq!(server["status"], "ERROR");
    let words = server["fault"]["message"].as_str().unwrap();
    assert!(
        words.starts_with(
            "No valid host was found. Of 3 hosts AvailabilityZoneFilter removed 2, RetryFilter removed 1"
        ),
        "{words}"
    );
    assert!(cloud.neighbours.allocated(id).is_empty());
}
