//! Which endpoints the catalogs of projects have, and which policies endpoints have.

use crate::cloud::{Cloud, conf};
use serde_json::{Value, json};

const FILTER: &str = "/v3/OS-EP-FILTER";

async fn shown(cloud: &Cloud, project: &str) -> Vec<String> {
    let scope = json!({"project": {"id": project}});
    let login = cloud.login("admin", "secret", scope).await.expect(201);
    let services = login.body["token"]["catalog"].as_array().unwrap().clone();
    let endpoints = services
        .iter()
        .flat_map(|s| s["endpoints"].as_array().unwrap().clone());
    let mut ids: Vec<String> = endpoints
        .map(|e| e["id"].as_str().unwrap().into())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_project_has_the_endpoints_that_were_named_for_it() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let actor = format!("users/{}", cloud.ids.admin_user_id);
    cloud
        .grant(&admin, &format!("projects/{project}"), &actor, "member")
        .await;
    assert_eq!(
        shown(&cloud, &project).await.len(),
        6,
        "all, if none was named"
    );
    let all = cloud.get(&admin, "/v3/endpoints").await.expect(200);
    let endpoints = all.column("endpoints", "id");
    let put = async |path: &str| cloud.call(&admin, "PUT", path, Value::Null).await.status;
    let gone = async |path: &str| cloud.call(&admin, "DELETE", path, Value::Null).await.status;
    let link = format!("{FILTER}/projects/{project}/endpoints/{}", endpoints[0]);
    cloud.get(&admin, &link).await.expect(404);
    assert_eq!(put(&link).await, 204);
    assert_eq!(put(&link).await, 409);
    cloud.get(&admin, &link).await.expect(204);
    let head = cloud.call(&admin, "HEAD", &link, Value::Null).await;
    assert_eq!(head.status, 204);
    assert_eq!(shown(&cloud, &project).await, [endpoints[0].as_str()]);
    let list = cloud
        .get(&admin, &format!("{FILTER}/projects/{project}/endpoints"))
        .await;
    assert_eq!(
        list.expect(200).column("endpoints", "id"),
        [endpoints[0].as_str()]
    );
    let path = format!("{FILTER}/endpoints/{}/projects", endpoints[0]);
    let list = cloud.get(&admin, &path).await.expect(200);
    assert_eq!(list.column("projects", "id"), [project.as_str()]);

    // A group adds those that it filters.
    for (body, status) in [
        (json!({"name": "g"}), 400),
        (json!({"name": "g", "filters": {}}), 400),
        (json!({"name": "g", "filters": {"color": "red"}}), 400),
        (
            json!({"name": "g", "description": "d", "filters": {"interface": "admin"}}),
            201,
        ),
    ] {
        let body = json!({"endpoint_group": body});
        let made = cloud
            .call(&admin, "POST", &format!("{FILTER}/endpoint_groups"), body)
            .await;
        assert_eq!(made.status, status, "{}", made.body);
    }
    let groups = cloud
        .get(&admin, &format!("{FILTER}/endpoint_groups?name=g"))
        .await
        .expect(200);
    let group = groups.column("endpoint_groups", "id")[0].clone();
    let path = format!("{FILTER}/endpoint_groups/{group}");
    let of_group = cloud
        .get(&admin, &format!("{path}/endpoints"))
        .await
        .expect(200);
    assert_eq!(
        of_group.column("endpoints", "interface"),
        ["admin", "admin"]
    );
    let link = format!("{path}/projects/{project}");
    cloud.get(&admin, &link).await.expect(404);
    assert_eq!(put(&link).await, 204);
    assert_eq!(put(&link).await, 409);
    let one = cloud.get(&admin, &link).await.expect(200);
    assert_eq!(one.body["project_endpoint_group"]["project_id"], project);
    let seen = shown(&cloud, &project).await.len();
    assert!((2..=3).contains(&seen), "{seen}");
    let list = cloud
        .get(&admin, &format!("{path}/projects"))
        .await
        .expect(200);
    assert_eq!(list.column("projects", "id"), [project.as_str()]);
    let list = cloud
        .get(
            &admin,
            &format!("{FILTER}/projects/{project}/endpoint_groups"),
        )
        .await;
    assert_eq!(
        list.expect(200).column("endpoint_groups", "id"),
        [group.as_str()]
    );
    let changed = json!({"endpoint_group": {"filters": {"region_id": "Nowhere"}}});
    let changed = cloud
        .call(&admin, "PATCH", &path, changed)
        .await
        .expect(200);
    assert_eq!(
        changed.body["endpoint_group"]["filters"],
        json!({"region_id": "Nowhere"})
    );
    assert_eq!(changed.body["endpoint_group"]["description"], "d");
    assert_eq!(shown(&cloud, &project).await, [endpoints[0].as_str()]);

    // With nothing named any more, all again.
    assert_eq!(gone(&link).await, 204);
    assert_eq!(gone(&link).await, 404);
    assert_eq!(gone(&path).await, 204);
    cloud.get(&admin, &path).await.expect(404);
    assert_eq!(gone(&format!("/v3/endpoints/{}", endpoints[0])).await, 204);
    assert_eq!(shown(&cloud, &project).await.len(), 5);
    let ann = cloud.user(&admin, "ann", "default").await;
    let ann = cloud
        .auth(crate::cloud::by_id(&ann, "pw"), Value::Null)
        .await
        .token();
    cloud
        .get(&ann, &format!("{FILTER}/endpoint_groups"))
        .await
        .expect(403);
    cloud
        .call(&ann, "PUT", &link, Value::Null)
        .await
        .expect(403);
}

#[tokio::test]
async fn none_unless_named_if_so_configured() {
    let mut conf = conf();
    conf.endpoint_filter.return_all_endpoints_if_no_filter = false;
    let cloud = Cloud::with(conf).await;
    let project = cloud.ids.admin_project_id.clone();
    assert_eq!(shown(&cloud, &project).await.len(), 0);
}

#[tokio::test]
async fn an_endpoint_has_the_nearest_policy() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let policy = async |name: &str| {
        let body = json!({"type": name, "blob": "{}"});
        cloud.make(&admin, "/v3/policies", "policy", body).await
    };
    let (own, regional, general) = (
        policy("own").await,
        policy("regional").await,
        policy("general").await,
    );
    let all = cloud.get(&admin, "/v3/endpoints").await.expect(200);
    let endpoint = all.body["endpoints"][0].clone();
    let (id, service) = (
        endpoint["id"].as_str().unwrap(),
        endpoint["service_id"].as_str().unwrap(),
    );
    // A region above the endpoint's.
    cloud
        .make(&admin, "/v3/regions", "region", json!({"id": "World"}))
        .await;
    let below = json!({"region": {"parent_region_id": "World"}});
    cloud
        .call(&admin, "PATCH", "/v3/regions/RegionOne", below)
        .await
        .expect(200);
    let path =
        |policy: &str, rest: &str| format!("/v3/policies/{policy}/OS-ENDPOINT-POLICY/{rest}");
    let found = format!("/v3/endpoints/{id}/OS-ENDPOINT-POLICY/policy");
    let none = cloud.get(&admin, &found).await.expect(404);
    assert_eq!(
        none.message(),
        format!("No policy is associated with endpoint {id}.")
    );
    for (policy, rest) in [
        (&general, format!("services/{service}")),
        (&regional, format!("services/{service}/regions/World")),
        (&own, format!("endpoints/{id}")),
    ] {
        let link = path(policy, &rest);
        cloud.get(&admin, &link).await.expect(404);
        cloud
            .call(&admin, "PUT", &link, Value::Null)
            .await
            .expect(204);
        cloud.get(&admin, &link).await.expect(204);
        let nearest = cloud.get(&admin, &found).await.expect(200);
        assert_eq!(nearest.id("policy"), *policy, "{rest}");
        let list = cloud
            .get(&admin, &path(policy, "endpoints"))
            .await
            .expect(200);
        assert!(list.column("endpoints", "id").contains(&id.to_string()));
    }
    // Each target has one policy.
    let taken = path(&general, &format!("endpoints/{id}"));
    cloud
        .call(&admin, "PUT", &taken, Value::Null)
        .await
        .expect(204);
    cloud
        .get(&admin, &path(&own, &format!("endpoints/{id}")))
        .await
        .expect(404);
    cloud
        .call(&admin, "DELETE", &taken, Value::Null)
        .await
        .expect(204);
    let nearest = cloud.get(&admin, &found).await.expect(200);
    assert_eq!(nearest.id("policy"), regional);
    let policy = format!("/v3/policies/{regional}");
    cloud
        .call(&admin, "DELETE", &policy, Value::Null)
        .await
        .expect(204);
    let nearest = cloud.get(&admin, &found).await.expect(200);
    assert_eq!(nearest.id("policy"), general);
    for bad in ["services/none", "endpoints/none"] {
        cloud
            .call(&admin, "PUT", &path(&general, bad), Value::Null)
            .await
            .expect(404);
    }
    let bad = path(&general, &format!("services/{service}/regions/none"));
    cloud
        .call(&admin, "PUT", &bad, Value::Null)
        .await
        .expect(404);
}
