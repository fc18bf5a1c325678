//! How much a project may have: unified limits, and a quota of bytes.

use crate::cloud::Cloud;
use crate::imports::{direct, import, stage, table};
use glance::Conf;
use oslo_http::{Body, Bytes};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn limited() -> Conf {
    Conf {
        use_keystone_limits: true,
        enabled_backends: table(&[("file", "file"), ("slow", "file")]),
        ..Conf::default()
    }
}

fn no_limits(cloud: &Cloud) {
    for name in [
        "image_size_total",
        "image_stage_total",
        "image_count_total",
        "image_count_uploading",
    ] {
        cloud.identity.limit(name, 1000);
    }
}

async fn usage(cloud: &Cloud, name: &str) -> (i64, i64) {
    let all = cloud.ok("p1", "GET", "/v2/info/usage", None).await;
    let one = &all["usage"][name];
    let number = |key: &str| one[key].as_i64().unwrap();
    (number("limit"), number("usage"))
}

async fn upload(cloud: &Cloud, id: &str, size: usize) -> (u16, Value) {
    let answer = cloud.upload("p1", id, vec![7; size]).await;
    (answer.status, answer.json())
}

/// An upload whose size nobody knows beforehand.
async fn stream(cloud: &Cloud, id: &str, size: usize) -> u16 {
    let piece = futures::stream::once(async move { Ok(Bytes::from(vec![7; size])) });
    cloud
        .upload("p1", id, Body::stream(piece, None))
        .await
        .status
}

#[tokio::test]
async fn the_number_of_images_is_limited() {
    let cloud = Cloud::with(limited()).await;
    let body = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let create = async || {
        let made = cloud.ask("p1", "POST", "/v2/images", Some(body.clone()));
        made.await
    };
    let (status, fault) = create().await;
    assert_eq!(status, 413, "what is not registered is 0");
    assert!(
        fault
            .to_string()
            .contains("image_count_total is over limit of 0"),
        "{fault}"
    );
    no_limits(&cloud);
    cloud.identity.limit("image_count_total", 2);
    let first = create().await.1["id"].as_str().unwrap().to_string();
    // Many at once: never one more than may be.
    let made = futures::future::join_all((0..5).map(|_| create())).await;
    let made = made.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(made, 1);
    assert_eq!(usage(&cloud, "image_count_total").await, (2, 2));
    cloud.image("p2", json!({})).await;
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{first}"), None)
        .await;
    assert_eq!(usage(&cloud, "image_count_total").await, (2, 1));
    assert_eq!(create().await.0, 201);

    // A project's own limit goes before that of all, and -1 is none.
    let own = json!({"resource_name": "image_count_total", "region_id": "RegionOne",
        "project_id": "p1", "resource_limit": -1});
    cloud.identity.limits.lock().unwrap().push(own);
    assert_eq!(create().await.0, 201);
    assert_eq!(usage(&cloud, "image_count_total").await, (-1, 3));
    // The old way to make one counts too.
    cloud.identity.limit("image_count_total", 0);
    let input = json!({"import_from": "http://192.0.2.1/", "import_from_format": "raw",
        "image_properties": {"disk_format": "raw", "container_format": "bare"}});
    let task = json!({"type": "import", "input": input});
    let (status, fault) = cloud.ask("admin", "POST", "/v2/tasks", Some(task)).await;
    assert_eq!(status, 413, "{fault}");
}

/// As Tempest's ImageQuotaTest tells it: what arrives last may go beyond the limit, what comes after may not.
#[tokio::test]
async fn the_size_of_all_images_is_limited() {
    let cloud = Cloud::with(limited()).await;
    no_limits(&cloud);
    cloud.identity.limit("image_size_total", 1);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(cloud.image("p1", json!({})).await);
    }
    assert_eq!(stream(&cloud, &ids[0], MIB).await, 204);
    assert_eq!(
        stream(&cloud, &ids[1], MIB).await,
        204,
        "nobody knew its size"
    );
    assert_eq!(usage(&cloud, "image_size_total").await, (1, 2));
    assert_eq!(stream(&cloud, &ids[2], MIB).await, 413);
    assert_eq!(cloud.status(&ids[2]).await, "queued");
    cloud.identity.limit("image_size_total", 2);
    assert_eq!(
        upload(&cloud, &ids[2], MIB).await.0,
        413,
        "it says how large it is"
    );
    assert_eq!(stream(&cloud, &ids[2], MIB).await, 204);
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{}", ids[0]), None)
        .await;
    assert_eq!(stream(&cloud, &ids[3], MIB).await, 204);
    // Every copy counts.
    cloud.identity.limit("image_size_total", 3);
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["slow"]});
    assert_eq!(import(&cloud, "admin", &ids[3], copy).await.0, 202);
    cloud.imported().await;
    assert_eq!(usage(&cloud, "image_size_total").await, (3, 4));
    // What has been staged may not be imported any more.
    let id = cloud.image("p1", json!({})).await;
    assert_eq!(
        stage(&cloud, "p1", &id, "data".to_string()).await.status,
        204
    );
    assert_eq!(import(&cloud, "p1", &id, direct()).await.0, 413);
    assert_eq!(cloud.status(&id).await, "uploading");
    cloud.identity.limit("image_size_total", -1);
    assert_eq!(import(&cloud, "p1", &id, direct()).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.status(&id).await, "active");
}

#[tokio::test]
async fn what_is_staged_and_what_is_on_its_way_is_limited() {
    let cloud = Cloud::with(limited()).await;
    no_limits(&cloud);
    cloud.identity.limit("image_stage_total", 1);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(cloud.image("p1", json!({})).await);
    }
    let staged = async |id: &str| {
        let piece = futures::stream::once(async { Ok(Bytes::from(vec![7; MIB])) });
        stage(&cloud, "p1", id, Body::stream(piece, None))
            .await
            .status
    };
    assert_eq!(staged(&ids[0]).await, 204);
    assert_eq!(staged(&ids[1]).await, 204);
    assert_eq!(staged(&ids[2]).await, 413);
    assert_eq!(usage(&cloud, "image_stage_total").await, (1, 2));
    assert_eq!(usage(&cloud, "image_count_uploading").await, (1000, 2));
    assert_eq!(
        stream(&cloud, &ids[2], MIB).await,
        204,
        "uploads are not staged"
    );
    for id in &ids[..2] {
        assert_eq!(import(&cloud, "p1", id, direct()).await.0, 202);
    }
    cloud.imported().await;
    assert_eq!(usage(&cloud, "image_stage_total").await, (1, 0));

    cloud.identity.limit("image_count_uploading", 1);
    assert_eq!(staged(&ids[3]).await, 204);
    let one_more = cloud.image("p1", json!({})).await;
    assert_eq!(staged(&one_more).await, 413);
    assert_eq!(stream(&cloud, &one_more, 4).await, 413);
    assert_eq!(cloud.status(&one_more).await, "queued");
    let web = json!({"method": {"name": "web-download", "uri": "http://192.0.2.1/"}});
    assert_eq!(import(&cloud, "p1", &one_more, web).await.0, 413);
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{}", ids[3]), None)
        .await;
    assert_eq!(stream(&cloud, &one_more, 4).await, 204);
}

#[tokio::test]
async fn a_quota_of_bytes_is_never_exceeded() {
    let conf = Conf {
        user_storage_quota: "2MB".to_string(),
        enabled_backends: table(&[("file", "file"), ("slow", "file")]),
        ..Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    let usage = cloud.ok("p1", "GET", "/v2/info/usage", None).await;
    assert_eq!(usage, json!({"usage": {}}), "nobody asks keystone");
    let new = async || cloud.image("p1", json!({})).await;
    let (first, second) = (new().await, new().await);
    assert_eq!(upload(&cloud, &first, 2 * MIB + 1).await.0, 413);
    assert_eq!(stream(&cloud, &first, 2 * MIB + 1).await, 413);
    assert_eq!(
        (cloud.status(&first).await, cloud.files().len()),
        (json!("queued"), 0)
    );
    // Two at once, of which one fits.
    let (one, other) = tokio::join!(
        stream(&cloud, &first, MIB + 1),
        stream(&cloud, &second, MIB + 1)
    );
    assert_eq!((one.min(other), one.max(other)), (204, 413));
    let third = new().await;
    let (status, fault) = upload(&cloud, &third, MIB).await;
    assert_eq!(status, 413);
    assert!(
        fault.to_string().contains("exceeds the storage quota"),
        "{fault}"
    );
    // Imports and copies are within it too.
    assert_eq!(stage(&cloud, "p1", &third, vec![7; MIB]).await.status, 204);
    assert_eq!(import(&cloud, "p1", &third, direct()).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.status(&third).await, "queued");
    assert_eq!(upload(&cloud, &third, MIB - 1).await.0, 204);
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["slow"]});
    assert_eq!(import(&cloud, "admin", &third, copy).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.show(&third).await["stores"], "file");
    assert_eq!((cloud.files().len(), cloud.files_of("slow").len()), (2, 0));
    assert_eq!(cloud.files_of("staging"), Vec::<String>::new());
    // Others have their own.
    let id = cloud.image("p2", json!({})).await;
    assert_eq!(cloud.upload("p2", &id, vec![7; MIB]).await.status, 204);
}
