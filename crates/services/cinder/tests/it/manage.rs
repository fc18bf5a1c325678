//! What is on a backend already becomes cinder's, and nobody's again.

use crate::cloud::Cloud;
use serde_json::{Value, json};

async fn names(cloud: &Cloud, path: &str) -> Vec<String> {
    let found = cloud.get("admin", path).await.expect(200);
    let list = found.as_object().unwrap().values().next().unwrap();
    let list = list.as_array().unwrap().iter();
    let name = |t: &Value| t["reference"]["source-name"].as_str().unwrap().to_string();
    list.map(name).collect()
}

async fn limit(cloud: &Cloud, gigabytes: i64) {
    let quota = json!({"quota_set": {"gigabytes": gigabytes}});
    let path = "/v3/os-quota-sets/ops";
    cloud.put("admin", path, quota).await.expect(200);
}

#[tokio::test]
async fn volumes_come_and_stay_behind() {
    let cloud = Cloud::new().await;
    let own = cloud.volume(json!({"size": 2})).await;
    for (name, size) in [("a.img", 5), ("b.img", 1)] {
        cloud.agent.strays.lock().unwrap().insert(name.into(), size);
    }
    let list = "/v3/manageable_volumes/detail?host=h1@toy";
    let found = cloud
        .get("admin", &format!("{list}&sort=size:asc"))
        .await
        .expect(200);
    let wanted = json!({"manageable-volumes": [
        {"reference": {"source-name": "b.img"}, "size": 1, "safe_to_manage": true, "reason_not_safe": null,
            "cinder_id": null, "extra_info": null},
        {"reference": {"source-name": format!("volume-{own}")}, "size": 2, "safe_to_manage": false,
            "reason_not_safe": "already managed", "cinder_id": own, "extra_info": null},
        {"reference": {"source-name": "a.img"}, "size": 5, "safe_to_manage": true, "reason_not_safe": null,
            "cinder_id": null, "extra_info": null},
    ]});
    assert_eq!(found, wanted);
    let short = "/v3/os-volume-manage?host=h1@toy%23toy&sort=reference:asc";
    let second = names(&cloud, &format!("{short}&limit=1&offset=1")).await;
    assert_eq!(second, ["b.img"]);
    let after = names(&cloud, &format!("{short}&marker=b.img")).await;
    assert_eq!(after, [format!("volume-{own}")]);
    for bad in [
        "",
        "?host=h1@toy&sort=colour",
        "?host=h1@toy&limit=x",
        "?host=h1@toy&marker=none",
    ] {
        let path = format!("/v3/manageable_volumes{bad}");
        cloud.get("admin", &path).await.fault(400, "badRequest");
    }
    let none = "/v3/manageable_volumes?host=moon";
    cloud.get("admin", none).await.fault(404, "itemNotFound");
    cloud.get("ann", list).await.fault(403, "forbidden");

    let manage = async |name: &str, host: &str| {
        let body = json!({"volume": {"host": host, "ref": {"source-name": name}, "name": "old", "bootable": true,
            "metadata": {"a": "b"}}});
        cloud.post("admin", "/v3/manageable_volumes", body).await
    };
    manage("a.img", "moon@x").await.fault(404, "itemNotFound");
    let made = manage("a.img", "h1@toy#toy").await.expect(202);
    let made = &made["volume"];
    let id = made["id"].as_str().unwrap().to_string();
    assert_eq!(
        (&made["status"], &made["size"]),
        (&json!("creating"), &json!(0))
    );
    cloud.idle().await;
    let path = format!("/v3/volumes/{id}");
    let shown = cloud.get("admin", &path).await.expect(200);
    let shown = &shown["volume"];
    assert_eq!(
        (
            &shown["status"],
            &shown["size"],
            &shown["bootable"],
            &shown["name"]
        ),
        (
            &json!("available"),
            &json!(5),
            &json!("true"),
            &json!("old")
        )
    );
    assert_eq!(shown["os-vol-host-attr:host"], "h1@toy#toy");
    assert_eq!(cloud.agent.volumes.lock().unwrap()[&id], 5);

    // It is gone, so a second time fails, as does what does not fit.
    let again = manage("a.img", "h1@toy").await.expect(202);
    limit(&cloud, 5).await;
    let big = manage("b.img", "h1@toy").await.expect(202);
    cloud.idle().await;
    for failed in [again, big] {
        let path = format!("/v3/volumes/{}", failed["volume"]["id"].as_str().unwrap());
        let shown = cloud.get("admin", &path).await.expect(200);
        assert_eq!(
            (&shown["volume"]["status"], &shown["volume"]["size"]),
            (&json!("error_managing"), &json!(0))
        );
        cloud.delete("admin", &path).await.expect(202);
    }
    cloud.idle().await;
    let strays = cloud.agent.strays.lock().unwrap().clone();
    assert_eq!(strays["b.img"], 1, "it stays what it was");

    limit(&cloud, 50).await;
    let snapshot = json!({"snapshot": {"volume_id": id}});
    let snapshot = cloud
        .post("admin", "/v3/snapshots", snapshot)
        .await
        .expect(202);
    let snapshot = snapshot["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.idle().await;
    let unmanage = json!({"os-unmanage": {}});
    cloud
        .act("ann", &own, unmanage.clone())
        .await
        .fault(403, "forbidden");
    cloud
        .act("admin", &id, unmanage.clone())
        .await
        .fault(400, "badRequest");
    let action = format!("/v3/snapshots/{snapshot}/action");
    cloud
        .post("admin", &action, unmanage.clone())
        .await
        .expect(202);
    cloud.idle().await;
    cloud.act("admin", &id, unmanage).await.expect(202);
    cloud.idle().await;
    cloud.get("admin", &path).await.fault(404, "itemNotFound");
    let left = cloud.agent.strays.lock().unwrap().clone();
    for id in [id, snapshot] {
        assert!(left.contains_key(&format!("left-{id}")), "{left:?}");
    }
}

#[tokio::test]
async fn snapshots_come_too() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let own = cloud.snapshot(&volume).await;
    cloud.agent.strays.lock().unwrap().insert("old".into(), 1);
    let list = "/v3/manageable_snapshots/detail?host=h1@toy&sort=reference:asc";
    let found = cloud.get("admin", list).await.expect(200);
    let wanted = json!({"manageable-snapshots": [
        {"reference": {"source-name": "old"}, "source_reference": {}, "size": 1, "safe_to_manage": true,
            "reason_not_safe": null, "cinder_id": null, "extra_info": null},
        {"reference": {"source-name": format!("snapshot-{own}")}, "size": 1, "safe_to_manage": false,
            "source_reference": {"source-name": format!("volume-{volume}")},
            "reason_not_safe": "already managed", "cinder_id": own, "extra_info": null},
    ]});
    assert_eq!(found, wanted);
    let body =
        json!({"snapshot": {"volume_id": volume, "ref": {"source-name": "old"}, "name": "mine"}});
    let new = "/v3/manageable_snapshots";
    cloud
        .post("ann", new, body.clone())
        .await
        .fault(403, "forbidden");
    let made = cloud
        .post("admin", "/v3/os-snapshot-manage", body.clone())
        .await
        .expect(202);
    let id = made["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.idle().await;
    let shown = cloud
        .get("ann", &format!("/v3/snapshots/{id}"))
        .await
        .expect(200);
    let shown = &shown["snapshot"];
    assert_eq!(
        (&shown["status"], &shown["size"], &shown["volume_id"]),
        (&json!("available"), &json!(1), &json!(volume))
    );
    assert!(cloud.agent.snapshots.lock().unwrap().contains_key(&id));
    let again = cloud.post("admin", new, body).await.expect(202);
    let again = again["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.idle().await;
    assert_eq!(cloud.snapshot_status(&again).await, "error");
}
