//! Lists, pages, filters, and what each microversion shows.

use crate::cloud::Cloud;
use http::Method;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    let volumes = list["volumes"].as_array().unwrap();
    volumes
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_and_filters() {
    let cloud = Cloud::new().await;
    for (name, size) in [("a", 3), ("b", 1), ("c", 2)] {
        cloud
            .volume(json!({"size": size, "name": name, "metadata": {"n": name}}))
            .await;
    }
    let first = cloud
        .get(
            "ann",
            "/v3/p1/volumes?limit=2&sort=size:asc&with_count=True",
        )
        .await
        .expect(200);
    assert_eq!(
        (names(&first), &first["count"]),
        (vec!["b", "c"], &json!(3))
    );
    let next = first["volumes_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8776").unwrap();
    let second = cloud.get("ann", next).await.expect(200);
    assert_eq!(names(&second), ["a"]);
    assert!(second.get("volumes_links").is_none());
    // COMPAT: a page that is full has a next one, be it an empty one.
    let all = cloud.get("ann", "/v3/p1/volumes").await.expect(200);
    let all = all["volumes"].as_array().unwrap().len();
    for path in ["volumes", "volumes/detail"] {
        let full = cloud
            .get("ann", &format!("/v3/p1/{path}?limit={all}"))
            .await
            .expect(200);
        let next = full["volumes_links"][0]["href"].as_str().unwrap();
        let next = next.strip_prefix("http://cloud:8776").unwrap();
        let last = cloud.get("ann", next).await.expect(200);
        assert_eq!(last, json!({"volumes": []}));
    }
    let get = |query: &str| {
        let path = format!("/v3/p1/volumes/detail?{query}");
        let cloud = &cloud;
        async move { cloud.get("ann", &path).await }
    };
    assert_eq!(
        names(&get("").await.expect(200)),
        ["c", "b", "a"],
        "newest first"
    );
    assert_eq!(names(&get("name=b").await.expect(200)), ["b"]);
    assert_eq!(
        names(&get("metadata=%7B%27n%27%3A%20%27c%27%7D").await.expect(200)),
        ["c"]
    );
    assert_eq!(names(&get("status=error").await.expect(200)), [""; 0]);
    assert_eq!(
        names(&get("bootable=false&limit=1").await.expect(200)),
        ["c"]
    );
    get("colour=red").await.fault(400, "badRequest");
    get("sort_key=colour").await.fault(400, "badRequest");
    get("limit=-1").await.fault(400, "badRequest");
    let foreign = cloud
        .get("bob", "/v3/p2/volumes?all_tenants=1")
        .await
        .expect(200);
    assert_eq!(foreign, json!({"volumes": []}));
    let everyone = cloud
        .get("admin", "/v3/ops/volumes?all_tenants=1&project_id=p1")
        .await
        .expect(200);
    assert_eq!(names(&everyone).len(), 3);
    let summary = cloud.get("ann", "/v3/p1/volumes/summary").await.expect(200);
    assert_eq!(summary["volume-summary"]["total_size"], 6);
    assert_eq!(
        summary["volume-summary"]["metadata"]["n"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn each_microversion_shows_its_own() {
    const BASE: &[&str] = &[
        "attachments",
        "availability_zone",
        "bootable",
        "consistencygroup_id",
        "created_at",
        "description",
        "encrypted",
        "id",
        "links",
        "metadata",
        "multiattach",
        "name",
        "os-vol-tenant-attr:tenant_id",
        "replication_status",
        "size",
        "snapshot_id",
        "source_volid",
        "status",
        "updated_at",
        "user_id",
        "volume_type",
    ];
    let cloud = Cloud::new().await;
    let id = cloud.volume(json!({"size": 1})).await;
    let path = format!("/v3/p1/volumes/{id}");
    let added = async |token: &str, version: &str| -> Vec<String> {
        let shown = cloud
            .call(token, version, Method::GET, &path, None)
            .await
            .expect(200);
        let all = keys(&shown["volume"])
            .into_iter()
            .map(str::to_string)
            .collect::<Vec<_>>();
        assert!(BASE.iter().all(|k| all.iter().any(|a| a == k)), "{all:?}");
        all.into_iter()
            .filter(|k| !BASE.contains(&k.as_str()))
            .collect()
    };
    assert_eq!(added("ann", "3.0").await, [""; 0]);
    assert_eq!(added("ann", "3.13").await, ["group_id"]);
    assert_eq!(
        added("ann", "3.48").await,
        ["group_id", "service_uuid", "shared_targets"]
    );
    assert_eq!(
        added("ann", "3.65").await,
        [
            "consumes_quota",
            "group_id",
            "service_uuid",
            "shared_targets",
            "volume_type_id"
        ]
    );
    assert_eq!(
        added("admin", "3.0").await,
        [
            "migration_status",
            "os-vol-host-attr:host",
            "os-vol-mig-status-attr:migstat",
            "os-vol-mig-status-attr:name_id"
        ]
    );
    assert!(
        added("admin", "3.61")
            .await
            .contains(&"cluster_name".to_string())
    );
    assert!(
        added("admin", "3.21")
            .await
            .contains(&"provider_id".to_string())
    );
    let shown = cloud.get("ann", &path).await;
    assert_eq!(shown.headers["openstack-api-version"], "volume 3.71");
    assert_eq!(shown.body["volume"]["shared_targets"], Value::Null);
    let links = &shown.body["volume"]["links"];
    assert_eq!(links[0]["href"], format!("http://cloud:8776{path}"));
    assert_eq!(
        cloud
            .call("ann", "3.72", Method::GET, &path, None)
            .await
            .status,
        406
    );
    assert_eq!(
        cloud
            .call("ann", "3.26", Method::GET, "/v3/p1/attachments", None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn versions_are_public() {
    let cloud = Cloud::new().await;
    let root = cloud.get("", "/").await.expect(300);
    assert_eq!(
        (&root["versions"][0]["id"], &root["versions"][0]["version"]),
        (&json!("v3.0"), &json!("3.71"))
    );
    cloud.get("", "/v3/").await.expect(200);
    let zones = cloud
        .get("ann", "/v3/p1/os-availability-zone")
        .await
        .expect(200);
    assert_eq!(zones["availabilityZoneInfo"][0]["zoneName"], "nova");
    let extensions = cloud.get("ann", "/v3/p1/extensions").await.expect(200);
    assert!(extensions["extensions"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn an_operators_rule_is_asked_for_each_owner() {
    let file = std::env::temp_dir().join(format!("cinder-policy-{}.yaml", base::new_id()));
    let rules = "\"volume_extension:volume_host_attribute\": \"project_id:%(project_id)s\"\n";
    std::fs::write(&file, rules).unwrap();
    let conf = cinder::Conf {
        policy_file: Some(file.clone()),
        ..cinder::Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    let own = json!({"volume": {"size": 1, "name": "own"}});
    cloud.volume(json!({"size": 1, "name": "a"})).await;
    let made = cloud.post("admin", "/v3/ops/volumes", own).await;
    made.expect(202);
    cloud.volume(json!({"size": 1, "name": "c"})).await;
    let all = "/v3/ops/volumes/detail?all_tenants=1&sort=created_at:asc";
    let all = cloud.get("admin", all).await.expect(200);
    assert_eq!(names(&all), ["a", "own", "c"]);
    let shown = |i: usize| all["volumes"][i].get("os-vol-host-attr:host").is_some();
    assert_eq!([shown(0), shown(1), shown(2)], [false, true, false]);
    std::fs::remove_file(file).unwrap();
}
