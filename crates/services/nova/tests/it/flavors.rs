//! Flavors: made by administrators, seen by those who may use them.

use crate::harness::Cloud;
use serde_json::json;

#[tokio::test]
async fn a_flavor_from_create_to_delete() {
    let cloud = Cloud::new().await;
    let body = json!({"flavor": {"name": "m1.tiny", "ram": 512, "vcpus": "1", "disk": 1, "id": "42", "swap": 0}});
    let made = cloud
        .post("admin", "2.1", "/v2.1/flavors", body.clone())
        .await;
    assert_eq!(
        made["flavor"]["swap"], "",
        "until 2.74 no swap is an empty string"
    );
    assert_eq!(made["flavor"]["os-flavor-access:is_public"], true);
    assert_eq!(
        made["flavor"]["links"][0]["href"],
        "http://nova:8774/v2.1/flavors/42"
    );
    let (status, words) = cloud
        .refused("admin", "2.1", "POST", "/v2.1/flavors", Some(body))
        .await;
    assert_eq!(
        (status, words.as_str()),
        (409, "Flavor with name m1.tiny already exists.")
    );
    let twin = json!({"flavor": {"name": "other", "ram": 512, "vcpus": 1, "disk": 1, "id": "42"}});
    let (status, words) = cloud
        .refused("admin", "2.1", "POST", "/v2.1/flavors", Some(twin.clone()))
        .await;
    assert_eq!(
        (status, words.as_str()),
        (409, "Flavor with ID 42 already exists.")
    );
    assert_eq!(
        cloud
            .refused("alice", "2.1", "POST", "/v2.1/flavors", Some(twin))
            .await
            .0,
        403
    );

    let specs = "/v2.1/flavors/42/os-extra_specs";
    cloud
        .post(
            "admin",
            "2.1",
            specs,
            json!({"extra_specs": {"hw:cpu_policy": "shared", "a": "b"}}),
        )
        .await;
    assert_eq!(
        cloud.get("alice", "2.1", &format!("{specs}/a")).await,
        json!({"a": "b"})
    );
    let wrong = json!({"extra_specs": {"hw:cpu_policy": "sometimes"}});
    assert_eq!(
        cloud
            .refused("admin", "2.86", "POST", specs, Some(wrong))
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.1",
                "PUT",
                &format!("{specs}/a"),
                Some(json!({"z": "1"}))
            )
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .ask("admin", "2.1", "DELETE", &format!("{specs}/a"), None)
            .await
            .0,
        200
    );
    assert_eq!(
        cloud
            .refused("admin", "2.1", "DELETE", &format!("{specs}/a"), None)
            .await
            .0,
        404
    );
    let shown = cloud.get("alice", "2.75", "/v2.1/flavors/42").await;
    assert_eq!(
        shown["flavor"]["extra_specs"],
        json!({"hw:cpu_policy": "shared"})
    );
    assert_eq!(shown["flavor"]["swap"], 0);
    assert!(
        cloud.get("alice", "2.102", "/v2.1/flavors/42").await["flavor"]
            .get("rxtx_factor")
            .is_none()
    );

    let update = json!({"flavor": {"description": "small"}});
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.54",
                "PUT",
                "/v2.1/flavors/42",
                Some(update.clone())
            )
            .await
            .0,
        404
    );
    let (status, updated) = cloud
        .ask("admin", "2.55", "PUT", "/v2.1/flavors/42", Some(update))
        .await;
    assert_eq!(
        (status, &updated["flavor"]["description"]),
        (200, &json!("small"))
    );
    assert_eq!(
        cloud
            .ask("admin", "2.1", "DELETE", "/v2.1/flavors/42", None)
            .await
            .0,
        202
    );
    let (status, words) = cloud
        .refused("alice", "2.1", "GET", "/v2.1/flavors/42", None)
        .await;
    assert_eq!(
        (status, words.as_str()),
        (404, "Flavor 42 could not be found.")
    );
}

#[tokio::test]
async fn private_flavors_are_for_those_with_access() {
    let cloud = Cloud::new().await;
    let flavor = json!({"flavor": {"name": "big", "ram": 64, "vcpus": 1, "disk": 1, "id": "9", "os-flavor-access:is_public": false}});
    cloud.post("admin", "2.1", "/v2.1/flavors", flavor).await;
    let access = "/v2.1/flavors/9/os-flavor-access";
    assert_eq!(
        cloud.get("admin", "2.1", access).await,
        json!({"flavor_access": []})
    );
    assert_eq!(
        cloud
            .refused("alice", "2.1", "GET", "/v2.1/flavors/9", None)
            .await
            .0,
        404
    );
    let action = "/v2.1/flavors/9/action";
    let add = json!({"addTenantAccess": {"tenant": "p1"}});
    let rows = cloud.post("admin", "2.1", action, add.clone()).await;
    assert_eq!(
        rows,
        json!({"flavor_access": [{"flavor_id": "9", "tenant_id": "p1"}]})
    );
    assert_eq!(
        cloud
            .refused("admin", "2.1", "POST", action, Some(add))
            .await
            .0,
        409
    );
    assert_eq!(
        cloud.get("alice", "2.1", "/v2.1/flavors").await["flavors"][0]["id"],
        "9"
    );
    assert_eq!(
        cloud.get("bob", "2.1", "/v2.1/flavors").await,
        json!({"flavors": []})
    );
    assert_eq!(
        cloud.get("admin", "2.1", "/v2.1/flavors").await,
        json!({"flavors": []})
    );
    assert_eq!(
        cloud
            .get("admin", "2.1", "/v2.1/flavors?is_public=None")
            .await["flavors"][0]["id"],
        "9"
    );
    cloud
        .post(
            "admin",
            "2.1",
            action,
            json!({"removeTenantAccess": {"tenant": "p1"}}),
        )
        .await;
    let again = Some(json!({"removeTenantAccess": {"tenant": "p1"}}));
    assert_eq!(
        cloud.refused("admin", "2.1", "POST", action, again).await.0,
        404
    );
}

#[tokio::test]
async fn lists_page_sort_and_filter() {
    let cloud = Cloud::new().await;
    for (id, ram) in [("a", 300), ("b", 100), ("c", 200)] {
        let body = json!({"flavor": {"name": format!("f{id}"), "ram": ram, "vcpus": 1, "disk": 0, "id": id}});
        cloud.post("admin", "2.1", "/v2.1/flavors", body).await;
    }
    let page = cloud
        .get(
            "alice",
            "2.1",
            "/v2.1/flavors?limit=2&sort_key=memory_mb&sort_dir=asc",
        )
        .await;
    assert_eq!(
        (&page["flavors"][0]["id"], &page["flavors"][1]["id"]),
        (&json!("b"), &json!("c"))
    );
    let next = page["flavors_links"][0]["href"]
        .as_str()
        .unwrap()
        .strip_prefix("http://nova:8774")
        .unwrap();
    let rest = cloud.get("alice", "2.1", next).await;
    assert_eq!(rest["flavors"].as_array().unwrap().len(), 1);
    assert!(rest.get("flavors_links").is_none());
    let large = cloud
        .get("alice", "2.1", "/v2.1/flavors/detail?minRam=200")
        .await;
    assert_eq!(large["flavors"].as_array().unwrap().len(), 2);
    for bad in ["marker=zzz", "sort_key=password", "minRam=x", "limit=-1"] {
        assert_eq!(
            cloud
                .refused("alice", "2.1", "GET", &format!("/v2.1/flavors?{bad}"), None)
                .await
                .0,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn versions_need_no_token() {
    let cloud = Cloud::new().await;
    let all = cloud.get("", "2.1", "/").await;
    assert_eq!(all["versions"][0]["id"], "v2.0");
    for version in all["versions"].as_array().unwrap() {
        let path = version["links"][0]["href"]
            .as_str()
            .unwrap()
            .strip_prefix("http://nova:8774")
            .unwrap();
        assert_eq!(
            cloud.get("", "2.1", path).await["version"]["id"],
            version["id"]
        );
    }
    assert!(
        cloud.get("alice", "2.1", "/v2.1/extensions").await["extensions"]
            .as_array()
            .unwrap()
            .len()
            > 50
    );
}
