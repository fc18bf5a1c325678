//! Snapshots, what is made of them, and volumes that go back to them.

use crate::cloud::{Cloud, IMAGE, SERVER};
use base::Error;
use cinder::db::SnapshotRow;
use cinder::snapshot::status::SnapshotStatus;
use http::Method;
use oslo_db::{eq, set};
use serde_json::{Value, json};
use std::time::Duration;

async fn refused(cloud: &Cloud, body: Value) -> String {
    let answer = cloud.post("ann", "/v3/p1/volumes", json!({"volume": body}));
    answer.await.fault(400, "badRequest")
}

#[tokio::test]
async fn lives_and_goes() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 2})).await;
    let body = json!({"snapshot": {"volume_id": volume, "name": " daily ", "description": "d", "metadata": {"a": "b"}}});
    let created = cloud
        .post("ann", "/v3/p1/snapshots", body)
        .await
        .expect(202);
    let created = &created["snapshot"];
    let id = created["id"].as_str().unwrap();
    let wanted = json!({"id": id, "created_at": created["created_at"], "updated_at": null, "name": "daily",
        "description": "d", "volume_id": volume, "status": "creating", "size": 2, "metadata": {"a": "b"},
        "group_snapshot_id": null, "user_id": "user-ann", "consumes_quota": true});
    assert_eq!(*created, wanted);
    cloud.idle().await;
    let path = format!("/v3/snapshots/{id}");
    let shown = cloud.get("ann", &path).await.expect(200);
    let shown = &shown["snapshot"];
    assert_eq!(shown["status"], "available");
    assert_eq!(
        (
            &shown["os-extended-snapshot-attributes:progress"],
            &shown["os-extended-snapshot-attributes:project_id"]
        ),
        (&json!("100%"), &json!("p1"))
    );
    assert_eq!(cloud.agent.snapshots.lock().unwrap()[id], volume);
    // Older callers see less.
    let path1 = format!("/v3/p1/snapshots/{id}");
    let old = cloud.call("ann", "3.0", Method::GET, &path1, None).await;
    let old = old.expect(200)["snapshot"].take();
    let absent = ["group_snapshot_id", "user_id", "consumes_quota"];
    assert!(absent.iter().all(|key| old.get(key).is_none()), "{old}");

    let update = json!({"snapshot": {"name": "weekly"}});
    let updated = cloud.put("ann", &path, update).await.expect(200);
    assert_eq!(updated["snapshot"]["name"], "weekly");
    cloud
        .put("ann", &path, json!({"snapshot": {}}))
        .await
        .fault(400, "badRequest");
    let meta = format!("{path}/metadata");
    cloud
        .post("ann", &meta, json!({"metadata": {"c": "1"}}))
        .await
        .expect(200);
    cloud
        .put("ann", &format!("{meta}/c"), json!({"meta": {"c": "2"}}))
        .await
        .expect(200);
    let pairs = cloud.get("ann", &meta).await.expect(200);
    assert_eq!(pairs, json!({"metadata": {"a": "b", "c": "2"}}));
    cloud.delete("ann", &format!("{meta}/a")).await.expect(200);
    let gone = cloud
        .get("ann", &format!("{meta}/a"))
        .await
        .fault(404, "itemNotFound");
    assert_eq!(gone, format!("Snapshot {id} has no metadata with key a."));
    cloud
        .put("ann", &meta, json!({"metadata": {}}))
        .await
        .expect(200);

    // Its volume stays as long as it does, unless both shall go.
    let kept = cloud.delete("ann", &format!("/v3/volumes/{volume}")).await;
    assert!(kept.fault(400, "badRequest").contains("have snapshots"));
    let forced = json!({"os-force_delete": {}});
    cloud
        .act("admin", &volume, forced)
        .await
        .fault(400, "badRequest");
    assert_eq!(cloud.status(&volume).await, "available");
    cloud.delete("bob", &path).await.fault(404, "itemNotFound");
    cloud.delete("amy", &path).await.fault(403, "forbidden");
    cloud.delete("ann", &path).await.expect(202);
    cloud.idle().await;
    let gone = cloud.get("ann", &path).await.fault(404, "itemNotFound");
    assert_eq!(gone, format!("Snapshot {id} could not be found."));
    assert!(cloud.agent.snapshots.lock().unwrap().is_empty());

    let two = [cloud.snapshot(&volume).await, cloud.snapshot(&volume).await];
    let cascade = format!("/v3/volumes/{volume}?cascade=true");
    cloud.delete("ann", &cascade).await.expect(202);
    cloud.idle().await;
    for id in &two {
        let gone = cloud.get("ann", &format!("/v3/snapshots/{id}")).await;
        gone.fault(404, "itemNotFound");
    }
    assert!(cloud.agent.snapshots.lock().unwrap().is_empty());
    assert!(cloud.agent.volumes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_volumes_in_use() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": "c1"}}});
    let made = cloud
        .post("ann", "/v3/attachments", claim)
        .await
        .expect(200);
    let attachment = made["attachment"]["id"].as_str().unwrap().to_string();
    let done = json!({"os-complete": {}});
    let path = format!("/v3/attachments/{attachment}/action");
    cloud.post("ann", &path, done).await;
    assert_eq!(cloud.status(&volume).await, "in-use");
    let make = async |version: &str, force: Option<Value>| {
        let mut body = json!({"snapshot": {"volume_id": volume}});
        if let Some(force) = force {
            body["snapshot"]["force"] = force;
        }
        let path = "/v3/p1/snapshots";
        cloud
            .call("ann", version, Method::POST, path, Some(body))
            .await
    };
    let words = make("3.65", None).await.fault(400, "badRequest");
    assert_eq!(
        words,
        format!(
            "Invalid volume: Volume {volume} status must be available, but current status is: in-use."
        )
    );
    make("3.65", Some(json!("true"))).await.expect(202);
    let words = make("3.66", Some(json!(false)))
        .await
        .fault(400, "badRequest");
    assert!(words.contains("the 'force' flag is invalid"), "{words}");
    make("3.66", Some(json!(true))).await.expect(202);
    make("3.66", None).await.expect(202);
    cloud.idle().await;
    let told = cloud.agent.heard.lock().unwrap().clone();
    let told = told.iter().filter(|w| w.ends_with("is of a volume in use"));
    assert_eq!(
        told.count(),
        3,
        "the driver knows that it may be written to"
    );
    let copy = cloud.volume(json!({"source_volid": volume})).await;
    let told = cloud.agent.heard.lock().unwrap().last().cloned();
    assert_eq!(told, Some(format!("{copy} is volume {volume}, true")));
}

#[tokio::test]
async fn volumes_of_snapshots_and_volumes() {
    let cloud = Cloud::new().await;
    let specs = json!({"volume_type": {"name": "gold", "extra_specs": {"volume_backend_name": "elsewhere"}}});
    cloud.post("admin", "/v3/types", specs).await.expect(200);
    let plain = json!({"volume_type": {"name": "plain"}});
    cloud.post("admin", "/v3/types", plain).await.expect(200);
    let source = cloud.volume(json!({"size": 3, "imageRef": IMAGE})).await;
    let snapshot = cloud.snapshot(&source).await;
    // Another backend has more room, but the bytes are not there.
    cloud.report("h2@toy", 100_000.0).await;
    for (key, from, told) in [
        ("snapshot_id", &snapshot, format!("snapshot {snapshot}")),
        ("source_volid", &source, format!("volume {source}, false")),
    ] {
        let id = cloud.volume(json!({key: from})).await;
        let shown = cloud
            .get("admin", &format!("/v3/volumes/{id}"))
            .await
            .expect(200);
        let shown = &shown["volume"];
        assert_eq!(shown[key], **from);
        assert_eq!(
            (
                &shown["size"],
                &shown["bootable"],
                &shown["volume_image_metadata"]["image_id"]
            ),
            (&json!(3), &json!("true"), &json!(IMAGE))
        );
        assert_eq!(shown["os-vol-host-attr:host"], "h1@toy#toy");
        let heard = cloud.agent.heard.lock().unwrap().last().cloned();
        assert_eq!(heard, Some(format!("{id} is {told}")));
        let found = cloud
            .get("admin", &format!("/v3/volumes?all_tenants=1&{key}={from}"))
            .await
            .expect(200);
        assert_eq!(found["volumes"][0]["id"], *id);

        let larger = cloud
            .volume(json!({key: from, "size": 5, "volume_type": "plain"}))
            .await;
        assert_eq!(cloud.agent.volumes.lock().unwrap()[&larger], 5);
        let words = refused(&cloud, json!({key: from, "size": 2})).await;
        assert!(words.contains("cannot be smaller than"), "{words}");
        let words = refused(&cloud, json!({key: from, "volume_type": "gold"})).await;
        assert!(
            words.contains("requested type is not compatible"),
            "{words}"
        );
        let words = refused(&cloud, json!({key: from, "size": 3, "imageRef": IMAGE})).await;
        assert!(words.contains("May specify only one of"), "{words}");
        let foreign = json!({"volume": {key: from}});
        cloud
            .post("bob", "/v3/volumes", foreign)
            .await
            .fault(404, "itemNotFound");
    }
    // What a snapshot gave stays when the snapshot goes.
    let copy = cloud.volume(json!({"snapshot_id": snapshot})).await;
    cloud
        .delete("ann", &format!("/v3/snapshots/{snapshot}"))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(cloud.show(&copy).await["snapshot_id"], *snapshot);
    let error = json!({"os-reset_status": {"status": "error"}});
    cloud.act("admin", &source, error).await.expect(202);
    let words = refused(&cloud, json!({"source_volid": source})).await;
    assert!(
        words.contains("status must be one of 'available, in-use'"),
        "{words}"
    );
}

#[tokio::test]
async fn goes_back_to_the_latest_one_only() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let revert = async |id: &str| {
        cloud
            .act("ann", &volume, json!({"revert": {"snapshot_id": id}}))
            .await
    };
    let none = revert(&base::new_id()).await.fault(400, "badRequest");
    assert_eq!(none, format!("Volume {volume} has no snapshots."));
    let old = cloud.snapshot(&volume).await;
    let new = cloud.snapshot(&volume).await;
    let words = revert(&old).await.fault(400, "badRequest");
    assert!(words.contains("not the latest one"), "{words}");
    revert(&new).await.expect(202);
    assert_eq!(cloud.status(&volume).await, "reverting");
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "available");
    assert_eq!(cloud.snapshot_status(&new).await, "available");
    let heard = cloud.agent.heard.lock().unwrap().last().cloned();
    assert_eq!(heard, Some(format!("{volume} reverts to {new}")));

    let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER}});
    let made = cloud
        .post("ann", "/v3/attachments", claim)
        .await
        .expect(200);
    revert(&new).await.fault(409, "conflictingRequest");
    let id = made["attachment"]["id"].as_str().unwrap();
    cloud
        .delete("ann", &format!("/v3/attachments/{id}"))
        .await
        .expect(200);
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("the disk is on fire"));
    revert(&new).await.expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "error");
    assert_eq!(cloud.snapshot_status(&new).await, "available");
    *cloud.agent.fail.lock().unwrap() = None;
    let ready = json!({"os-reset_status": {"status": "available"}});
    cloud.act("admin", &volume, ready).await.expect(202);
    cloud
        .act("ann", &volume, json!({"os-extend": {"new_size": 2}}))
        .await
        .expect(202);
    cloud.idle().await;
    let words = revert(&new).await.fault(400, "badRequest");
    assert!(words.contains("size must be equal"), "{words}");
}

#[tokio::test]
async fn are_listed() {
    let cloud = Cloud::new().await;
    let (v1, v2) = (
        cloud.volume(json!({"size": 1})).await,
        cloud.volume(json!({"size": 2})).await,
    );
    let mut ids = Vec::new();
    for (volume, name) in [(&v1, "a"), (&v1, "b"), (&v2, "c")] {
        let body =
            json!({"snapshot": {"volume_id": volume, "name": name, "metadata": {"n": name}}});
        let made = cloud.post("ann", "/v3/snapshots", body).await.expect(202);
        ids.push(made["snapshot"]["id"].clone());
    }
    cloud.idle().await;
    let names = async |token: &str, query: &str| {
        let found = cloud
            .get(token, &format!("/v3/snapshots/detail?{query}"))
            .await
            .expect(200);
        let names = found["snapshots"].as_array().unwrap().iter();
        names
            .map(|s| s["name"].as_str().unwrap().to_string())
            .collect::<String>()
    };
    for (query, wanted) in [
        ("", "cba"),
        ("sort=name:asc", "abc"),
        (&format!("volume_id={v1}&sort=name"), "ba"),
        ("name=b", "b"),
        ("status=available&sort=name:asc", "abc"),
        ("status=error", ""),
        ("metadata={'n': 'b'}", "b"),
        ("consumes_quota=false", ""),
        ("limit=2&sort=name:asc", "ab"),
        (
            &format!("limit=2&sort=name:asc&marker={}", ids[1].as_str().unwrap()),
            "c",
        ),
    ] {
        let query = query
            .replace(' ', "%20")
            .replace('\'', "%27")
            .replace('{', "%7B")
            .replace('}', "%7D");
        assert_eq!(names("ann", &query).await, wanted, "{query}");
    }
    assert_eq!(names("bob", "").await, "");
    assert_eq!(names("admin", "").await, "");
    assert_eq!(
        names("admin", "all_tenants=1&project_id=p1&name=a").await,
        "a"
    );
    assert_eq!(names("admin", "all_tenants=1&name~=c").await, "c");
    let page = cloud
        .get("ann", "/v3/snapshots?limit=1&with_count=true")
        .await
        .expect(200);
    assert_eq!(page["count"], 3);
    assert!(
        page["snapshots_links"][0]["href"]
            .as_str()
            .unwrap()
            .contains("marker=")
    );
    let keys: Vec<&String> = page["snapshots"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 9, "{keys:?}");
    cloud
        .get("ann", "/v3/snapshots?colour=red")
        .await
        .fault(400, "badRequest");
}

#[tokio::test]
async fn are_limited() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 3})).await;
    let limit = async |body: Value| {
        let body = json!({"quota_set": body});
        cloud
            .put("admin", "/v3/os-quota-sets/p1", body)
            .await
            .expect(200);
    };
    let make = async || {
        let body = json!({"snapshot": {"volume_id": volume}});
        cloud.post("ann", "/v3/snapshots", body).await
    };
    limit(json!({"gigabytes": 8})).await;
    let first = make().await.expect(202);
    let words = make().await.fault(413, "overLimit");
    assert!(
        words.contains("Requested 3G, quota is 8G and 6G has been consumed"),
        "{words}"
    );
    limit(json!({"gigabytes": 100, "snapshots": 1})).await;
    let words = make().await.fault(413, "overLimit");
    assert_eq!(
        words,
        "SnapshotLimitExceeded: Maximum number of snapshots allowed (1) exceeded"
    );
    limit(json!({"snapshots": -1, "snapshots___DEFAULT__": 1})).await;
    make().await.fault(413, "overLimit");
    let used = cloud
        .get("admin", "/v3/os-quota-sets/p1?usage=true")
        .await
        .expect(200);
    let used = &used["quota_set"];
    assert_eq!(
        (&used["snapshots"]["in_use"], &used["gigabytes"]["in_use"]),
        (&json!(1), &json!(6))
    );
    assert_eq!(used["gigabytes___DEFAULT__"]["in_use"], 6);
    let words = cloud
        .act("ann", &volume, json!({"os-extend": {"new_size": 98}}))
        .await;
    words.fault(413, "overLimit");
    cloud.idle().await;
    let id = first["snapshot"]["id"].as_str().unwrap();
    cloud
        .delete("ann", &format!("/v3/snapshots/{id}"))
        .await
        .expect(202);
    cloud.idle().await;
    make().await.expect(202);

    let conf = cinder::Conf {
        no_snapshot_gb_quota: true,
        quota_gigabytes: 3,
        ..cinder::Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    let volume = cloud.volume(json!({"size": 3})).await;
    cloud.snapshot(&volume).await;
}

#[tokio::test]
async fn administrators_and_drivers_have_their_word() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = cloud.snapshot(&volume).await;
    let path = format!("/v3/snapshots/{id}/action");
    let act = async |token: &str, body: Value| cloud.post(token, &path, body).await;
    let reset = |status: &str| json!({"os-reset_status": {"status": status}});
    act("ann", reset("error")).await.fault(403, "forbidden");
    act("admin", reset("odd")).await.fault(400, "badRequest");
    let done = json!({"os-update_snapshot_status": {"status": "available", "progress": "80%"}});
    act("ann", done.clone()).await.fault(400, "badRequest");
    act("admin", reset("creating")).await.expect(202);
    let odd = json!({"os-update_snapshot_status": {"status": "available", "progress": "lots"}});
    act("ann", odd).await.fault(400, "badRequest");
    let odd = json!({"os-update_snapshot_status": {"status": "deleting"}});
    act("ann", odd).await.fault(400, "badRequest");
    act("ann", done).await.expect(202);
    let shown = cloud
        .get("ann", &format!("/v3/snapshots/{id}"))
        .await
        .expect(200);
    assert_eq!(
        shown["snapshot"]["os-extended-snapshot-attributes:progress"],
        "80%"
    );
    for status in ["creating", "error_deleting", "deleting"] {
        let id = cloud.snapshot(&volume).await;
        let path = format!("/v3/snapshots/{id}/action");
        cloud.post("admin", &path, reset(status)).await.expect(202);
        let words = cloud.delete("ann", &format!("/v3/snapshots/{id}")).await;
        let words = words.fault(400, "badRequest");
        assert_eq!(
            words,
            "Invalid snapshot: Snapshot status must be available or error and must not be part of a group."
        );
        let force = json!({"os-force_delete": {}});
        cloud
            .post("ann", &path, force.clone())
            .await
            .fault(403, "forbidden");
        cloud.post("admin", &path, force).await.expect(202);
        cloud.idle().await;
        let gone = cloud.get("ann", &format!("/v3/snapshots/{id}")).await;
        gone.fault(404, "itemNotFound");
    }
}

#[tokio::test]
async fn failures_end_in_error() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("the disk is on fire"));
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = cloud.post("ann", "/v3/snapshots", body).await.expect(202);
    let id = made["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.idle().await;
    assert_eq!(cloud.snapshot_status(&id).await, "error");
    let why = id.clone();
    let row = cloud
        .db
        .read(move |tx| tx.find::<SnapshotRow>(eq("id", &why)))
        .await;
    assert_eq!(row.unwrap().unwrap().reason.unwrap(), "the disk is on fire");
    cloud
        .delete("ann", &format!("/v3/volumes/{volume}?cascade=true"))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "error_deleting");
    assert_eq!(cloud.snapshot_status(&id).await, "error_deleting");
    *cloud.agent.fail.lock().unwrap() = None;
    let force = json!({"os-force_delete": {}});
    cloud
        .post(
            "admin",
            &format!("/v3/snapshots/{id}/action"),
            force.clone(),
        )
        .await
        .expect(202);
    cloud.idle().await;
    cloud.act("admin", &volume, force).await.expect(202);
    cloud.idle().await;
    cloud
        .get("ann", &format!("/v3/volumes/{volume}"))
        .await
        .fault(404, "itemNotFound");
}

#[tokio::test]
async fn a_create_is_resumed_and_what_nobody_works_on_ends() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let lost = [
        (
            cloud.snapshot(&volume).await,
            SnapshotStatus::Creating,
            "error",
        ),
        (
            cloud.snapshot(&volume).await,
            SnapshotStatus::Deleting,
            "error_deleting",
        ),
        (
            cloud.snapshot(&volume).await,
            SnapshotStatus::Restoring,
            "available",
        ),
    ];
    for (id, status, _) in lost.clone() {
        let change = move |tx: &mut oslo_db::Tx| {
            tx.update::<SnapshotRow>(eq("id", &id), &[set("status", status)])
        };
        cloud.db.write(change).await.unwrap();
    }
    while let Ok(permit) = cloud.agent.waiting.try_acquire() {
        permit.forget();
    }
    cloud.agent.gate.forget_permits(1000);
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = cloud.post("ann", "/v3/snapshots", body).await.expect(202);
    let id = made["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    // Whoever starts resumes what has a flow, and ends what has none.
    let cloud = cloud.crash().await;
    assert_eq!(cloud.snapshot_status(&id).await, "creating");
    cloud.agent.waiting.acquire().await.unwrap().forget();
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.snapshot_status(&id).await, "available");
    let settled = async {
        for (id, _, wanted) in &lost {
            while cloud.snapshot_status(id).await != *wanted {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
}
