//! Volumes that are made for a server: of images, of snapshots, of nothing.

use crate::boot::flavor;
use crate::harness::Cloud;
use crate::neighbours::{BROKEN_SNAPSHOT, NO_SNAPSHOT};
use serde_json::{Value, json};
use std::time::Duration;

fn server(flavor: &str, mappings: Value) -> Value {
    json!({"server": {"name": "web", "flavorRef": flavor, "networks": "none", "block_device_mapping_v2": mappings}})
}

/// Volumes that are made and nobody's are deleted.
async fn none_left(cloud: &Cloud) {
    for _ in 0..3000 {
        if cloud.neighbours.volumes().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", cloud.neighbours.volumes());
}

#[tokio::test(flavor = "multi_thread")]
async fn are_made_before_the_guest_starts_and_go_with_it() {
    let cloud = Cloud::new().await;
    let flavor = flavor(&cloud).await;
    let (snapshot, image) = (base::new_id(), base::new_id());
    let body = server(
        &flavor,
        json!([
            {"source_type": "snapshot", "destination_type": "volume", "uuid": snapshot, "boot_index": 0,
                "delete_on_termination": true},
            {"source_type": "image", "destination_type": "volume", "uuid": image, "volume_size": 3,
                "boot_index": -1, "delete_on_termination": true},
            {"source_type": "blank", "destination_type": "volume", "volume_size": "2", "volume_type": "gold"},
        ]),
    );
    let made = cloud.post("alice", "2.67", "/v2.1/servers", body).await;
    let id = made["server"]["id"].as_str().unwrap();
    let shown = cloud.settled(id).await;
    assert_eq!(shown["status"], "ACTIVE", "{}", shown["fault"]);
    assert_eq!(shown["image"], "");
    let volumes = cloud.neighbours.volumes();
    let asked = |n: usize, key: &str| volumes[n][key].clone();
    assert_eq!(
        (asked(0, "snapshot_id"), asked(0, "size")),
        (json!(snapshot), json!(5))
    );
    assert_eq!(
        (asked(1, "imageRef"), asked(1, "size")),
        (json!(image), json!(3))
    );
    assert_eq!(
        (asked(2, "volume_type"), asked(2, "size")),
        (json!("gold"), json!(2))
    );
    assert!(
        volumes.iter().all(|v| v["status"] == "available"),
        "waited for"
    );
    let path = format!("/v2.1/servers/{id}/os-volume_attachments");
    let attached = cloud.get("alice", "2.89", &path).await;
    let attached = attached["volumeAttachments"].as_array().unwrap();
    let names: Vec<_> = attached
        .iter()
        .map(|a| (&a["volumeId"], &a["device"]))
        .collect();
    let wanted = [(0, "/dev/vda"), (1, "/dev/vdb"), (2, "/dev/vdc")];
    for (n, device) in wanted {
        assert!(
            names.contains(&(&volumes[n]["id"], &json!(device))),
            "{attached:?}"
        );
    }
    assert!(attached.iter().all(|a| a["attachment_id"].is_string()));

    let path = format!("/v2.1/servers/{id}");
    assert_eq!(
        cloud.ask("alice", "2.1", "DELETE", &path, None).await.0,
        204
    );
    for _ in 0..500 {
        if cloud.neighbours.volumes().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = cloud.neighbours.volumes();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["volume_type"], "gold", "this one was to stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_cannot_be_made_leave_no_server_and_nothing_else() {
    let cloud = Cloud::new().await;
    let flavor = flavor(&cloud).await;
    let mapping = |source: &str, more: Value| {
        let mut one = json!({"source_type": source, "destination_type": "volume", "delete_on_termination": true});
        one.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        one
    };
    for (bad, words) in [
        (
            mapping("image", json!({"uuid": base::new_id(), "boot_index": 0})),
            "need to have a non-zero size",
        ),
        (
            mapping("blank", json!({"boot_index": 0})),
            "need to have non-zero size",
        ),
        (
            mapping("snapshot", json!({"uuid": NO_SNAPSHOT, "boot_index": 0})),
            "failed to get snapshot",
        ),
        (
            mapping("snapshot", json!({"boot_index": 0})),
            "missing uuid",
        ),
    ] {
        // What was made for the first mapping goes with the refusal.
        let first = mapping("blank", json!({"volume_size": 1}));
        let body = server(&flavor, json!([first, bad]));
        let (status, said) = cloud
            .refused("alice", "2.67", "POST", "/v2.1/servers", Some(body))
            .await;
        assert_eq!(status, 400, "{said}");
        assert!(said.contains(words), "{said}");
    }
    let broken = mapping(
        "snapshot",
        json!({"uuid": BROKEN_SNAPSHOT, "boot_index": 0}),
    );
    let made = cloud
        .post(
            "alice",
            "2.67",
            "/v2.1/servers",
            server(&flavor, json!([broken])),
        )
        .await;
    let shown = cloud.settled(made["server"]["id"].as_str().unwrap()).await;
    assert_eq!(shown["status"], "ERROR");
    let words = shown["fault"]["message"].as_str().unwrap();
    assert!(words.contains("did not finish being created"), "{words}");
    none_left(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_of_a_request_has_its_own() {
    let cloud = Cloud::new().await;
    let flavor = flavor(&cloud).await;
    let root = json!({"source_type": "image", "destination_type": "volume", "uuid": base::new_id(),
        "volume_size": 1, "boot_index": 0});
    let mut body = server(&flavor, json!([root]));
    body["server"]["max_count"] = json!(3);
    body["server"]["min_count"] = json!(1);
    let quota = json!({"quota_set": {"instances": 2}});
    let path = "/v2.1/os-quota-sets/p1";
    assert_eq!(
        cloud.ask("admin", "2.1", "PUT", path, Some(quota)).await.0,
        200
    );
    cloud
        .post("alice", "2.67", "/v2.1/servers", body.clone())
        .await;
    // Two fit into the quota; what was made for the third goes.
    for _ in 0..3000 {
        if cloud.neighbours.volumes().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cloud.neighbours.volumes().len(), 2);
    let shared = json!([{"source_type": "volume", "destination_type": "volume", "boot_index": 0,
        "uuid": "f1111111-2222-4333-8444-555555555555"}]);
    body["server"]["block_device_mapping_v2"] = shared;
    let (status, said) = cloud
        .refused("alice", "2.67", "POST", "/v2.1/servers", Some(body))
        .await;
    assert_eq!(status, 400);
    assert!(said.contains("cannot be shared"), "{said}");
}
