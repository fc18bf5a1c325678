//! Volume types.

use crate::cloud::Cloud;
use serde_json::json;

#[tokio::test]
async fn public_and_private_types() {
    let cloud = Cloud::new().await;
    let default = cloud.get("ann", "/v3/p1/types/default").await.expect(200);
    assert_eq!(default["volume_type"]["name"], "__DEFAULT__");
    let body = json!({"volume_type": {"name": "gold", "description": "d",
        "os-volume-type-access:is_public": false, "extra_specs": {"secret": "x"}}});
    cloud
        .post("ann", "/v3/p1/types", body.clone())
        .await
        .fault(403, "forbidden");
    let gold = cloud
        .post("admin", "/v3/ops/types", body.clone())
        .await
        .expect(200)["volume_type"]
        .take();
    assert_eq!(
        (&gold["is_public"], &gold["extra_specs"]["secret"]),
        (&json!(false), &json!("x"))
    );
    cloud
        .post("admin", "/v3/ops/types", body)
        .await
        .fault(409, "conflictingRequest");
    let path = format!("/v3/types/{}", gold["id"].as_str().unwrap());

    cloud.get("ann", &path).await.fault(404, "itemNotFound");
    let volume = json!({"volume": {"size": 1, "volume_type": "gold"}});
    cloud
        .post("ann", "/v3/volumes", volume.clone())
        .await
        .fault(404, "itemNotFound");
    let grant = json!({"addProjectAccess": {"project": "p1"}});
    cloud
        .post("admin", &format!("{path}/action"), grant.clone())
        .await
        .expect(202);
    cloud
        .post("admin", &format!("{path}/action"), grant)
        .await
        .fault(409, "conflictingRequest");
    let seen = cloud.get("ann", &path).await.expect(200);
    assert_eq!(
        seen["volume_type"]["extra_specs"],
        json!({}),
        "not for users' eyes"
    );
    assert_eq!(
        cloud.get("ann", "/v3/types").await.expect(200)["volume_types"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        cloud.get("bob", "/v3/types").await.expect(200)["volume_types"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let access = cloud
        .get("admin", &format!("{path}/os-volume-type-access"))
        .await
        .expect(200);
    assert_eq!(access["volume_type_access"][0]["project_id"], "p1");

    let specs = format!("{path}/extra_specs");
    cloud
        .delete("admin", &format!("{specs}/secret"))
        .await
        .expect(202);
    cloud.post("ann", "/v3/volumes", volume).await.expect(202);
    cloud.idle().await;
    cloud.delete("admin", &path).await.fault(400, "badRequest");
    cloud
        .post("admin", &specs, json!({"extra_specs": {"a": "1"}}))
        .await
        .expect(200);
    cloud
        .put("admin", &format!("{specs}/a"), json!({"a": "2"}))
        .await
        .expect(200);
    assert_eq!(
        cloud.get("admin", &format!("{specs}/a")).await.expect(200),
        json!({"a": "2"})
    );
    let renamed = cloud
        .put("admin", &path, json!({"volume_type": {"name": "silver"}}))
        .await
        .expect(200);
    assert_eq!(renamed["volume_type"]["name"], "silver");
    let id = default["volume_type"]["id"].as_str().unwrap();
    cloud
        .delete("admin", &format!("/v3/types/{id}"))
        .await
        .fault(400, "badRequest");
}
