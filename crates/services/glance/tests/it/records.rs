//! Image records: create, patch, list, page.

use crate::cloud::Cloud;
use oslo_http::Body;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_record_lives() {
    let cloud = Cloud::new().await;
    let id = base::new_id();
    let body = json!({"id": id, "name": "a", "tags": ["x"], "hw_disk_bus": "scsi", "min_disk": 3});
    let made = cloud
        .ok("p1", "POST", "/v2/images", Some(body.clone()))
        .await;
    assert_eq!(
        (
            &made["status"],
            &made["visibility"],
            &made["owner"],
            &made["hw_disk_bus"]
        ),
        (
            &json!("queued"),
            &json!("shared"),
            &json!("p1"),
            &json!("scsi")
        )
    );
    assert_eq!(made["file"], json!(format!("/v2/images/{id}/file")));
    assert_eq!(
        cloud.ask("p1", "POST", "/v2/images", Some(body)).await.0,
        409
    );
    let path = format!("/v2/images/{id}");
    cloud.ok("p1", "PUT", &format!("{path}/tags/y"), None).await;
    assert_eq!(
        cloud.ok("p1", "GET", &path, None).await["tags"],
        json!(["x", "y"])
    );
    cloud
        .ok("p1", "DELETE", &format!("{path}/tags/x"), None)
        .await;
    assert_eq!(
        cloud
            .ask("p1", "DELETE", &format!("{path}/tags/x"), None)
            .await
            .0,
        404
    );
    let (status, patched) = cloud
        .patch(
            "p1",
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "b"},
                {"op": "add", "path": "/os_distro", "value": "debian"},
                {"op": "remove", "path": "/hw_disk_bus"},
                {"op": "replace", "path": "/protected", "value": true},
            ]),
        )
        .await;
    assert_eq!(
        (status, &patched["name"], &patched["os_distro"]),
        (200, &json!("b"), &json!("debian"))
    );
    assert!(patched.get("hw_disk_bus").is_none());
    assert_eq!(
        cloud.ask("p1", "DELETE", &path, None).await.0,
        403,
        "protected"
    );
    cloud
        .patch(
            "p1",
            &id,
            json!([{"op": "replace", "path": "/protected", "value": false}]),
        )
        .await;
    cloud.ok("p1", "DELETE", &path, None).await;
    assert_eq!(cloud.ask("p1", "GET", &path, None).await.0, 404);
    assert_eq!(cloud.ask("p1", "DELETE", &path, None).await.0, 404);
}

#[tokio::test]
async fn refused_records_and_patches() {
    let cloud = Cloud::new().await;
    let create = [
        (json!({"name": 1}), 400),
        (json!({"name": "x".repeat(256)}), 400),
        (json!({"id": "1"}), 400),
        (json!({"visibility": "secret"}), 400),
        (json!({"disk_format": "doc"}), 400),
        (json!({"min_ram": -1}), 400),
        (json!({"custom": 1}), 400),
        (json!({"status": "active"}), 403),
        (json!({"checksum": "x"}), 403),
        (json!({"visibility": "public"}), 403),
        (json!({"owner": "p2"}), 403),
        (
            json!({"tags": (0..129).map(|i| i.to_string()).collect::<Vec<_>>()}),
            413,
        ),
    ];
    for (body, wanted) in create {
        let (status, answer) = cloud
            .ask("p1", "POST", "/v2/images", Some(body.clone()))
            .await;
        assert_eq!(status, wanted, "{body}: {answer}");
    }
    let id = cloud.image("p1", json!({})).await;
    let op = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
    let patches = [
        (op("replace", "/status", json!("active")), 403),
        (op("replace", "/id", json!("x")), 403),
        (op("add", "/locations/-", json!({})), 400),
        (op("add", "/locations", json!([])), 400),
        (op("remove", "/name", Value::Null), 403),
        (op("remove", "/nothing", Value::Null), 409),
        (op("replace", "/nothing", json!("x")), 409),
        (op("replace", "/visibility", json!("public")), 403),
        (op("replace", "/owner", json!("p2")), 403),
        (op("replace", "/min_ram", json!("1")), 400),
        (op("test", "/name", json!("i")), 400),
        (json!({"name": "x"}), 400),
    ];
    for (patch, wanted) in patches {
        let (status, answer) = cloud.patch("p1", &id, patch.clone()).await;
        assert_eq!(status, wanted, "{patch}: {answer}");
    }
    let json = [("content-type", "application/json")];
    let path = format!("/v2/images/{id}");
    let plain = cloud
        .send("p1", "PATCH", &path, &json, "[]".to_string().into())
        .await;
    assert_eq!(plain.status, 415);
    assert!(
        plain.headers["accept-patch"]
            .to_str()
            .unwrap()
            .contains("v2.1-json-patch")
    );
    let (status, _) = cloud
        .patch("p1", &id, op("replace", "/disk_format", json!("iso")))
        .await;
    assert_eq!(status, 200, "still queued");
    cloud
        .patch("p1", &id, op("replace", "/disk_format", json!("raw")))
        .await;
    cloud.upload("p1", &id, "data".to_string()).await;
    let (status, _) = cloud
        .patch("p1", &id, op("replace", "/disk_format", json!("iso")))
        .await;
    assert_eq!(status, 403, "no longer queued");
}

async fn names(cloud: &Cloud, path: &str) -> (Vec<String>, Value) {
    let body = cloud.ok("p1", "GET", path, None).await;
    let images = body["images"].as_array().unwrap();
    let names = images
        .iter()
        .map(|i| i["name"].as_str().unwrap().to_string())
        .collect();
    (names, body["next"].clone())
}

#[tokio::test]
async fn pages_follow_their_links() {
    let cloud = Cloud::new().await;
    for i in 0..7 {
        cloud
            .image("p1", json!({"name": format!("n{}", i / 2), "min_disk": i}))
            .await;
        cloud.clock.advance(Duration::from_secs(1));
    }
    let (mut found, mut next) =
        names(&cloud, "/v2/images?limit=3&sort=name:asc,created_at:desc").await;
    let mut pages = 1;
    while let Some(path) = next.as_str().map(str::to_string) {
        let (more, link) = names(&cloud, &path).await;
        found.extend(more);
        next = link;
        pages += 1;
    }
    assert_eq!(
        (found.join(" "), pages),
        ("n0 n0 n1 n1 n2 n2 n3".to_string(), 3)
    );
    let first = cloud
        .ok("p1", "GET", "/v2/images?limit=1&marker=", None)
        .await;
    assert_eq!(first["first"], "/v2/images?limit=1");
    assert_eq!(
        cloud
            .ask("p1", "GET", "/v2/images?marker=none", None)
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .ask("p1", "GET", "/v2/images?sort_key=secret", None)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn filters() {
    let cloud = Cloud::new().await;
    cloud
        .image(
            "p1",
            json!({"name": "a,b", "tags": ["x", "y"], "os_distro": "debian"}),
        )
        .await;
    cloud.clock.advance(Duration::from_secs(100));
    let at = cloud.clock.now().iso_z();
    let big = cloud
        .image(
            "p1",
            json!({"name": "c", "tags": ["x"], "disk_format": "iso"}),
        )
        .await;
    cloud
        .image("p1", json!({"name": "h", "os_hidden": true}))
        .await;
    let sized = cloud.image("p1", json!({"name": "s"})).await;
    cloud.upload("p1", &sized, "12345".to_string()).await;
    let cases = [
        ("name=c", "c"),
        ("name=in:%22a,b%22,c", "a,b c"),
        ("tag=x", "a,b c"),
        ("tag=x&tag=y", "a,b"),
        ("os_distro=debian", "a,b"),
        ("disk_format=in:iso,qcow2", "c"),
        ("os_hidden=true", "h"),
        ("size_min=1", "s"),
        ("size_min=6", ""),
        ("size_max=5", "s"),
        ("status=active", "s"),
        ("status=in:queued,active", "a,b c s"),
        ("owner=p2", ""),
        ("protected=true", ""),
        (&format!("created_at=lt:{at}"), "a,b"),
        (&format!("created_at=gte:{at}"), "c s"),
        (&format!("created_at={at}"), "c s"),
    ];
    for (query, wanted) in cases {
        let (found, _) = names(&cloud, &format!("/v2/images?sort=name:asc&{query}")).await;
        assert_eq!(found.join(" "), wanted, "{query}");
    }
    let bad = [
        "status=new",
        "visibility=x",
        "created_at=after:2026",
        "created_at=x",
        "size_min=a",
        "member_status=x",
        "name=in:%22a",
    ];
    for query in bad {
        assert_eq!(
            cloud
                .ask("p1", "GET", &format!("/v2/images?{query}"), None)
                .await
                .0,
            400,
            "{query}"
        );
    }
    let _ = big;
}

#[tokio::test]
async fn documents() {
    let cloud = Cloud::new().await;
    let root = cloud.send("", "GET", "/", &[], Body::Empty).await;
    assert_eq!(
        (root.status, &root.json()["versions"][0]["status"]),
        (300, &json!("CURRENT"))
    );
    assert_eq!(
        cloud
            .send("", "GET", "/versions", &[], Body::Empty)
            .await
            .status,
        200
    );
    assert_eq!(
        cloud.ok("p1", "GET", "/v2/schemas/image", None).await["name"],
        "image"
    );
    assert_eq!(
        cloud.ask("p1", "GET", "/v2/schemas/secret", None).await.0,
        404
    );
    let import = cloud.ok("p1", "GET", "/v2/info/import", None).await;
    assert_eq!(
        import["import-methods"]["value"],
        json!(["glance-direct", "web-download", "copy-image"])
    );
    let stores = cloud.ok("p1", "GET", "/v2/info/stores", None).await;
    assert_eq!(
        stores,
        json!({"stores": [{"id": "file", "default": "true"}]})
    );
    // Faults speak HTML unless asked otherwise.
    let missing = cloud
        .send("p1", "GET", "/v2/images/none", &[], Body::Empty)
        .await;
    assert_eq!(missing.status, 404);
    assert!(
        String::from_utf8(missing.bytes)
            .unwrap()
            .contains("No image found with ID none")
    );
    let other = cloud.again().await;
    let id = cloud.image("p1", json!({})).await;
    assert_eq!(other.status(&id).await, "queued");
}
