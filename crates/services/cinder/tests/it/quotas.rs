//! Limits hold, also when everybody comes at once.

use crate::cloud::Cloud;
use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_crowd_gets_what_the_quota_allows() {
    crowd(Cloud::new().await).await;
}

#[tokio::test]
async fn a_crowd_on_mariadb() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    crowd(Cloud::on(&url, cinder::Conf::default()).await).await;
}

async fn crowd(cloud: Cloud) {
    let body = json!({"volume": {"size": 1}});
    let answers =
        join_all((0..32).map(|_| cloud.post("ann", "/v3/p1/volumes", body.clone()))).await;
    let accepted = answers.iter().filter(|a| a.status == 202).count();
    assert_eq!(accepted, 10);
    let refused = answers.into_iter().find(|a| a.status != 202).unwrap();
    assert_eq!(refused.headers["retry-after"], "0");
    assert_eq!(
        refused.fault(413, "overLimit"),
        "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'."
    );
    cloud.idle().await;
    let usage = cloud
        .get("ann", "/v3/p1/os-quota-sets/p1?usage=true")
        .await
        .expect(200);
    assert_eq!(
        usage["quota_set"]["volumes"],
        json!({"limit": 10, "in_use": 10, "reserved": 0})
    );
    let limits = cloud.get("ann", "/v3/p1/limits").await.expect(200);
    assert_eq!(limits["limits"]["absolute"]["totalGigabytesUsed"], 10);
    cloud.post("bob", "/v3/p2/volumes", body).await.expect(202);
    let list = cloud
        .get("ann", "/v3/p1/volumes?limit=3&status=available")
        .await
        .expect(200);
    let volumes = list["volumes"].as_array().unwrap();
    let gone = volumes.iter().map(|v| {
        let path = format!("/v3/p1/volumes/{}", v["id"].as_str().unwrap());
        let cloud = &cloud;
        async move { cloud.delete("ann", &path).await.expect(202) }
    });
    assert_eq!(join_all(gone).await.len(), 3);
    cloud.idle().await;
    let left = cloud.get("ann", "/v3/p1/volumes").await.expect(200);
    assert_eq!(left["volumes"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn operators_set_and_forget() {
    let cloud = Cloud::new().await;
    let set = json!({"quota_set": {"gigabytes": 4, "per_volume_gigabytes": 3}});
    cloud
        .put("ann", "/v3/p1/os-quota-sets/p1", set.clone())
        .await
        .fault(403, "forbidden");
    let answer = cloud
        .put("admin", "/v3/ops/os-quota-sets/p1", set)
        .await
        .expect(200);
    assert_eq!(answer["quota_set"]["gigabytes"], 4);
    let create = |size: i64| cloud.post("ann", "/v3/p1/volumes", json!({"volume": {"size": size}}));
    let refused = create(4).await.fault(413, "overLimit");
    assert!(
        refused.starts_with("VolumeSizeExceedsLimit: Requested volume size 4"),
        "{refused}"
    );
    let id = cloud.volume(json!({"size": 3})).await;
    let refused = create(2).await.fault(413, "overLimit");
    assert_eq!(
        refused,
        "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 2G, quota is 4G and 3G has been consumed."
    );
    let bad = json!({"quota_set": {"elephants": 4}});
    cloud
        .put("admin", "/v3/ops/os-quota-sets/p1", bad)
        .await
        .fault(400, "badRequest");
    cloud
        .delete("admin", "/v3/ops/os-quota-sets/p1")
        .await
        .expect(200);
    let shown = cloud
        .get("ann", "/v3/p1/os-quota-sets/p1")
        .await
        .expect(200);
    assert_eq!(
        (
            &shown["quota_set"]["gigabytes"],
            &shown["quota_set"]["volumes___DEFAULT__"]
        ),
        (&json!(1000), &json!(-1))
    );
    cloud
        .get("bob", "/v3/p2/os-quota-sets/p1")
        .await
        .fault(403, "forbidden");
    let defaults = cloud
        .get("ann", "/v3/p1/os-quota-sets/p1/defaults")
        .await
        .expect(200);
    assert_eq!(defaults["quota_set"]["id"], "p1");
    cloud
        .act("ann", &id, json!({"os-extend": {"new_size": 1004}}))
        .await
        .fault(413, "overLimit");
}

#[tokio::test]
async fn types_have_limits_of_their_own() {
    let cloud = Cloud::new().await;
    let kind = json!({"volume_type": {"name": "gold"}});
    cloud.post("admin", "/v3/ops/types", kind).await.expect(200);
    let class = "/v3/ops/os-quota-class-sets/default";
    let set = json!({"quota_class_set": {"volumes_gold": 2, "gigabytes_gold": 5}});
    let answer = cloud.put("admin", class, set).await.expect(200);
    assert_eq!(answer["quota_class_set"]["volumes_gold"], 2);
    let shown = cloud.get("admin", class).await.expect(200);
    assert_eq!(shown["quota_class_set"]["gigabytes_gold"], 5);

    let gold = |size: i64| json!({"size": size, "volume_type": "gold"});
    let create = |size: i64| cloud.post("ann", "/v3/p1/volumes", json!({"volume": gold(size)}));
    let first = cloud.volume(gold(1)).await;
    let refused = create(5).await.fault(413, "overLimit");
    assert!(
        refused.contains("quota is 5G and 1G has been consumed"),
        "{refused}"
    );
    cloud.volume(gold(1)).await;
    let refused = create(1).await.fault(413, "overLimit");
    assert!(
        refused.contains("(2) exceeded for quota 'volumes_gold'"),
        "{refused}"
    );
    cloud
        .act("ann", &first, json!({"os-extend": {"new_size": 5}}))
        .await
        .fault(413, "overLimit");
    // Other types and other projects are not concerned.
    cloud.volume(json!({"size": 9})).await;

    // A project's own limit comes before the class's, until it is forgotten.
    let own = json!({"quota_set": {"volumes_gold": 3}});
    let path = "/v3/ops/os-quota-sets/p1";
    cloud.put("admin", path, own).await.expect(200);
    let third = cloud.volume(gold(1)).await;
    let usage = cloud
        .get("ann", "/v3/p1/os-quota-sets/p1?usage=true")
        .await
        .expect(200);
    assert_eq!(
        (
            &usage["quota_set"]["volumes_gold"],
            &usage["quota_set"]["gigabytes_gold"]
        ),
        (
            &json!({"limit": 3, "in_use": 3, "reserved": 0}),
            &json!({"limit": 5, "in_use": 3, "reserved": 0})
        )
    );
    cloud.delete("admin", path).await.expect(200);
    cloud
        .delete("ann", &format!("/v3/p1/volumes/{third}"))
        .await
        .expect(202);
    cloud.idle().await;
    create(1).await.fault(413, "overLimit");
    let unknown = json!({"quota_set": {"volumes_silver": 3}});
    cloud
        .put("admin", path, unknown)
        .await
        .fault(400, "badRequest");
}
