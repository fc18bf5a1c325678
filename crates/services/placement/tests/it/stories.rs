//! What placement promises its neighbours.

use crate::cloud::Cloud;
use serde_json::{Value, json};

async fn provider(cloud: &Cloud, name: &str, inventories: Value) -> String {
    let made = cloud
        .ok("POST", "/resource_providers", Some(json!({"name": name})))
        .await;
    let id = made["uuid"].as_str().unwrap().to_string();
    let body = json!({"resource_provider_generation": 0, "inventories": inventories});
    cloud
        .ok(
            "PUT",
            &format!("/resource_providers/{id}/inventories"),
            Some(body),
        )
        .await;
    id
}

fn claim(provider: &str, resources: Value) -> Value {
    json!({
        "allocations": {provider: {"resources": resources}}, "project_id": "p1", "user_id": "u1",
        "consumer_type": "INSTANCE", "consumer_generation": null,
    })
}

#[tokio::test]
async fn of_64_concurrent_claims_for_10_places_10_win() {
    let cloud = Cloud::new().await;
    let id = provider(&cloud, "host", json!({"VCPU": {"total": 10}})).await;
    // A second process on the same database must not oversell either.
    let other = Cloud::on(cloud.db.clone()).await;
    let claims = (0..64).map(|i| {
        let cloud = if i % 2 == 0 {
            cloud.clone()
        } else {
            other.clone()
        };
        let body = claim(&id, json!({"VCPU": 1}));
        async move {
            let path = format!("/allocations/{}", base::new_id());
            cloud.ask("PUT", &path, Some(body)).await.0
        }
    });
    let statuses = futures::future::join_all(claims).await;
    assert_eq!(
        statuses.iter().filter(|s| **s == 204).count(),
        10,
        "{statuses:?}"
    );
    assert_eq!(statuses.iter().filter(|s| **s == 409).count(), 54);
    let usages = cloud
        .ok("GET", &format!("/resource_providers/{id}/usages"), None)
        .await;
    assert_eq!(usages["usages"]["VCPU"], 10);
    let left = other
        .ok("GET", "/allocation_candidates?resources=VCPU:1", None)
        .await;
    assert_eq!(left["allocation_requests"], json!([]));
}

#[tokio::test]
async fn candidates_follow_every_write_of_any_process() {
    let cloud = Cloud::new().await;
    let other = Cloud::on(cloud.db.clone()).await;
    let count = async |cloud: &Cloud| {
        let found = cloud
            .ok("GET", "/allocation_candidates?resources=VCPU:2", None)
            .await;
        found["allocation_requests"].as_array().unwrap().len()
    };
    assert_eq!(count(&other).await, 0);
    let one = provider(&cloud, "one", json!({"VCPU": {"total": 2}})).await;
    let two = provider(&other, "two", json!({"VCPU": {"total": 4}})).await;
    assert_eq!((count(&cloud).await, count(&other).await), (2, 2));
    let consumer = format!("/allocations/{}", base::new_id());
    cloud
        .ok("PUT", &consumer, Some(claim(&one, json!({"VCPU": 1}))))
        .await;
    assert_eq!((count(&cloud).await, count(&other).await), (1, 1));
    other.ok("DELETE", &consumer, None).await;
    assert_eq!((count(&cloud).await, count(&other).await), (2, 2));
    cloud
        .ok("DELETE", &format!("/resource_providers/{two}"), None)
        .await;
    assert_eq!((count(&cloud).await, count(&other).await), (1, 1));
}

#[tokio::test]
async fn trees_sharing_and_traits_shape_candidates() {
    let cloud = Cloud::new().await;
    let agg = base::new_id();
    let host = provider(&cloud, "host", json!({"VCPU": {"total": 8}})).await;
    let storage = provider(&cloud, "storage", json!({"DISK_GB": {"total": 100}})).await;
    for id in [&host, &storage] {
        let body = json!({"aggregates": [agg], "resource_provider_generation": 1});
        cloud
            .ok(
                "PUT",
                &format!("/resource_providers/{id}/aggregates"),
                Some(body),
            )
            .await;
    }
    let ask = "/allocation_candidates?resources=VCPU:1,DISK_GB:10";
    let none = cloud.ok("GET", ask, None).await;
    assert_eq!(none["allocation_requests"], json!([]));
    let share = json!({"traits": ["MISC_SHARES_VIA_AGGREGATE"], "resource_provider_generation": 2});
    cloud
        .ok(
            "PUT",
            &format!("/resource_providers/{storage}/traits"),
            Some(share),
        )
        .await;
    let found = cloud.ok("GET", ask, None).await;
    let expected = json!([{
        "allocations": {
            host.clone(): {"resources": {"VCPU": 1}},
            storage.clone(): {"resources": {"DISK_GB": 10}},
        },
        "mappings": {"": sorted([&host, &storage])},
    }]);
    assert_eq!(found["allocation_requests"], expected);
    let forbidden = format!("{ask}&required=!MISC_SHARES_VIA_AGGREGATE");
    let found = cloud.ok("GET", &forbidden, None).await;
    assert_eq!(found["allocation_requests"], json!([]));
}

/// Two disks lend to each other's trees and to a host's: each is met in three trees and offered once.
#[tokio::test]
async fn what_is_shared_is_offered_once() {
    let cloud = Cloud::new().await;
    let agg = base::new_id();
    provider(&cloud, "host", json!({"VCPU": {"total": 8}})).await;
    for name in ["one", "two"] {
        provider(&cloud, name, json!({"DISK_GB": {"total": 100}})).await;
    }
    let all = cloud.ok("GET", "/resource_providers", None).await;
    for found in all["resource_providers"].as_array().unwrap() {
        let path = format!("/resource_providers/{}", found["uuid"].as_str().unwrap());
        let body = json!({"aggregates": [agg], "resource_provider_generation": 1});
        cloud
            .ok("PUT", &format!("{path}/aggregates"), Some(body))
            .await;
        if found["name"] != "host" {
            let share =
                json!({"traits": ["MISC_SHARES_VIA_AGGREGATE"], "resource_provider_generation": 2});
            cloud
                .ok("PUT", &format!("{path}/traits"), Some(share))
                .await;
        }
    }
    let count = async |query: &str| {
        let path = format!("/allocation_candidates?{query}");
        let found = cloud.ok("GET", &path, None).await;
        found["allocation_requests"].as_array().unwrap().len()
    };
    assert_eq!(count("resources=DISK_GB:10").await, 2);
    // One host with either disk; both disks together, whichever serves which group.
    assert_eq!(count("resources=VCPU:1,DISK_GB:10").await, 2);
    let both = "resources1=DISK_GB:10&resources2=DISK_GB:20&group_policy=isolate";
    assert_eq!(count(both).await, 2);
}

fn sorted(ids: [&String; 2]) -> Vec<&String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

#[tokio::test]
async fn writers_with_an_old_generation_must_look_again() {
    let cloud = Cloud::new().await;
    let id = provider(&cloud, "host", json!({"VCPU": {"total": 8}})).await;
    let path = format!("/resource_providers/{id}/inventories");
    let stale = json!({"resource_provider_generation": 0, "inventories": {}});
    let (status, body) = cloud.ask("PUT", &path, Some(stale)).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (409, &json!("placement.concurrent_update"))
    );
    let consumer = format!("/allocations/{}", base::new_id());
    cloud
        .ok("PUT", &consumer, Some(claim(&id, json!({"VCPU": 1}))))
        .await;
    let (status, body) = cloud
        .ask("PUT", &consumer, Some(claim(&id, json!({"VCPU": 2}))))
        .await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (409, &json!("placement.concurrent_update"))
    );
    let (status, _) = cloud
        .ask("DELETE", &format!("/resource_providers/{id}"), None)
        .await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn only_those_whom_the_rules_name_get_in() {
    let cloud = Cloud::new().await;
    let reader = [
        ("x-auth-token", "reader"),
        ("openstack-api-version", "placement 1.39"),
    ];
    let status = async |path: &str, headers: &[(&str, &str)]| {
        cloud.send("GET", path, headers, None).await.status
    };
    assert_eq!(status("/", &[]).await, 200);
    assert_eq!(status("/resource_providers", &[]).await, 401);
    assert_eq!(status("/resource_providers", &reader).await, 403);
    assert_eq!(status("/usages?project_id=p1", &reader).await, 200);
    assert_eq!(status("/usages?project_id=p2", &reader).await, 403);
}

/// 10,000 hosts: the search itself, on an index built without a database.
#[test]
fn a_limited_search_does_not_look_at_every_host() {
    use placement::candidates::request::{Group, Request};
    use placement::candidates::search::search;
    use placement::index::{Delta, Index, Inventory, Provider};
    let now = base::Timestamp::now();
    let inventory = |total: i64| Inventory {
        total,
        reserved: 0,
        min_unit: 1,
        max_unit: total,
        step_size: 1,
        allocation_ratio: 1.0,
        used: 0,
        updated_at: now,
    };
    let host = |i: usize| {
        let id = format!("{i:08}-0000-4000-8000-000000000000");
        Provider {
            name: id.clone(),
            root: id.clone(),
            id,
            generation: 1,
            parent: None,
            created_at: now,
            updated_at: now,
            inventories: ["VCPU", "MEMORY_MB", "DISK_GB"]
                .map(|c| {
                    (
                        c.to_string(),
                        inventory(if i.is_multiple_of(2) { 64 } else { 1 }),
                    )
                })
                .into(),
            traits: (0..40).map(|t| format!("CUSTOM_T{t}")).collect(),
            aggregates: Default::default(),
        }
    };
    let mut index = Index::default();
    let providers = (0..10_000).map(host).collect();
    index.apply(Delta {
        revision: 1,
        providers,
        removed: Vec::new(),
    });
    let group = Group {
        resources: ["VCPU", "MEMORY_MB", "DISK_GB"]
            .map(|c| (c.to_string(), 2))
            .into(),
        ..Group::default()
    };
    let mut request = Request {
        groups: vec![group],
        nested: true,
        ..Request::default()
    };
    let count = |request: &Request| {
        let started = std::time::Instant::now();
        let found = search(&index, request).len();
        println!("{found} candidates in {:?}", started.elapsed());
        found
    };
    assert_eq!(count(&request), 5_000);
    request.limit = Some(1_000);
    assert_eq!(count(&request), 1_000);
    request.groups[0].qualities.required = vec![vec!["CUSTOM_NONE".into()]];
    assert_eq!(count(&request), 0);
}
