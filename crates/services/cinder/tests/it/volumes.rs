//! The life of a volume, and what is refused.

use crate::cloud::{Cloud, IMAGE};
use base::Error;
use http::Method;
use serde_json::json;

#[tokio::test]
async fn lives_grows_and_goes() {
    let cloud = Cloud::new().await;
    let body = json!({"volume": {"size": 2, "name": "  data ", "metadata": {"a": "b"}}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    let id = created["volume"]["id"].as_str().unwrap().to_string();
    assert_eq!(created["volume"]["status"], "creating");
    assert_eq!(created["volume"]["name"], "data");
    assert_eq!(created["volume"]["volume_type"], "__DEFAULT__");
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "available");
    assert_eq!(cloud.agent.volumes.lock().unwrap()[&id], 2);

    let update = json!({"volume": {"description": "mine", "name": "d2"}});
    let updated = cloud
        .put("ann", &format!("/v3/p1/volumes/{id}"), update)
        .await
        .expect(200);
    assert_eq!(
        (
            &updated["volume"]["description"],
            &updated["volume"]["name"]
        ),
        (&json!("mine"), &json!("d2"))
    );

    cloud
        .act("ann", &id, json!({"os-extend": {"new_size": 2}}))
        .await
        .fault(400, "badRequest");
    cloud
        .act("ann", &id, json!({"os-extend": {"new_size": 5}}))
        .await
        .expect(202);
    cloud.idle().await;
    let shown = cloud.show(&id).await;
    assert_eq!(
        (&shown["size"], &shown["status"]),
        (&json!(5), &json!("available"))
    );
    assert_eq!(cloud.agent.volumes.lock().unwrap()[&id], 5);

    cloud
        .act("ann", &id, json!({"os-set_bootable": {"bootable": true}}))
        .await
        .expect(200);
    cloud
        .act(
            "ann",
            &id,
            json!({"os-update_readonly_flag": {"readonly": true}}),
        )
        .await
        .expect(202);
    let shown = cloud.show(&id).await;
    assert_eq!(
        (&shown["bootable"], &shown["metadata"]["readonly"]),
        (&json!("true"), &json!("True"))
    );

    cloud
        .delete("ann", &format!("/v3/p1/volumes/{id}"))
        .await
        .expect(202);
    cloud.idle().await;
    let gone = cloud.get("ann", &format!("/v3/p1/volumes/{id}")).await;
    assert_eq!(
        gone.fault(404, "itemNotFound"),
        format!("Volume {id} could not be found.")
    );
    assert!(cloud.agent.volumes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn begins_with_an_image() {
    let cloud = Cloud::new().await;
    let small = json!({"volume": {"size": 1, "imageRef": IMAGE}});
    let refused = cloud
        .post("ann", "/v3/p1/volumes", small)
        .await
        .fault(400, "badRequest");
    assert!(
        refused.contains("is larger than volume size 1GB"),
        "{refused}"
    );
    let unknown = json!({"volume": {"size": 1, "imageRef": base::new_id()}});
    let refused = cloud
        .post("ann", "/v3/p1/volumes", unknown)
        .await
        .fault(400, "badRequest");
    assert_eq!(
        refused,
        "Invalid image identifier or unable to access requested image."
    );

    let id = cloud.volume(json!({"size": 3, "imageRef": IMAGE})).await;
    let shown = cloud.show(&id).await;
    assert_eq!(shown["bootable"], "true");
    let meta = &shown["volume_image_metadata"];
    assert_eq!(
        (&meta["image_id"], &meta["image_name"], &meta["os_distro"]),
        (&json!(IMAGE), &json!("cirros"), &json!("cirros"))
    );
    assert_eq!(meta["min_disk"], "1");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let cloud = Cloud::new().await;
    for body in [
        json!({}),
        json!({"volume": {}}),
        json!({"volume": {"size": 0}}),
        json!({"volume": {"size": "x"}}),
        json!({"volume": {"size": 1, "colour": "red"}}),
        json!({"volume": {"size": 1, "availability_zone": "moon"}}),
        json!({"volume": {"size": 1, "metadata": {"a": 1}}}),
    ] {
        let answer = cloud.post("ann", "/v3/p1/volumes", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
    let unknown = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let answer = cloud
        .post("ann", "/v3/p1/volumes", unknown)
        .await
        .fault(404, "itemNotFound");
    assert_eq!(answer, "Volume type with name gold could not be found.");
    for (key, what) in [
        ("snapshot_id", "Snapshot"),
        ("source_volid", "Volume"),
        ("backup_id", "Backup"),
    ] {
        let id = base::new_id();
        let body = json!({"volume": {"size": 1, key: id}});
        let refused = cloud.post("ann", "/v3/p1/volumes", body).await;
        let words = format!("{what} {id} could not be found.");
        assert_eq!(refused.fault(404, "itemNotFound"), words);
    }
    let body = json!({"volume": {"size": 1}});
    cloud
        .post("amy", "/v3/p1/volumes", body.clone())
        .await
        .fault(403, "forbidden");
    assert_eq!(
        cloud.post("", "/v3/p1/volumes", body.clone()).await.status,
        401
    );
    let foreign = cloud.post("bob", "/v3/p1/volumes", body.clone()).await;
    assert_eq!(foreign.fault(400, "badRequest"), "Malformed request url");
    let old = cloud
        .call("ann", "3.66", Method::POST, "/v3/volumes", Some(body))
        .await;
    assert_eq!(old.status, 404, "the project may be left out from 3.67 on");
}

#[tokio::test]
async fn strangers_see_nothing() {
    let cloud = Cloud::new().await;
    let id = cloud.volume(json!({"size": 1})).await;
    let path = format!("/v3/volumes/{id}");
    cloud.get("bob", &path).await.fault(404, "itemNotFound");
    cloud.delete("bob", &path).await.fault(404, "itemNotFound");
    cloud
        .act("bob", &id, json!({"os-extend": {"new_size": 9}}))
        .await
        .fault(404, "itemNotFound");
    let reset = json!({"os-reset_status": {"status": "error"}});
    cloud
        .act("ann", &id, reset.clone())
        .await
        .fault(403, "forbidden");
    let claim = json!({"attachment": {"volume_uuid": id, "instance_uuid": crate::cloud::SERVER}});
    cloud
        .post("bob", "/v3/attachments", claim)
        .await
        .fault(404, "itemNotFound");
    cloud.get("admin", &path).await.expect(200);
    cloud.act("admin", &id, reset).await.expect(202);
    assert_eq!(cloud.status(&id).await, "error");
    cloud.delete("ann", &path).await.expect(202);
}

#[tokio::test]
async fn failures_end_in_error() {
    let cloud = Cloud::new().await;
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("the disk is on fire"));
    let body = json!({"volume": {"size": 1}});
    let id = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202)["volume"]["id"]
        .as_str()
        .unwrap()
        .to_string();
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "error");
    cloud
        .delete("ann", &format!("/v3/volumes/{id}"))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "error_deleting");
    let refused = cloud
        .delete("ann", &format!("/v3/volumes/{id}"))
        .await
        .fault(400, "badRequest");
    assert!(
        refused.starts_with("Invalid volume: Volume status must be available or error or"),
        "{refused}"
    );
    *cloud.agent.fail.lock().unwrap() = None;
    cloud
        .act("admin", &id, json!({"os-force_delete": {}}))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(
        cloud.get("ann", &format!("/v3/volumes/{id}")).await.status,
        404
    );
}

#[tokio::test]
async fn goes_where_there_is_room() {
    let cloud = Cloud::new().await;
    cloud.report("h0@toy", 3.0).await;
    let id = cloud.volume(json!({"size": 5})).await;
    let shown = cloud
        .get("admin", &format!("/v3/volumes/{id}"))
        .await
        .expect(200);
    assert_eq!(shown["volume"]["os-vol-host-attr:host"], "h1@toy#toy");
    let quota = json!({"quota_set": {"gigabytes": -1}});
    cloud
        .put("admin", "/v3/ops/os-quota-sets/p1", quota)
        .await
        .expect(200);
    let body = json!({"volume": {"size": 5000}});
    let created = cloud.post("ann", "/v3/volumes", body).await.expect(202);
    cloud.idle().await;
    assert_eq!(
        cloud
            .status(created["volume"]["id"].as_str().unwrap())
            .await,
        "error"
    );
    let pools = cloud
        .get("admin", "/v3/ops/scheduler-stats/get_pools?detail=true")
        .await
        .expect(200);
    assert_eq!(pools["pools"].as_array().unwrap().len(), 2);
    let disable = json!({"host": "h1@toy", "binary": "cinder-volume"});
    cloud
        .put("admin", "/v3/ops/os-services/disable", disable)
        .await
        .expect(200);
    let services = cloud
        .get("admin", "/v3/os-services?binary=cinder-volume")
        .await
        .expect(200);
    assert_eq!(services["services"][1]["status"], "disabled");
    assert_eq!(services["services"][0]["state"], "up");
    cloud
        .get("ann", "/v3/os-services")
        .await
        .fault(403, "forbidden");
}

#[tokio::test]
async fn metadata_pairs() {
    let cloud = Cloud::new().await;
    let id = cloud
        .volume(json!({"size": 1, "metadata": {"a": "1"}}))
        .await;
    let path = format!("/v3/p1/volumes/{id}/metadata");
    cloud
        .post("ann", &path, json!({"metadata": {"b": "2"}}))
        .await
        .expect(200);
    cloud
        .put("ann", &format!("{path}/c"), json!({"meta": {"c": "3"}}))
        .await
        .expect(200);
    let all = cloud.get("ann", &path).await.expect(200);
    assert_eq!(all, json!({"metadata": {"a": "1", "b": "2", "c": "3"}}));
    cloud.delete("ann", &format!("{path}/a")).await.expect(200);
    cloud
        .delete("ann", &format!("{path}/a"))
        .await
        .fault(404, "itemNotFound");
    cloud
        .put("ann", &path, json!({"metadata": {"z": "9"}}))
        .await
        .expect(200);
    assert_eq!(
        cloud.get("ann", &format!("{path}/z")).await.expect(200),
        json!({"meta": {"z": "9"}})
    );
    cloud
        .put("ann", &format!("{path}/c"), json!({"meta": {"d": "3"}}))
        .await
        .fault(400, "badRequest");
    let image = json!({"os-set_image_metadata": {"metadata": {"hw_x": "y"}}});
    cloud.act("ann", &id, image).await.expect(200);
    assert_eq!(cloud.show(&id).await["volume_image_metadata"]["hw_x"], "y");
}
