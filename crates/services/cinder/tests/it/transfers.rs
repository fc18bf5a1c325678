//! Volumes change hands.

use crate::cloud::{Answer, Cloud};
use http::Method;
use serde_json::{Value, json};

async fn offer(cloud: &Cloud, volume: &str) -> Value {
    let body = json!({"transfer": {"volume_id": volume, "name": " mine "}});
    let made = cloud.post("ann", "/v3/p1/volume-transfers", body).await;
    made.expect(202)["transfer"].take()
}

async fn take(cloud: &Cloud, token: &str, transfer: &Value, key: Value) -> Answer {
    let path = format!(
        "/v3/volume-transfers/{}/accept",
        transfer["id"].as_str().unwrap()
    );
    let body = json!({"accept": {"auth_key": key}});
    cloud.post(token, &path, body).await
}

async fn limits(cloud: &Cloud, token: &str) -> (i64, i64) {
    let limits = cloud.get(token, "/v3/limits").await.expect(200);
    let of = |name: &str| limits["limits"]["absolute"][name].as_i64().unwrap();
    (of("totalVolumesUsed"), of("totalGigabytesUsed"))
}

#[tokio::test]
async fn whoever_has_the_key_takes_the_volume_with_its_quota() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 3})).await;
    let transfer = offer(&cloud, &volume).await;
    assert_eq!(
        (
            &transfer["name"],
            &transfer["no_snapshots"],
            &transfer["accepted"]
        ),
        (&json!("mine"), &json!(false), &json!(false))
    );
    assert_eq!(cloud.status(&volume).await, "awaiting-transfer");
    // Nothing else can be done with it.
    let again = json!({"transfer": {"volume_id": volume}});
    let words = cloud
        .post("ann", "/v3/p1/os-volume-transfer", again)
        .await
        .fault(400, "badRequest");
    assert_eq!(words, "Invalid volume: status must be available");
    let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": base::new_id()}});
    cloud
        .post("ann", "/v3/attachments", claim)
        .await
        .fault(400, "badRequest");
    cloud
        .delete("ann", &format!("/v3/p1/volumes/{volume}"))
        .await
        .fault(400, "badRequest");
    cloud
        .act("ann", &volume, json!({"os-extend": {"new_size": 5}}))
        .await
        .fault(400, "badRequest");

    // The key is told once, and not kept.
    let path = format!(
        "/v3/p1/volume-transfers/{}",
        transfer["id"].as_str().unwrap()
    );
    let shown = cloud.get("ann", &path).await.expect(200);
    assert!(shown["transfer"].get("auth_key").is_none());
    cloud
        .get("bob", &path.replace("p1", "p2"))
        .await
        .fault(404, "itemNotFound");

    let id = transfer["id"].as_str().unwrap();
    let words = take(&cloud, "bob", &transfer, json!("0123456789abcdef"))
        .await
        .fault(400, "badRequest");
    assert_eq!(
        words,
        format!("Invalid auth key: Attempt to transfer {id} with invalid auth key.")
    );
    let key = transfer["auth_key"].clone();
    let taken = take(&cloud, "bob", &transfer, key.clone())
        .await
        .expect(202);
    assert_eq!(taken["transfer"]["volume_id"], json!(volume));
    take(&cloud, "bob", &transfer, key)
        .await
        .fault(404, "itemNotFound");
    let own = format!("/v3/p2/volumes/{volume}");
    let shown = cloud.get("bob", &own).await.expect(200);
    assert_eq!(
        (
            &shown["volume"]["status"],
            &shown["volume"]["user_id"],
            &shown["volume"]["os-vol-tenant-attr:tenant_id"]
        ),
        (&json!("available"), &json!("user-bob"), &json!("p2"))
    );
    cloud
        .get("ann", &format!("/v3/p1/volumes/{volume}"))
        .await
        .fault(404, "itemNotFound");
    assert_eq!(limits(&cloud, "ann").await, (0, 0));
    assert_eq!(limits(&cloud, "bob").await, (1, 3));
    cloud.delete("bob", &own).await.expect(202);
}

#[tokio::test]
async fn a_full_project_takes_nothing_and_one_of_many_takes_it() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 3})).await;
    let transfer = offer(&cloud, &volume).await;
    let key = transfer["auth_key"].clone();
    let full = json!({"quota_set": {"gigabytes": 2}});
    cloud
        .put("admin", "/v3/ops/os-quota-sets/p2", full)
        .await
        .expect(200);
    take(&cloud, "bob", &transfer, key.clone())
        .await
        .fault(413, "overLimit");
    assert_eq!(cloud.status(&volume).await, "awaiting-transfer");
    let room = json!({"quota_set": {"gigabytes": 20}});
    cloud
        .put("admin", "/v3/ops/os-quota-sets/p2", room)
        .await
        .expect(200);
    taken_and_withdrawn_at_once(&cloud, &volume, &transfer).await;
}

#[tokio::test]
async fn one_of_many_takes_it_on_mariadb() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let cloud = Cloud::on(&url, cinder::Conf::default()).await;
    for _ in 0..3 {
        let volume = cloud.volume(json!({"size": 3})).await;
        let transfer = offer(&cloud, &volume).await;
        taken_and_withdrawn_at_once(&cloud, &volume, &transfer).await;
    }
}

/// One of them wins, and the volume has one owner, who is counted for it.
async fn taken_and_withdrawn_at_once(cloud: &Cloud, volume: &str, transfer: &Value) {
    let before = [limits(cloud, "ann").await, limits(cloud, "bob").await];
    let key = transfer["auth_key"].clone();
    let path = format!(
        "/v3/p1/volume-transfers/{}",
        transfer["id"].as_str().unwrap()
    );
    let all = futures::future::join_all(
        (0..4).map(|_| async { take(cloud, "bob", transfer, key.clone()).await.status }),
    );
    let (taken, withdrawn) = tokio::join!(all, cloud.delete("ann", &path));
    let taken = taken.iter().filter(|s| **s == 202).count();
    assert_eq!(taken + usize::from(withdrawn.status == 202), 1);
    let owner = if taken == 1 { "bob" } else { "ann" };
    let shown = cloud
        .get(owner, &format!("/v3/volumes/{volume}"))
        .await
        .expect(200);
    assert_eq!(shown["volume"]["status"], "available");
    let moved = if taken == 1 { (1, 3) } else { (0, 0) };
    let minus = |a: (i64, i64), b: (i64, i64)| (a.0 - b.0, a.1 - b.1);
    assert_eq!(minus(before[0], limits(cloud, "ann").await), moved);
    assert_eq!(minus(limits(cloud, "bob").await, before[1]), moved);
}

#[tokio::test]
async fn offers_are_listed_by_page_and_end_with_their_volume() {
    let cloud = Cloud::new().await;
    let mut volumes = Vec::new();
    for name in ["a", "b", "c"] {
        let volume = cloud.volume(json!({"size": 1, "name": name})).await;
        let body = json!({"transfer": {"volume_id": volume, "name": name, "no_snapshots": true}});
        cloud
            .post("ann", "/v3/p1/volume-transfers", body)
            .await
            .expect(202);
        volumes.push(volume);
    }
    let names = |list: &Value| -> Vec<String> {
        let list = list["transfers"].as_array().unwrap();
        list.iter()
            .map(|t| t["name"].as_str().unwrap().to_string())
            .collect()
    };
    let get = async |version: &str, path: &str| {
        let path = format!("/v3/p1/{path}");
        let list = cloud.call("ann", version, Method::GET, &path, None).await;
        list.expect(200)
    };
    let newest = get("3.59", "volume-transfers?limit=2").await;
    assert_eq!(names(&newest), ["c", "b"]);
    let next = newest["transfers_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8776").unwrap();
    assert_eq!(names(&cloud.get("ann", next).await.expect(200)), ["a"]);
    assert_eq!(
        names(&get("3.59", "volume-transfers?sort=name:asc&name=b").await),
        ["b"]
    );
    assert_eq!(
        names(&get("3.58", "volume-transfers?sort=name:desc").await),
        ["a", "b", "c"]
    );
    let old = get("3.0", "os-volume-transfer/detail").await;
    assert_eq!(names(&old), ["a", "b", "c"]);
    assert!(old["transfers"][0].get("no_snapshots").is_none());
    let new = get("3.57", "volume-transfers/detail").await;
    assert_eq!(
        (
            &new["transfers"][0]["no_snapshots"],
            &new["transfers"][0]["source_project_id"]
        ),
        (&json!(true), &json!("p1"))
    );
    let early = cloud
        .call("ann", "3.54", Method::GET, "/v3/p1/volume-transfers", None)
        .await;
    assert_eq!(early.status, 404);
    let others = cloud
        .get("bob", "/v3/p2/volume-transfers")
        .await
        .expect(200);
    assert_eq!(others, json!({"transfers": []}));
    let everyone = cloud
        .get("admin", "/v3/ops/volume-transfers?all_tenants=1")
        .await
        .expect(200);
    assert_eq!(names(&everyone).len(), 3);

    // Withdrawn: the volume is the owner's again.
    let id = new["transfers"][0]["id"].as_str().unwrap();
    cloud
        .delete("bob", &format!("/v3/p2/volume-transfers/{id}"))
        .await
        .fault(404, "itemNotFound");
    cloud
        .delete("ann", &format!("/v3/p1/volume-transfers/{id}"))
        .await
        .expect(202);
    assert_eq!(cloud.status(&volumes[0]).await, "available");
    // Taken by force by an administrator: the offer goes with its volume.
    cloud
        .act("admin", &volumes[1], json!({"os-force_delete": {}}))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(names(&get("3.59", "volume-transfers").await), ["c"]);
}

#[tokio::test]
async fn snapshots_go_along_or_stay() {
    let cloud = Cloud::new().await;
    for along in [true, false] {
        let volume = cloud.volume(json!({"size": 2})).await;
        let body = json!({"snapshot": {"volume_id": volume}});
        let made = cloud
            .post("ann", "/v3/p1/snapshots", body)
            .await
            .expect(202);
        cloud.idle().await;
        let snapshot = made["snapshot"]["id"].as_str().unwrap();
        let body = json!({"transfer": {"volume_id": volume, "no_snapshots": !along}});
        let offer = cloud.post("ann", "/v3/p1/volume-transfers", body).await;
        let offer = offer.expect(202)["transfer"].take();
        let full = |most: i64| json!({"quota_set": {"snapshots": most}});
        let quota = "/v3/ops/os-quota-sets/p2";
        let none = cloud.put("admin", quota, full(0)).await;
        none.expect(200);
        let key = offer["auth_key"].clone();
        if along {
            take(&cloud, "bob", &offer, key.clone())
                .await
                .fault(413, "overLimit");
            assert_eq!(cloud.status(&volume).await, "awaiting-transfer");
            cloud.put("admin", quota, full(5)).await.expect(200);
        }
        take(&cloud, "bob", &offer, key).await.expect(202);
        let owner = if along { "bob" } else { "ann" };
        if !along {
            // Whoever has the volume cannot take the other's snapshot away with it.
            let path = format!("/v3/p2/volumes/{volume}?cascade=true");
            cloud.delete("bob", &path).await.fault(400, "badRequest");
            let forced = format!("/v3/ops/volumes/{volume}?cascade=true&force=true");
            cloud
                .delete("admin", &forced)
                .await
                .fault(400, "badRequest");
        }
        for token in ["ann", "bob"] {
            let seen = cloud.get(token, &format!("/v3/snapshots/{snapshot}")).await;
            let wanted = if token == owner { 200 } else { 404 };
            assert_eq!(seen.status, wanted, "{token}");
        }
    }
    // What is not done yet cannot be offered with its volume.
    let volume = cloud.volume(json!({"size": 1})).await;
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = cloud
        .post("ann", "/v3/p1/snapshots", body)
        .await
        .expect(202);
    cloud.idle().await;
    let snapshot = made["snapshot"]["id"].as_str().unwrap();
    let broken = json!({"os-reset_status": {"status": "error"}});
    let path = format!("/v3/ops/snapshots/{snapshot}/action");
    cloud.post("admin", &path, broken).await.expect(202);
    let body = json!({"transfer": {"volume_id": volume}});
    let words = cloud
        .post("ann", "/v3/p1/volume-transfers", body)
        .await
        .fault(400, "badRequest");
    assert!(words.contains("status must be available"), "{words}");
    assert_eq!(cloud.status(&volume).await, "available");
}
