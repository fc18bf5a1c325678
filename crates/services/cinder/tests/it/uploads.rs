//! Volumes to images.

use crate::cloud::{Cloud, IMAGE};
use base::Error;
use http::Method;
use serde_json::{Value, json};

fn body(more: Value) -> Value {
    let mut inner =
        json!({"image_name": "golden", "disk_format": "qcow2", "container_format": "bare"});
    for (key, value) in more.as_object().unwrap() {
        inner[key] = value.clone();
    }
    json!({"os-volume_upload_image": inner})
}

#[tokio::test]
async fn a_volume_becomes_an_image() {
    let cloud = Cloud::new().await;
    let id = cloud
        .volume(json!({"size": 3, "imageRef": IMAGE, "description": "d"}))
        .await;
    cloud.agent.gate.forget_permits(1000);
    while cloud
        .agent
        .waiting
        .try_acquire()
        .map(|p| p.forget())
        .is_ok()
    {}
    let wanted = body(json!({"visibility": "shared", "protected": true}));
    let answer = cloud.act("ann", &id, wanted.clone()).await.expect(202);
    let said = &answer["os-volume_upload_image"];
    for (key, value) in [
        ("id", json!(id)),
        ("status", json!("uploading")),
        ("size", json!(3)),
        ("display_description", json!("d")),
        ("image_name", json!("golden")),
        ("disk_format", json!("qcow2")),
        ("container_format", json!("bare")),
        ("visibility", json!("shared")),
        ("protected", json!(true)),
    ] {
        assert_eq!(said[key], value, "{key}: {said}");
    }
    let image = said["image_id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    assert_eq!(cloud.status(&id).await, "uploading");
    cloud.act("ann", &id, wanted).await.fault(400, "badRequest");
    cloud
        .delete("ann", &format!("/v3/volumes/{id}"))
        .await
        .fault(400, "badRequest");
    let made = cloud.neighbours.images.lock().unwrap()[&image].clone();
    assert_eq!(
        (&made["name"], &made["visibility"], &made["protected"]),
        (&json!("golden"), &json!("shared"), &json!(true))
    );
    assert_eq!(
        (&made["os_distro"], &made["min_disk"]),
        (&json!("cirros"), &json!(1)),
        "what the volume is of goes along"
    );
    assert_eq!(made.get("checksum"), None);
    // The process dies; the next one asks again.
    let images = cloud.neighbours.images.lock().unwrap().clone();
    let cloud = cloud.crash().await;
    *cloud.neighbours.images.lock().unwrap() = images;
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "available");
    let heard = cloud.agent.heard.lock().unwrap().join("\n");
    assert!(
        heard.contains(&format!("upload {id} 3 {image} qcow2 false")),
        "{heard}"
    );
}

#[tokio::test]
async fn what_cannot_be_uploaded_is_refused_or_leaves_no_image() {
    let cloud = Cloud::new().await;
    let id = cloud.volume(json!({"size": 1})).await;
    let path = format!("/v3/p1/volumes/{id}/action");
    let newer = body(json!({"visibility": "private"}));
    cloud
        .call("ann", "3.0", Method::POST, &path, Some(newer))
        .await
        .fault(400, "badRequest");
    let older = cloud.call(
        "ann",
        "3.0",
        Method::POST,
        &path,
        Some(body(json!({"force": true}))),
    );
    let older = older.await.expect(202);
    assert!(older["os-volume_upload_image"].get("visibility").is_none());
    cloud.idle().await;
    for (token, wrong, status) in [
        ("ann", json!({"visibility": "public"}), 403),
        ("bob", json!({}), 404),
        ("ann", json!({"disk_format": "floppy"}), 400),
        ("ann", json!({"disk_format": "ploop"}), 400),
        ("ann", json!({"image_name": ""}), 400),
    ] {
        let answer = cloud.act(token, &id, body(wrong.clone())).await;
        assert_eq!(answer.status, status, "{wrong}: {}", answer.body);
    }
    cloud.neighbours.images.lock().unwrap().clear();
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("no space"));
    cloud
        .act("ann", &id, body(json!({"protected": true})))
        .await
        .expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "available");
    assert!(cloud.neighbours.images.lock().unwrap().is_empty());
    *cloud.agent.fail.lock().unwrap() = None;
    let reset = json!({"os-reset_status": {"status": "in-use"}});
    cloud.act("admin", &id, reset).await.expect(202);
    let forced = cloud.act("ann", &id, body(json!({"force": true}))).await;
    let words = format!(
        "Invalid volume: Volume {id} status must be available, but current status is: in-use."
    );
    assert_eq!(forced.fault(400, "badRequest"), words);
    assert!(
        cloud.neighbours.images.lock().unwrap().is_empty(),
        "no record was made"
    );
}
