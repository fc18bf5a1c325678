//! Regions, services, endpoints, and how tokens show them.

use crate::cloud::Cloud;
use serde_json::{Value, json};

#[tokio::test]
async fn a_service_enters_and_leaves_the_catalog() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let service = cloud
        .make(
            &admin,
            "/v3/services",
            "service",
            json!({"type": "dns", "name": "designate", "description": "names"}),
        )
        .await;
    let body = json!({"service_id": service, "interface": "public", "region_id": "RegionOne", "url": "http://dns/$(tenant_id)s"});
    let endpoint = cloud
        .make(&admin, "/v3/endpoints", "endpoint", body.clone())
        .await;
    let dns = async || {
        let catalog =
            cloud.get(&admin, "/v3/auth/catalog").await.expect(200).body["catalog"].clone();
        catalog
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["type"] == "dns")
            .cloned()
    };
    let shown = dns().await.unwrap();
    assert_eq!(shown["name"], "designate");
    assert_eq!(
        shown["endpoints"],
        json!([{"id": endpoint, "interface": "public", "region_id": "RegionOne", "region": "RegionOne",
                "url": format!("http://dns/{}", cloud.ids.admin_project_id)}])
    );
    let by_service = cloud
        .get(
            &admin,
            &format!("/v3/endpoints?service_id={service}&interface=public"),
        )
        .await
        .expect(200);
    assert_eq!(by_service.column("endpoints", "id"), [endpoint.as_str()]);
    let path = format!("/v3/endpoints/{endpoint}");
    cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"endpoint": {"enabled": false}}),
        )
        .await
        .expect(200);
    assert_eq!(dns().await.unwrap()["endpoints"], json!([]));
    for (field, value) in [
        ("service_id", "none"),
        ("region_id", "none"),
        ("url", "http://dns/$(secret)s"),
        ("interface", "sideways"),
    ] {
        let mut bad = body.clone();
        bad[field] = json!(value);
        cloud
            .call(&admin, "POST", "/v3/endpoints", json!({"endpoint": bad}))
            .await
            .expect(400);
    }
    cloud
        .call(
            &admin,
            "PATCH",
            &format!("/v3/services/{service}"),
            json!({"service": {"enabled": false}}),
        )
        .await
        .expect(200);
    assert_eq!(dns().await, None);
    cloud
        .call(
            &admin,
            "DELETE",
            &format!("/v3/services/{service}"),
            Value::Null,
        )
        .await
        .expect(204);
    let gone = cloud.get(&admin, &path).await.expect(404);
    assert_eq!(
        gone.message(),
        format!("Could not find endpoint: {endpoint}.")
    );
}

#[tokio::test]
async fn regions_nest() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    cloud
        .make(
            &admin,
            "/v3/regions",
            "region",
            json!({"id": "eu", "description": "Europe"}),
        )
        .await;
    let twice = cloud
        .call(
            &admin,
            "POST",
            "/v3/regions",
            json!({"region": {"id": "eu"}}),
        )
        .await
        .expect(409);
    assert_eq!(
        twice.message(),
        "Conflict occurred attempting to store region - Duplicate ID, eu."
    );
    cloud
        .make(
            &admin,
            "/v3/regions",
            "region",
            json!({"id": "de", "parent_region_id": "eu"}),
        )
        .await;
    let body = json!({"region": {"parent_region_id": "nowhere"}});
    cloud
        .call(&admin, "POST", "/v3/regions", body)
        .await
        .expect(404);
    let circle = cloud
        .call(
            &admin,
            "PATCH",
            "/v3/regions/eu",
            json!({"region": {"parent_region_id": "de"}}),
        )
        .await
        .expect(400);
    assert_eq!(
        circle.message(),
        "The specified parent region de would create a circular region hierarchy."
    );
    cloud
        .call(
            &admin,
            "PUT",
            "/v3/regions/us",
            json!({"region": {"description": "x"}}),
        )
        .await
        .expect(201);
    cloud
        .call(
            &admin,
            "PUT",
            "/v3/regions/us",
            json!({"region": {"id": "other"}}),
        )
        .await
        .expect(400);
    assert_eq!(
        cloud
            .get(&admin, "/v3/regions?parent_region_id=eu")
            .await
            .expect(200)
            .column("regions", "id"),
        ["de"]
    );
    let used = cloud
        .call(&admin, "DELETE", "/v3/regions/RegionOne", Value::Null)
        .await
        .expect(403);
    assert!(
        used.message()
            .starts_with("Unable to delete region RegionOne because"),
        "{}",
        used.message()
    );
    cloud
        .call(&admin, "DELETE", "/v3/regions/eu", Value::Null)
        .await
        .expect(204);
    cloud.get(&admin, "/v3/regions/de").await.expect(404);
}
