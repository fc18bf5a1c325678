//! Who sees what.

use crate::cloud::Cloud;
use oslo_http::Body;
use serde_json::{Value, json};

async fn listed(cloud: &Cloud, token: &str, query: &str) -> Vec<String> {
    let path = format!("/v2/images?sort=name:asc{query}");
    let body = cloud.ok(token, "GET", &path, None).await;
    let images = body["images"].as_array().unwrap();
    images
        .iter()
        .map(|i| i["name"].as_str().unwrap().to_string())
        .collect()
}

#[tokio::test]
async fn visibility_matrix() {
    let cloud = Cloud::new().await;
    let mut ids = Vec::new();
    for visibility in ["community", "private", "public", "shared"] {
        let token = if visibility == "public" {
            "admin"
        } else {
            "p1"
        };
        let extra = json!({"visibility": visibility, "name": visibility, "owner": "p1"});
        ids.push((visibility, cloud.image(token, extra).await));
    }
    let shared = ids[3].1.clone();
    cloud
        .ok(
            "p1",
            "POST",
            &format!("/v2/images/{shared}/members"),
            Some(json!({"member": "p2"})),
        )
        .await;
    for (visibility, id) in &ids {
        let status = async |token: &str, method: &str| {
            cloud
                .ask(token, method, &format!("/v2/images/{id}"), None)
                .await
                .0
        };
        let seen = |yes: bool| if yes { 200 } else { 404 };
        let open = matches!(*visibility, "community" | "public");
        assert_eq!(status("p1", "GET").await, 200, "{visibility}");
        assert_eq!(
            status("p2", "GET").await,
            seen(open || *visibility == "shared"),
            "{visibility}"
        );
        assert_eq!(status("p3", "GET").await, seen(open), "{visibility}");
        assert_eq!(status("reader-p1", "DELETE").await, 403, "{visibility}");
        assert_eq!(
            status("p3", "DELETE").await,
            if open { 403 } else { 404 },
            "{visibility}"
        );
    }
    assert_eq!(
        listed(&cloud, "p1", "").await,
        ["community", "private", "public", "shared"]
    );
    assert_eq!(listed(&cloud, "p2", "").await, ["public"]);
    assert_eq!(
        listed(&cloud, "p2", "&visibility=community").await,
        ["community"]
    );
    assert_eq!(
        listed(&cloud, "p2", "&visibility=all").await,
        ["community", "public"]
    );
    assert_eq!(
        listed(&cloud, "p2", "&member_status=pending").await,
        ["public", "shared"]
    );
    assert_eq!(
        listed(&cloud, "p2", "&visibility=shared&member_status=all").await,
        ["shared"]
    );
    assert_eq!(
        listed(&cloud, "p3", "&visibility=private").await,
        Vec::<String>::new()
    );
    assert_eq!(listed(&cloud, "admin", "").await.len(), 4);
    let member = format!("/v2/images/{shared}/members/p2");
    let accept = |word: &str| Some(json!({"status": word}));
    assert_eq!(
        cloud.ask("p1", "PUT", &member, accept("accepted")).await.0,
        403,
        "not the owner's to say"
    );
    assert_eq!(
        cloud.ask("p2", "PUT", &member, accept("perhaps")).await.0,
        400
    );
    assert_eq!(
        cloud.ok("p2", "PUT", &member, accept("accepted")).await["status"],
        "accepted"
    );
    assert_eq!(listed(&cloud, "p2", "").await, ["public", "shared"]);
    assert_eq!(cloud.ask("p2", "DELETE", &member, None).await.0, 403);
    cloud.ok("p1", "DELETE", &member, None).await;
    assert_eq!(listed(&cloud, "p2", "").await, ["public"]);
    assert_eq!(
        cloud
            .ask("p2", "GET", &format!("/v2/images/{shared}"), None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn members_of_shared_images_only() {
    let conf = glance::Conf {
        image_member_quota: 2,
        ..Default::default()
    };
    let cloud = Cloud::with(conf).await;
    let private = cloud.image("p1", json!({"visibility": "private"})).await;
    let add = |member: &str| Some(json!({"member": member}));
    let path = format!("/v2/images/{private}/members");
    assert_eq!(cloud.ask("p1", "POST", &path, add("p2")).await.0, 403);
    let shared = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{shared}/members");
    assert_eq!(cloud.ask("p1", "POST", &path, add("")).await.0, 400);
    assert_eq!(cloud.ask("p1", "POST", &path, add("p2")).await.0, 200);
    assert_eq!(cloud.ask("p1", "POST", &path, add("p2")).await.0, 409);
    assert_eq!(cloud.ask("p1", "POST", &path, add("p3")).await.0, 200);
    assert_eq!(cloud.ask("p1", "POST", &path, add("p4")).await.0, 413);
    let names = |body: Value| -> Vec<String> {
        let list = body["members"].as_array().unwrap().clone();
        list.iter()
            .map(|m| m["member_id"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(
        names(cloud.ok("p1", "GET", &path, None).await),
        ["p2", "p3"]
    );
    assert_eq!(
        names(cloud.ok("p2", "GET", &path, None).await),
        ["p2"],
        "itself only"
    );
    assert_eq!(
        cloud.ask("p2", "GET", &format!("{path}/p3"), None).await.0,
        404
    );
    assert_eq!(cloud.ask("p4", "GET", &path, None).await.0, 404);
    assert_eq!(cloud.ask("p2", "POST", &path, add("p5")).await.0, 403);
}

#[tokio::test]
async fn deactivated_images_are_not_downloaded() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let act = |verb: &str| format!("/v2/images/{id}/actions/{verb}");
    assert_eq!(
        cloud.ask("p1", "POST", &act("deactivate"), None).await.0,
        403,
        "queued"
    );
    cloud.upload("p1", &id, "data".to_string()).await;
    assert_eq!(
        cloud.ask("p2", "POST", &act("deactivate"), None).await.0,
        404
    );
    assert_eq!(
        cloud.ask("p1", "POST", &act("deactivate"), None).await.0,
        204
    );
    assert_eq!(
        cloud.ask("p1", "POST", &act("deactivate"), None).await.0,
        204
    );
    let path = format!("/v2/images/{id}/file");
    assert_eq!(
        cloud
            .send("p1", "GET", &path, &[], Body::Empty)
            .await
            .status,
        403
    );
    assert_eq!(
        cloud
            .send("admin", "GET", &path, &[], Body::Empty)
            .await
            .status,
        200
    );
    assert_eq!(
        cloud.ask("p1", "POST", &act("reactivate"), None).await.0,
        204
    );
    assert_eq!(
        cloud.send("p1", "GET", &path, &[], Body::Empty).await.bytes,
        b"data"
    );
}

/// Images belong to projects: to an administrator of the whole system those of others are not there, and what is there for
/// everybody is not theirs to have.
#[tokio::test]
async fn an_administrator_of_the_system_sees_nobodys_images() {
    let cloud = Cloud::new().await;
    for visibility in ["private", "shared"] {
        let id = cloud.image("p1", json!({"visibility": visibility})).await;
        let image = format!("/v2/images/{id}");
        for (method, path, body) in [
            ("GET", image.clone(), None),
            ("GET", format!("{image}/file"), None),
            ("GET", format!("{image}/members"), None),
            ("GET", format!("{image}/members/p1"), None),
            (
                "POST",
                format!("{image}/members"),
                Some(json!({"member": "p2"})),
            ),
            (
                "PUT",
                format!("{image}/members/p2"),
                Some(json!({"status": "accepted"})),
            ),
            ("DELETE", format!("{image}/members/p2"), None),
            ("POST", format!("{image}/actions/deactivate"), None),
            ("POST", format!("{image}/actions/reactivate"), None),
            ("PUT", format!("{image}/tags/t"), None),
            ("DELETE", image.clone(), None),
        ] {
            let (status, fault) = cloud.ask("system", method, &path, body).await;
            assert_eq!(status, 404, "{visibility} {method} {path}: {fault}");
        }
        assert_eq!(
            cloud.upload("system", &id, "data".to_string()).await.status,
            404
        );
        let rename = json!([{"op": "replace", "path": "/name", "value": "n"}]);
        assert_eq!(cloud.patch("system", &id, rename).await.0, 404);
        assert_eq!(cloud.status(&id).await, "queued", "nothing happened to it");
    }
    assert_eq!(cloud.ask("system", "GET", "/v2/images", None).await.0, 403);
    let body = json!({"name": "i", "visibility": "public"});
    assert_eq!(
        cloud
            .ask("system", "POST", "/v2/images", Some(body))
            .await
            .0,
        403
    );
    let public = cloud.image("admin", json!({"visibility": "public"})).await;
    let (status, fault) = cloud
        .ask("system", "GET", &format!("/v2/images/{public}"), None)
        .await;
    assert_eq!(status, 403);
    assert!(fault.to_string().contains("requires a scope of"), "{fault}");
}
