//! Domains and the trees of projects below them.

use crate::cloud::{Cloud, by_id};
use serde_json::{Value, json};

#[tokio::test]
async fn a_domain_goes_with_all_that_is_in_it() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "corp"}))
        .await;
    let twice = cloud
        .call(
            &admin,
            "POST",
            "/v3/domains",
            json!({"domain": {"name": "corp"}}),
        )
        .await
        .expect(409);
    assert_eq!(
        twice.message(),
        "Conflict occurred attempting to store domain - Duplicate entry found with name corp."
    );
    let ann = cloud.user(&admin, "ann", &domain).await;
    let project = cloud.project(&admin, "p", &domain).await;
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("users/{ann}"),
            "member",
        )
        .await;
    let token = cloud
        .auth(by_id(&ann, "pw"), json!({"project": {"id": project}}))
        .await
        .expect(201)
        .token();
    let path = format!("/v3/domains/{domain}");
    let no = cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    assert_eq!(
        no.message(),
        "Cannot delete a domain that is enabled, please disable it first."
    );
    cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"domain": {"enabled": false}}),
        )
        .await
        .expect(200);
    cloud.check(&token).await.expect(401);
    cloud.auth(by_id(&ann, "pw"), Value::Null).await.expect(401);
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    for gone in [
        path,
        format!("/v3/users/{ann}"),
        format!("/v3/projects/{project}"),
    ] {
        cloud.get(&admin, &gone).await.expect(404);
    }
    let left = cloud.get(&admin, "/v3/role_assignments").await.expect(200);
    let of_ann = left.body["role_assignments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["user"]["id"] == ann.as_str());
    assert_eq!(of_ann.count(), 0);
    cloud
        .call(&admin, "DELETE", "/v3/domains/default", Value::Null)
        .await
        .expect(403);
}

#[tokio::test]
async fn projects_are_trees() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let top = cloud.project(&admin, "top", "default").await;
    let mid = cloud
        .make(
            &admin,
            "/v3/projects",
            "project",
            json!({"name": "mid", "parent_id": top}),
        )
        .await;
    let leaf = cloud
        .make(
            &admin,
            "/v3/projects",
            "project",
            json!({"name": "leaf", "parent_id": mid}),
        )
        .await;
    let deeper = cloud
        .make(
            &admin,
            "/v3/projects",
            "project",
            json!({"name": "deeper", "parent_id": leaf}),
        )
        .await;
    let body = json!({"project": {"name": "too deep", "parent_id": deeper}});
    cloud
        .call(&admin, "POST", "/v3/projects", body)
        .await
        .expect(403);
    let twice = cloud
        .call(
            &admin,
            "POST",
            "/v3/projects",
            json!({"project": {"name": "top"}}),
        )
        .await
        .expect(409);
    assert_eq!(
        twice.message(),
        "Conflict occurred attempting to store project - Duplicate entry found with name top at domain ID default."
    );
    let shown = cloud
        .get(
            &admin,
            &format!("/v3/projects/{leaf}?parents_as_ids&subtree_as_ids"),
        )
        .await
        .expect(200);
    assert_eq!(
        shown.body["project"]["parents"],
        json!({mid.clone(): {top.clone(): null}})
    );
    assert_eq!(
        shown.body["project"]["subtree"],
        json!({deeper.clone(): null})
    );
    let list = cloud
        .get(&admin, &format!("/v3/projects/{top}?subtree_as_list"))
        .await
        .expect(200);
    assert_eq!(list.body["project"]["subtree"].as_array().unwrap().len(), 3);
    cloud
        .get(
            &admin,
            &format!("/v3/projects/{top}?subtree_as_list&subtree_as_ids"),
        )
        .await
        .expect(400);
    let children = cloud
        .get(&admin, &format!("/v3/projects?parent_id={top}"))
        .await;
    if children.status == 200 {
        assert_eq!(children.column("projects", "id"), [mid.as_str()]);
    }
    let off = json!({"project": {"enabled": false}});
    cloud
        .call(&admin, "PATCH", &format!("/v3/projects/{top}"), off.clone())
        .await
        .expect(403);
    cloud
        .call(&admin, "PATCH", &format!("/v3/projects/{deeper}"), off)
        .await
        .expect(200);
    cloud
        .call(
            &admin,
            "DELETE",
            &format!("/v3/projects/{top}"),
            Value::Null,
        )
        .await
        .expect(403);
    cloud
        .call(
            &admin,
            "DELETE",
            &format!("/v3/projects/{deeper}"),
            Value::Null,
        )
        .await
        .expect(204);
    cloud
        .get(&admin, &format!("/v3/projects/{deeper}"))
        .await
        .expect(404);
    let moved = json!({"project": {"parent_id": top}});
    cloud
        .call(&admin, "PATCH", &format!("/v3/projects/{leaf}"), moved)
        .await
        .expect(403);
}

#[tokio::test]
async fn tags_find_projects() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let a = cloud
        .make(
            &admin,
            "/v3/projects",
            "project",
            json!({"name": "a", "tags": ["red", "big"]}),
        )
        .await;
    let b = cloud.project(&admin, "b", "default").await;
    let tags = format!("/v3/projects/{b}/tags");
    cloud
        .call(&admin, "PUT", &format!("{tags}/red"), Value::Null)
        .await
        .expect(201);
    cloud.get(&admin, &format!("{tags}/red")).await.expect(204);
    cloud.get(&admin, &format!("{tags}/blue")).await.expect(404);
    let found = async |query: &str| {
        cloud
            .get(&admin, &format!("/v3/projects?{query}"))
            .await
            .expect(200)
            .column("projects", "id")
    };
    assert_eq!(found("tags=red,big").await, [a.as_str()]);
    assert_eq!(found("tags-any=big,blue").await, [a.as_str()]);
    assert_eq!(found("tags=red&not-tags=big").await, [b.as_str()]);
    let all = cloud
        .call(&admin, "PUT", &tags, json!({"tags": ["x", "y"]}))
        .await
        .expect(200);
    assert_eq!(all.body["tags"], json!(["x", "y"]));
    cloud
        .call(&admin, "DELETE", &format!("{tags}/x"), Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "DELETE", &tags, Value::Null)
        .await
        .expect(204);
    assert_eq!(
        cloud.get(&admin, &tags).await.expect(200).body["tags"],
        json!([])
    );
    cloud
        .call(&admin, "PUT", &tags, json!({"tags": ["a,b"]}))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_default_project_is_the_default_scope() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let body = json!({"name": "ann", "password": "pw", "default_project_id": project});
    let ann = cloud.make(&admin, "/v3/users", "user", body).await;
    let without = cloud.auth(by_id(&ann, "pw"), Value::Null).await.expect(201);
    assert!(
        without.body["token"].get("project").is_none(),
        "no role there, so no scope"
    );
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("users/{ann}"),
            "reader",
        )
        .await;
    let scoped = cloud.auth(by_id(&ann, "pw"), Value::Null).await.expect(201);
    assert_eq!(scoped.body["token"]["project"]["id"], project.as_str());
    let asked = cloud
        .auth(by_id(&ann, "pw"), json!({"unscoped": {}}))
        .await
        .expect(201);
    assert!(asked.body["token"].get("project").is_none());
    let places = cloud
        .get(&asked.token(), "/v3/auth/projects")
        .await
        .expect(200);
    assert_eq!(places.column("projects", "id"), [project]);
    assert_eq!(
        cloud
            .get(&asked.token(), "/v3/auth/domains")
            .await
            .expect(200)
            .body["domains"],
        json!([])
    );
    assert_eq!(
        cloud
            .get(&asked.token(), "/v3/auth/system")
            .await
            .expect(200)
            .body["system"],
        json!([])
    );
    cloud
        .get(&asked.token(), "/v3/auth/catalog")
        .await
        .expect(403);
    assert!(
        !cloud
            .get(&scoped.token(), "/v3/auth/catalog")
            .await
            .expect(200)
            .body["catalog"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
