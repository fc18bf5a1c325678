//! Group types.

use crate::cloud::Cloud;
use http::Method;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    let types = list["group_types"].as_array().unwrap();
    types.iter().map(|t| t["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn public_private_and_default_ones() {
    let conf = cinder::Conf {
        default_group_type: "bronze".into(),
        ..cinder::Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    cloud
        .get("ann", "/v3/p1/group_types/default")
        .await
        .fault(404, "itemNotFound");
    let specs = json!({"consistent_group_snapshot_enabled": "<is> True"});
    let body = |name: &str, public: bool| json!({"group_type": {"name": name, "description": "d", "is_public": public, "group_specs": specs}});
    let create = async |token: &str, body: Value| {
        let path = "/v3/group_types";
        cloud.post(token, path, body).await
    };
    create("ann", body("x", true)).await.fault(403, "forbidden");
    let bronze = create("admin", body("bronze", true)).await.expect(202)["group_type"].take();
    create("admin", body("secret", false)).await.expect(202);
    let words = create("admin", body("bronze", true))
        .await
        .fault(409, "conflictingRequest");
    assert_eq!(words, "Group Type bronze already exists.");
    assert_eq!(bronze["group_specs"], specs);

    let default = cloud
        .get("ann", "/v3/p1/group_types/default")
        .await
        .expect(200);
    assert_eq!(default["group_type"]["name"], "bronze");
    assert!(
        default["group_type"].get("group_specs").is_none(),
        "not for users' eyes"
    );
    let list = cloud.get("ann", "/v3/p1/group_types?is_public=none").await;
    assert_eq!(names(&list.expect(200)), ["bronze"]);
    let list = cloud.get("admin", "/v3/group_types").await.expect(200);
    assert_eq!(names(&list), ["bronze"]);
    let all = "/v3/group_types?is_public=none&sort=name:desc";
    let list = cloud.get("admin", all).await.expect(200);
    assert_eq!(names(&list), ["secret", "bronze"]);
    let secret = list["group_types"][0]["id"].as_str().unwrap();
    let path = format!("/v3/group_types/{secret}");
    let words = cloud.get("ann", &path).await.fault(404, "itemNotFound");
    assert_eq!(words, format!("Group type {secret} could not be found."));

    let rename = json!({"group_type": {"name": "open", "is_public": "True"}});
    let renamed = cloud.put("admin", &path, rename).await.expect(200);
    assert_eq!(
        (
            &renamed["group_type"]["name"],
            &renamed["group_type"]["is_public"]
        ),
        (&json!("open"), &json!(true))
    );
    cloud.get("ann", &path).await.expect(200);
    for wrong in [json!({}), json!({"name": "  "})] {
        let body = json!({"group_type": wrong});
        cloud
            .put("admin", &path, body)
            .await
            .fault(400, "badRequest");
    }
    let taken = json!({"group_type": {"name": "bronze"}});
    cloud
        .put("admin", &path, taken)
        .await
        .fault(409, "conflictingRequest");

    let specs = format!("{path}/group_specs");
    let more = json!({"group_specs": {"a": "1", "b": "2"}});
    let made = cloud.post("admin", &specs, more.clone()).await.expect(202);
    assert_eq!(made, more);
    let one = format!("{specs}/a");
    cloud
        .put("admin", &one, json!({"a": "3"}))
        .await
        .expect(200);
    cloud
        .put("admin", &one, json!({"b": "3"}))
        .await
        .fault(400, "badRequest");
    assert_eq!(
        cloud.get("admin", &one).await.expect(200),
        json!({"a": "3"})
    );
    cloud.delete("admin", &one).await.expect(202);
    cloud.delete("admin", &one).await.fault(404, "itemNotFound");
    cloud.get("admin", &one).await.fault(404, "itemNotFound");
    let left = cloud.get("admin", &specs).await.expect(200);
    assert_eq!(
        left["group_specs"],
        json!({"consistent_group_snapshot_enabled": "<is> True", "b": "2"})
    );
    cloud.get("ann", &specs).await.fault(403, "forbidden");
    let early = cloud.call("ann", "3.10", Method::GET, &path, None).await;
    assert_eq!(early.status, 404);
    cloud.delete("admin", &path).await.expect(202);
    cloud
        .delete("admin", &path)
        .await
        .fault(404, "itemNotFound");
}
