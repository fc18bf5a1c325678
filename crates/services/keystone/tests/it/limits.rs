//! Limits that other services ask for.

use crate::cloud::{Cloud, by_id, conf};
use keystone::config::EnforcementModel;
use serde_json::{Value, json};

struct Story {
    cloud: Cloud,
    admin: String,
    service: String,
    project: String,
}

async fn story(model: EnforcementModel) -> Story {
    let mut conf = conf();
    conf.unified_limit.enforcement_model = model;
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let services = cloud
        .get(&admin, "/v3/services?type=object-store")
        .await
        .expect(200);
    let service = services.column("services", "id")[0].clone();
    let project = cloud.project(&admin, "p", "default").await;
    Story {
        cloud,
        admin,
        service,
        project,
    }
}

impl Story {
    async fn register(&self, name: &str, limit: i64, region: Value) -> (u16, Value) {
        let body = json!({"registered_limits": [{
            "service_id": self.service, "resource_name": name, "default_limit": limit, "region_id": region,
        }]});
        let path = "/v3/registered_limits";
        let made = self.cloud.call(&self.admin, "POST", path, body).await;
        (made.status, made.body["registered_limits"][0].clone())
    }

    async fn limit(&self, items: Value) -> (u16, Value) {
        let mut items = items;
        for item in items.as_array_mut().unwrap() {
            item["service_id"] = json!(self.service);
        }
        let body = json!({"limits": items});
        let made = self
            .cloud
            .call(&self.admin, "POST", "/v3/limits", body)
            .await;
        (made.status, made.body)
    }
}

#[tokio::test]
async fn of_all_and_of_some() {
    let story = story(EnforcementModel::Flat).await;
    let Story {
        cloud,
        admin,
        project,
        ..
    } = &story;
    let (status, volumes) = story.register("volumes", 10, Value::Null).await;
    assert_eq!(status, 201);
    assert_eq!(volumes["default_limit"], 10);
    assert_eq!(volumes["region_id"], Value::Null);
    let path = format!("/v3/registered_limits/{}", volumes["id"].as_str().unwrap());
    assert_eq!(
        volumes["links"]["self"],
        format!("http://keystone.test{path}")
    );
    assert_eq!(story.register("volumes", 11, Value::Null).await.0, 409);
    assert_eq!(
        story.register("volumes", 11, json!("RegionOne")).await.0,
        201
    );
    assert_eq!(story.register("other", 1, json!("Nowhere")).await.0, 400);
    let changed = json!({"registered_limit": {"default_limit": 20, "description": "d"}});
    let changed = cloud.call(admin, "PATCH", &path, changed).await.expect(200);
    assert_eq!(changed.body["registered_limit"]["default_limit"], 20);
    let same = json!({"registered_limit": {"region_id": "RegionOne"}});
    cloud.call(admin, "PATCH", &path, same).await.expect(409);

    // Of a project; all of a list or none.
    let mine = json!({"project_id": project, "resource_name": "volumes", "resource_limit": 5});
    let unknown = json!({"project_id": project, "resource_name": "unknown", "resource_limit": 5});
    assert_eq!(story.limit(json!([mine, unknown])).await.0, 403);
    let (status, made) = story.limit(json!([mine])).await;
    assert_eq!(status, 201);
    let made = &made["limits"][0];
    assert_eq!(made["domain_id"], Value::Null);
    assert_eq!(made["resource_limit"], 5);
    assert_eq!(story.limit(json!([mine])).await.0, 409);
    for bad in [
        json!({"resource_name": "volumes", "resource_limit": 5}),
        json!({"project_id": project, "domain_id": "default", "resource_name": "volumes", "resource_limit": 5}),
        json!({"project_id": "nowhere", "resource_name": "volumes", "resource_limit": 5}),
        json!({"domain_id": "nowhere", "resource_name": "volumes", "resource_limit": 5}),
        json!({"project_id": project, "resource_name": "volumes", "resource_limit": "5"}),
        json!({"project_id": project, "resource_name": "volumes", "resource_limit": -2}),
    ] {
        assert_eq!(story.limit(json!([bad])).await.0, 400, "{bad}");
    }
    // A domain by either of its names.
    let domain = json!({"project_id": "default", "resource_name": "volumes", "resource_limit": 50});
    let (_, body) = story.limit(json!([domain])).await;
    assert_eq!(body["limits"][0]["domain_id"], "default");
    assert_eq!(body["limits"][0]["project_id"], Value::Null);

    // What is referred to stays as it is.
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    let changed = json!({"registered_limit": {"default_limit": 1}});
    cloud.call(admin, "PATCH", &path, changed).await.expect(403);

    let limit = format!("/v3/limits/{}", made["id"].as_str().unwrap());
    let changed = json!({"limit": {"resource_limit": 6, "description": "six"}});
    let changed = cloud
        .call(admin, "PATCH", &limit, changed)
        .await
        .expect(200);
    assert_eq!(changed.body["limit"]["description"], "six");
    let shown = cloud.get(admin, &limit).await.expect(200);
    assert_eq!(shown.body, changed.body);
    for (query, found) in [
        (String::new(), 2),
        (format!("?project_id={project}"), 1),
        ("?resource_name=volumes".into(), 2),
        ("?resource_name=nothing".into(), 0),
        ("?region_id=RegionOne".into(), 0),
        (format!("?service_id={}", story.service), 2),
    ] {
        let list = cloud
            .get(admin, &format!("/v3/limits{query}"))
            .await
            .expect(200);
        assert_eq!(
            list.body["limits"].as_array().unwrap().len(),
            found,
            "{query}"
        );
    }

    // A member sees their project's, may not change any.
    let ann = cloud.user(admin, "ann", "default").await;
    let (place, actor) = (format!("projects/{project}"), format!("users/{ann}"));
    cloud.grant(admin, &place, &actor, "member").await;
    let scope = json!({"project": {"id": project}});
    let ann = cloud.auth(by_id(&ann, "pw"), scope).await.token();
    let list = cloud.get(&ann, "/v3/limits").await.expect(200);
    assert_eq!(list.column("limits", "project_id"), [project.as_str()]);
    cloud.get(&ann, &limit).await.expect(200);
    let domains = body["limits"][0]["id"].as_str().unwrap();
    cloud
        .get(&ann, &format!("/v3/limits/{domains}"))
        .await
        .expect(403);
    cloud.get(&ann, "/v3/registered_limits").await.expect(200);
    let body = json!({"limit": {"resource_limit": 600}});
    cloud.call(&ann, "PATCH", &limit, body).await.expect(403);
    cloud
        .call(&ann, "DELETE", &limit, Value::Null)
        .await
        .expect(403);

    // It goes with its project.
    let gone = format!("/v3/projects/{project}");
    cloud
        .call(admin, "DELETE", &gone, Value::Null)
        .await
        .expect(204);
    let none = cloud.get(admin, &limit).await.expect(404);
    assert!(none.message().starts_with("Could not find limit for "));
    let model = cloud.get(admin, "/v3/limits/model").await.expect(200);
    assert_eq!(model.body["model"]["name"], "flat");
}

#[tokio::test]
async fn in_the_strict_model_nobody_has_more_than_their_domain() {
    let story = story(EnforcementModel::StrictTwoLevel).await;
    let Story {
        cloud,
        admin,
        project,
        ..
    } = &story;
    let model = cloud.get(admin, "/v3/limits/model").await.expect(200);
    assert_eq!(model.body["model"]["name"], "strict_two_level");
    let below = json!({"project": {"name": "below", "parent_id": project}});
    cloud
        .call(admin, "POST", "/v3/projects", below)
        .await
        .expect(403);
    story.register("volumes", 10, Value::Null).await;
    let of_project = |limit: i64| json!({"project_id": project, "resource_name": "volumes", "resource_limit": limit});
    let of_domain = |limit: i64| json!({"domain_id": "default", "resource_name": "volumes", "resource_limit": limit});
    assert_eq!(story.limit(json!([of_project(11)])).await.0, 403);
    assert_eq!(story.limit(json!([of_project(-1)])).await.0, 403);
    assert_eq!(
        story.limit(json!([of_project(20), of_domain(15)])).await.0,
        403
    );
    let (status, made) = story.limit(json!([of_project(15), of_domain(20)])).await;
    assert_eq!(status, 201, "{made}");
    let change = async |index: usize, limit: i64| {
        let path = format!(
            "/v3/limits/{}",
            made["limits"][index]["id"].as_str().unwrap()
        );
        let body = json!({"limit": {"resource_limit": limit}});
        cloud.call(admin, "PATCH", &path, body).await.status
    };
    assert_eq!(change(0, 21).await, 403);
    assert_eq!(change(1, 14).await, 403);
    assert_eq!(change(1, -1).await, 200);
    assert_eq!(change(0, 21).await, 200);
}
