//! How imports end when something is in the way: whoever can read an image keeps its data.

use crate::cloud::Cloud;
use crate::data::qcow2;
use crate::web::Web;
use glance::Conf;
use glance::flows::ImportImage;
use glance::stores::Stores;
use oslo_http::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

fn two() -> Conf {
    let pairs = [("file", "file"), ("fast", "file")];
    let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Conf {
        enabled_backends: owned.collect(),
        ..Conf::default()
    }
}

async fn bytes(cloud: &Cloud, id: &str) -> Vec<u8> {
    let path = format!("/v2/images/{id}/file");
    let answer = cloud.send("p1", "GET", &path, &[], Body::Empty).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    answer.bytes
}

async fn tasks(cloud: &Cloud, token: &str, id: &str) -> Vec<Value> {
    let path = format!("/v2/images/{id}/tasks");
    let tasks = cloud.ok(token, "GET", &path, None).await;
    tasks["tasks"].as_array().unwrap().clone()
}

/// Staging that cannot be cleared is no reason to take back what was imported.
#[tokio::test]
async fn what_stays_in_staging_takes_nothing_back() {
    let cloud = Cloud::with(two()).await;
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/stage");
    let staged = cloud
        .send("p1", "PUT", &path, &[OCTETS], "data".to_string().into())
        .await;
    assert_eq!(staged.status, 204);
    let file = cloud.files_of("staging").pop().unwrap();
    let own = cloud.folder.file_name().unwrap().to_string_lossy();
    let staging = cloud.folder.with_file_name(format!("{own}-staging"));
    // Nobody removes a folder as if it were a file.
    std::fs::create_dir(staging.join(format!("{file}.part"))).unwrap();
    let direct = json!({"method": {"name": "glance-direct"}});
    let path = format!("/v2/images/{id}/import");
    cloud.ok("p1", "POST", &path, Some(direct)).await;
    cloud.imported().await;
    assert_eq!(cloud.status(&id).await, "active");
    assert_eq!(bytes(&cloud, &id).await, b"data");
    assert_eq!(tasks(&cloud, "p1", &id).await[0]["status"], "success");
}

/// An import that failed has ended, also where staging cannot be cleared, and says no more of an image that is tried again.
#[tokio::test]
async fn what_stays_in_staging_keeps_no_failure_alive() {
    let cloud = Cloud::with(two()).await;
    // Said to be raw, and is not.
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/stage");
    let stage = async |data: Vec<u8>| {
        let staged = cloud.send("p1", "PUT", &path, &[OCTETS], data.into());
        assert_eq!(staged.await.status, 204);
        cloud.files_of("staging")
    };
    let file = stage(qcow2(b"")).await.pop().unwrap();
    let own = cloud.folder.file_name().unwrap().to_string_lossy();
    let staging = cloud.folder.with_file_name(format!("{own}-staging"));
    std::fs::create_dir(staging.join(format!("{file}.part"))).unwrap();
    let direct = json!({"method": {"name": "glance-direct"}});
    let import = format!("/v2/images/{id}/import");
    cloud.ok("p1", "POST", &import, Some(direct.clone())).await;
    cloud.imported().await;
    assert_eq!(cloud.status(&id).await, "queued");
    assert_eq!(tasks(&cloud, "p1", &id).await[0]["status"], "failure");
    stage(b"data".to_vec()).await;
    cloud.ok("p1", "POST", &import, Some(direct)).await;
    cloud.imported().await;
    assert_eq!(cloud.status(&id).await, "active");
    assert_eq!(bytes(&cloud, &id).await, b"data");
}

/// What glance notes on an image does not use up what its owner may note there.
#[tokio::test]
async fn notes_of_an_import_count_for_no_quota() {
    let conf = Conf {
        image_property_quota: 2,
        ..two()
    };
    let cloud = Cloud::with(conf).await;
    let id = cloud.image("p1", json!({"a": "1", "b": "2"})).await;
    let path = format!("/v2/images/{id}/stage");
    let staged = cloud
        .send("p1", "PUT", &path, &[OCTETS], "data".to_string().into())
        .await;
    assert_eq!(staged.status, 204);
    let direct = json!({"method": {"name": "glance-direct"}});
    let path = format!("/v2/images/{id}/import");
    cloud.ok("p1", "POST", &path, Some(direct)).await;
    cloud.imported().await;
    let add = |name: &str| json!([{"op": "add", "path": name, "value": "x"}]);
    assert_eq!(cloud.patch("p1", &id, add("/name")).await.0, 200);
    assert_eq!(cloud.patch("p1", &id, add("/c")).await.0, 413);
}

/// A copy is made, the one that it was made of is deleted, and then the import fails elsewhere: its undoing does not
/// drop what is now the only copy.
#[tokio::test]
async fn undoing_an_import_leaves_the_last_copy() {
    let cloud = Cloud::with(two()).await;
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/file");
    let fast = ("x-image-meta-store", "fast");
    let stored = cloud
        .send(
            "p1",
            "PUT",
            &path,
            &[OCTETS, fast],
            "data".to_string().into(),
        )
        .await;
    assert_eq!(stored.status, 204);
    // Where such an import stands when all that is there is what it made, and a store is no more.
    let flow = json!({
        "task": base::new_id(), "image": id, "request_id": "req-1", "method": "copy-image", "uri": null,
        "file": cloud.files_of("fast").pop().unwrap(), "stores": ["fast", "gone"],
        "all_must_succeed": true, "facts": null, "claim": null, "failed": [],
    });
    let flow: ImportImage = serde_json::from_value(flow).unwrap();
    let engine = cloud.state.engine.clone();
    let submit = move |tx: &mut oslo_db::Tx| engine.submit(tx, &flow).map(drop);
    cloud.db.write(submit).await.unwrap();
    cloud.state.engine.wake();
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["status"], &image["stores"]),
        (&json!("active"), &json!("fast"))
    );
    assert_eq!(bytes(&cloud, &id).await, b"data");
}

/// Addresses that data comes from are often signed: readers of an image do not get them with it.
#[tokio::test]
async fn readers_do_not_see_where_an_image_came_from() {
    let web = Web::start(b"data".to_vec()).await;
    let conf = Conf {
        allowed_hosts: vec!["127.0.0.1".to_string()],
        allowed_ports: vec![web.port.to_string()],
        ..Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    let id = cloud.image("p1", json!({"visibility": "community"})).await;
    let uri = web.uri("/image?signature=hush");
    let body = json!({"method": {"name": "web-download", "uri": uri}});
    let path = format!("/v2/images/{id}/import");
    cloud.ok("p1", "POST", &path, Some(body)).await;
    cloud.imported().await;
    for token in ["p1", "admin"] {
        let seen = Value::from(tasks(&cloud, token, &id).await);
        assert!(seen.to_string().contains("hush"), "{token}");
    }
    let path = format!("/v2/images/{id}");
    let seen = cloud.ok("p2", "GET", &path, None).await;
    assert_eq!(seen["status"], "active");
    assert_eq!(tasks(&cloud, "p2", &id).await, Vec::<Value>::new());
}

/// Two stores in one folder would have one file for two copies.
#[tokio::test]
async fn no_folder_is_of_two_stores() {
    let folder = std::env::temp_dir().join(format!("glance-{}", base::new_id()));
    let open = |fast: &str| {
        let mut conf = two();
        conf.filesystem_store_datadir = folder.join("images");
        let datadir = folder.join(fast).to_string_lossy().to_string();
        conf.store_datadirs = BTreeMap::from([("fast".to_string(), datadir)]);
        Stores::open(&conf).map(drop)
    };
    open("fast").unwrap();
    for same in ["images", "images-staging", "fast/../images/."] {
        let refused = open(same).unwrap_err();
        assert!(
            refused.message().contains("folder of another store"),
            "{same}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}
