//! The attach life as nova lives it.

use crate::cloud::{Cloud, SERVER};
use http::Method;
use serde_json::{Value, json};

async fn reserve(cloud: &Cloud, volume: &str) -> String {
    let body =
        json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": null}});
    let answer = cloud
        .call(
            "ann+service",
            "3.44",
            Method::POST,
            "/v3/p1/attachments",
            Some(body),
        )
        .await;
    answer.expect(200)["attachment"]["id"]
        .as_str()
        .unwrap()
        .to_string()
}

async fn attach(cloud: &Cloud, volume: &str) -> String {
    let id = reserve(cloud, volume).await;
    let path = format!("/v3/p1/attachments/{id}");
    let connector = json!({"attachment": {"connector": {"host": "c1", "mountpoint": "/dev/vdb"}}});
    cloud
        .call("nova", "3.44", Method::PUT, &path, Some(connector))
        .await
        .expect(200);
    let done = json!({"os-complete": {}});
    cloud
        .call(
            "nova",
            "3.44",
            Method::POST,
            &format!("{path}/action"),
            Some(done),
        )
        .await
        .expect(204);
    id
}

#[tokio::test]
async fn from_reserved_to_detached() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = reserve(&cloud, &volume).await;
    assert_eq!(cloud.status(&volume).await, "reserved");
    let path = format!("/v3/p1/attachments/{id}");

    let again = json!({"attachment": {"volume_uuid": volume, "instance_uuid": base::new_id()}});
    let refused = cloud
        .post("ann", "/v3/p1/attachments", again)
        .await
        .fault(400, "badRequest");
    assert_eq!(
        refused,
        format!(
            "Invalid volume: Volume {volume} status must be available or downloading to reserve, but the current status is reserved."
        )
    );
    cloud
        .delete("ann", &format!("/v3/p1/volumes/{volume}"))
        .await
        .fault(400, "badRequest");

    let connector = json!({"attachment": {"connector": {"host": "c1", "mountpoint": "/dev/vdb", "mode": "rw"}}});
    for _ in 0..2 {
        let updated = cloud
            .call("nova", "3.44", Method::PUT, &path, Some(connector.clone()))
            .await
            .expect(200);
        let info = &updated["attachment"]["connection_info"];
        assert_eq!(
            (&info["driver_volume_type"], &info["path"]),
            (&json!("local"), &json!(format!("/toy/{volume}")))
        );
        assert_eq!(updated["attachment"]["status"], "attaching");
        assert_eq!(cloud.status(&volume).await, "attaching");
    }
    let done = json!({"os-complete": {}});
    cloud
        .call(
            "nova",
            "3.44",
            Method::POST,
            &format!("{path}/action"),
            Some(done),
        )
        .await
        .expect(204);
    let shown = cloud.show(&volume).await;
    assert_eq!(shown["status"], "in-use");
    let attached = &shown["attachments"][0];
    assert_eq!(
        (
            &attached["server_id"],
            &attached["device"],
            &attached["host_name"]
        ),
        (&json!(SERVER), &json!("/dev/vdb"), &Value::Null)
    );

    let left = cloud
        .call("nova", "3.44", Method::DELETE, &path, None)
        .await
        .expect(200);
    assert_eq!(left, json!({"attachments": []}));
    assert_eq!(cloud.status(&volume).await, "available");
    cloud
        .call("nova", "3.44", Method::DELETE, &path, None)
        .await
        .fault(404, "itemNotFound");
}

#[tokio::test]
async fn users_cannot_pull_a_volume_from_under_a_server() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = attach(&cloud, &volume).await;
    *cloud.neighbours.server_uses.lock().unwrap() = Some(id.clone());
    let path = format!("/v3/p1/attachments/{id}");
    let refused = cloud
        .delete("ann", &path)
        .await
        .fault(409, "conflictingRequest");
    assert_eq!(
        refused,
        format!("Detach volume from instance {SERVER} using the Compute API")
    );
    cloud
        .act("ann", &volume, json!({"os-detach": {"attachment_id": id}}))
        .await
        .fault(409, "conflictingRequest");
    assert_eq!(cloud.status(&volume).await, "in-use");
    // With nova's service token beside the user's, or once nova has lost the server, it is fine.
    *cloud.neighbours.server_uses.lock().unwrap() = None;
    cloud.delete("ann", &path).await.expect(200);
    let id = attach(&cloud, &volume).await;
    *cloud.neighbours.server_uses.lock().unwrap() = Some(id.clone());
    cloud
        .delete("ann+service", &format!("/v3/p1/attachments/{id}"))
        .await
        .expect(200);
    assert_eq!(cloud.status(&volume).await, "available");
}

#[tokio::test]
async fn detaching_survives_a_silent_backend() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = attach(&cloud, &volume).await;
    *cloud.agent.fail.lock().unwrap() = Some(base::Error::unavailable("gone fishing"));
    cloud
        .delete("ann+service", &format!("/v3/p1/attachments/{id}"))
        .await
        .expect(200);
    assert_eq!(cloud.status(&volume).await, "available");
    // A connection that cannot be made leaves the claim to nova, which gives it back.
    let id = reserve(&cloud, &volume).await;
    let connector = json!({"attachment": {"connector": {"host": "c1"}}});
    let path = format!("/v3/p1/attachments/{id}");
    cloud
        .call("nova", "3.44", Method::PUT, &path, Some(connector.clone()))
        .await
        .fault(503, "serviceUnavailable");
    assert_eq!(cloud.status(&volume).await, "reserved");
    cloud.delete("ann+service", &path).await.expect(200);
    // With the connector in the create, nobody would know the claim.
    let body = json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": "c1"}}});
    cloud
        .post("ann", "/v3/p1/attachments", body)
        .await
        .fault(503, "serviceUnavailable");
    assert_eq!(cloud.status(&volume).await, "available");
}

#[tokio::test]
async fn grows_under_a_server() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    attach(&cloud, &volume).await;
    let path = format!("/v3/p1/volumes/{volume}/action");
    let extend = json!({"os-extend": {"new_size": 2}});
    cloud
        .call("ann", "3.41", Method::POST, &path, Some(extend.clone()))
        .await
        .fault(400, "badRequest");
    cloud
        .call("ann", "3.42", Method::POST, &path, Some(extend))
        .await
        .expect(202);
    cloud.idle().await;
    let shown = cloud.show(&volume).await;
    assert_eq!(
        (&shown["status"], &shown["size"]),
        (&json!("in-use"), &json!(2))
    );
    let events = cloud.neighbours.events.lock().unwrap().clone();
    assert_eq!(
        events,
        [json!({"events": [{"name": "volume-extended", "server_uuid": SERVER, "tag": volume}]})]
    );
}

#[tokio::test]
async fn multiattach_is_shared_by_servers() {
    let cloud = Cloud::new().await;
    let kind =
        json!({"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}});
    cloud.post("admin", "/v3/ops/types", kind).await.expect(200);
    let volume = cloud
        .volume(json!({"size": 1, "volume_type": "shared"}))
        .await;
    assert_eq!(cloud.show(&volume).await["multiattach"], true);
    let first = attach(&cloud, &volume).await;
    let second = attach(&cloud, &volume).await;
    cloud
        .delete("ann+service", &format!("/v3/p1/attachments/{first}"))
        .await
        .expect(200);
    assert_eq!(cloud.status(&volume).await, "in-use");
    let list = cloud
        .get("ann", &format!("/v3/p1/attachments?volume_id={volume}"))
        .await
        .expect(200);
    assert_eq!(list["attachments"][0]["id"], second);
    assert_eq!(
        cloud.get("bob", "/v3/p2/attachments").await.expect(200),
        json!({"attachments": []})
    );
    cloud
        .delete("ann+service", &format!("/v3/p1/attachments/{second}"))
        .await
        .expect(200);
    assert_eq!(cloud.status(&volume).await, "available");
}

#[tokio::test]
async fn the_older_verbs() {
    let cloud = Cloud::new().await;
    let id = cloud.volume(json!({"size": 1})).await;
    cloud
        .act("ann", &id, json!({"os-reserve": {}}))
        .await
        .expect(202);
    assert_eq!(cloud.status(&id).await, "attaching");
    cloud
        .act("ann", &id, json!({"os-unreserve": {}}))
        .await
        .expect(202);
    let attach = json!({"os-attach": {"instance_uuid": SERVER, "mountpoint": "/dev/vdc"}});
    cloud.act("ann", &id, attach).await.expect(202);
    assert_eq!(cloud.status(&id).await, "in-use");
    cloud
        .act("ann", &id, json!({"os-begin_detaching": {}}))
        .await
        .expect(202);
    cloud
        .act("ann", &id, json!({"os-begin_detaching": {}}))
        .await
        .fault(400, "badRequest");
    cloud
        .act("ann", &id, json!({"os-roll_detaching": {}}))
        .await
        .expect(202);
    cloud
        .act("ann", &id, json!({"os-detach": {}}))
        .await
        .expect(202);
    assert_eq!(cloud.status(&id).await, "available");
    let attach = json!({"os-attach": {"instance_uuid": SERVER, "mountpoint": "/dev/vdc"}});
    cloud.act("ann", &id, attach).await.expect(202);
    let force = json!({"os-force_detach": {}});
    cloud
        .act("ann", &id, force.clone())
        .await
        .fault(403, "forbidden");
    assert_eq!(cloud.status(&id).await, "in-use");
    cloud.act("admin", &id, force).await.expect(202);
    assert_eq!(cloud.status(&id).await, "available");
    let init = json!({"os-initialize_connection": {"connector": {"host": "c9"}}});
    let info = cloud.act("ann", &id, init).await.expect(200);
    assert_eq!(info["connection_info"]["data"]["seen"], "c9");
}

#[tokio::test]
async fn who_only_looks_sees_no_keys() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = attach(&cloud, &volume).await;
    let path = format!("/v3/p1/attachments/{id}");
    for (who, sees) in [
        ("ann", false),
        ("amy", false),
        ("ann+service", true),
        ("nova", true),
    ] {
        let shown = cloud
            .call(who, "3.44", Method::GET, &path, None)
            .await
            .expect(200);
        let info = &shown["attachment"]["connection_info"];
        assert_eq!(info["driver_volume_type"], "local", "{who}");
        assert_eq!(info.get("tls_psk").is_some(), sees, "{who}");
    }
    let list = cloud
        .get("ann", "/v3/p1/attachments/detail")
        .await
        .expect(200);
    assert!(
        list["attachments"][0]["connection_info"]
            .get("tls_psk")
            .is_none()
    );
}

#[tokio::test]
async fn what_is_reached_over_the_network_does_not_grow_under_a_server() {
    let cloud = Cloud::new().await;
    *cloud.agent.protocol.lock().unwrap() = "nbd";
    let volume = cloud.volume(json!({"size": 1})).await;
    let id = attach(&cloud, &volume).await;
    let extend = json!({"os-extend": {"new_size": 2}});
    let refused = cloud.act("ann", &volume, extend.clone()).await;
    let words = refused.fault(400, "badRequest");
    assert!(
        words.contains("cannot be extended while a server on another host"),
        "{words}"
    );
    assert_eq!(cloud.status(&volume).await, "in-use");
    cloud
        .delete("ann+service", &format!("/v3/p1/attachments/{id}"))
        .await
        .expect(200);
    cloud.act("ann", &volume, extend).await.expect(202);
    cloud.idle().await;
    assert_eq!(cloud.show(&volume).await["size"], 2);
}
