//! Users, groups and roles: made, found, changed, gone.

use crate::cloud::{Cloud, by_id};
use serde_json::{Value, json};

#[tokio::test]
async fn users_live_and_die() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"user": {"name": "ann", "password": "pw", "email": "ann@example.org", "description": "d"}});
    let made = cloud
        .call(&admin, "POST", "/v3/users", body.clone())
        .await
        .expect(201);
    let user = &made.body["user"];
    assert_eq!(user["domain_id"], "default");
    assert_eq!(
        user["email"], "ann@example.org",
        "what only callers understand is kept"
    );
    assert!(user.get("password").is_none() && user.get("password_hash").is_none());
    let id = made.id("user");
    assert_eq!(
        user["links"]["self"],
        format!("http://keystone.test/v3/users/{id}")
    );
    let twice = cloud
        .call(&admin, "POST", "/v3/users", body)
        .await
        .expect(409);
    assert_eq!(
        twice.message(),
        "Conflict occurred attempting to store user - Duplicate entry found with name ann at domain ID default."
    );
    cloud.auth(by_id(&id, "pw"), Value::Null).await.expect(201);

    let path = format!("/v3/users/{id}");
    let changed = cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"user": {"name": "anna", "email": null}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &changed.body["user"]["name"],
            &changed.body["user"]["email"]
        ),
        (&json!("anna"), &Value::Null)
    );
    cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"user": {"domain_id": "other"}}),
        )
        .await
        .expect(400);
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    let gone = cloud.get(&admin, &path).await.expect(404);
    assert_eq!(gone.message(), format!("Could not find user: {id}."));
    cloud.auth(by_id(&id, "pw"), Value::Null).await.expect(401);
}

#[tokio::test]
async fn bad_users_are_refused() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let bad = [
        json!({"user": {}}),
        json!({"user": {"name": ""}}),
        json!({"user": {"name": 7}}),
        json!({"user": {"name": "x".repeat(256)}}),
        json!({"user": {"name": "x", "enabled": "perhaps"}}),
        json!({"user": {"name": "x", "default_project_id": "default"}}),
        json!({"user": {"name": "x", "options": {"odd": true}}}),
        json!({"users": {"name": "x"}}),
        json!([]),
    ];
    for body in bad {
        let refused = cloud.call(&admin, "POST", "/v3/users", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.body);
    }
    let body = json!({"user": {"name": "x", "domain_id": "nowhere"}});
    cloud
        .call(&admin, "POST", "/v3/users", body)
        .await
        .expect(404);
    let body = json!({"user": {"name": "x", "password": "p".repeat(5000)}});
    cloud
        .call(&admin, "POST", "/v3/users", body)
        .await
        .expect(403);
}

#[tokio::test]
async fn lists_filter_and_page() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    for name in ["alpha", "alphabet", "beta_1", "Beta2"] {
        cloud.user(&admin, name, "default").await;
    }
    let names = async |query: &str| {
        let mut names = cloud
            .get(&admin, &format!("/v3/users?{query}"))
            .await
            .expect(200)
            .column("users", "name");
        names.sort();
        names
    };
    assert_eq!(names("name=alpha").await, ["alpha"]);
    assert_eq!(names("name__contains=lph").await, ["alpha", "alphabet"]);
    assert_eq!(names("name__startswith=beta").await, ["beta_1"]);
    assert_eq!(names("name__istartswith=BETA").await, ["Beta2", "beta_1"]);
    assert_eq!(names("name__endswith=_1").await, ["beta_1"]);
    assert_eq!(
        names("name__contains=%25").await,
        Vec::<String>::new(),
        "no wildcards from outside"
    );
    assert_eq!(names("enabled=false").await, Vec::<String>::new());
    assert_eq!(names("enabled&name=alpha").await, ["alpha"]);
    assert_eq!(
        names("password_expires_at=lt:2026-12-08T22:02:00Z").await,
        Vec::<String>::new()
    );
    cloud
        .get(
            &admin,
            "/v3/users?password_expires_at=xx:2026-12-08T22:02:00Z",
        )
        .await
        .expect(400);

    let all = cloud.get(&admin, "/v3/users").await.expect(200);
    assert_eq!(
        all.body["links"],
        json!({"next": null, "self": "http://keystone.test/v3/users", "previous": null})
    );
    let total = all.column("users", "id");
    let mut seen = Vec::new();
    let mut path = "/v3/users?limit=2".to_string();
    loop {
        let page = cloud.get(&admin, &path).await.expect(200);
        seen.extend(page.column("users", "id"));
        match page.body["links"]["next"].as_str() {
            Some(next) => {
                path = next
                    .strip_prefix("http://keystone.test")
                    .unwrap()
                    .to_string()
            }
            None => break,
        }
    }
    let mut sorted = total.clone();
    sorted.sort();
    assert_eq!(seen, sorted);
    let no = cloud
        .get(&admin, "/v3/users?limit=2&marker=nobody")
        .await
        .expect(404);
    assert_eq!(no.message(), "Marker nobody could not be found.");
    cloud.get(&admin, "/v3/users?limit=many").await.expect(400);
    let down = cloud
        .get(&admin, "/v3/users?sort_key=name&sort_dir=desc")
        .await
        .expect(200)
        .column("users", "name");
    assert_eq!(down.first().map(String::as_str), Some("nova"));
}

#[tokio::test]
async fn groups_lend_roles() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let group = cloud
        .make(&admin, "/v3/groups", "group", json!({"name": "staff"}))
        .await;
    let twice = cloud
        .call(
            &admin,
            "POST",
            "/v3/groups",
            json!({"group": {"name": "staff"}}),
        )
        .await
        .expect(409);
    assert!(
        twice
            .message()
            .contains("store group - Duplicate entry found with name staff"),
        "{}",
        twice.message()
    );
    let project = cloud.project(&admin, "p", "default").await;
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("groups/{group}"),
            "member",
        )
        .await;
    let scope = json!({"project": {"id": project}});
    cloud
        .auth(by_id(&ann, "pw"), scope.clone())
        .await
        .expect(401);
    let pair = format!("/v3/groups/{group}/users/{ann}");
    cloud
        .call(&admin, "HEAD", &pair, Value::Null)
        .await
        .expect(404);
    cloud
        .call(&admin, "PUT", &pair, Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "PUT", &pair, Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "HEAD", &pair, Value::Null)
        .await
        .expect(204);
    let token = cloud
        .auth(by_id(&ann, "pw"), scope)
        .await
        .expect(201)
        .token();
    assert_eq!(
        cloud
            .get(&token, &format!("/v3/users/{ann}/groups"))
            .await
            .expect(200)
            .column("groups", "id"),
        [group.as_str()]
    );
    assert_eq!(
        cloud
            .get(&admin, &format!("/v3/groups/{group}/users"))
            .await
            .expect(200)
            .column("users", "id"),
        [ann.as_str()]
    );
    assert_eq!(
        cloud
            .get(&token, &format!("/v3/users/{ann}/projects"))
            .await
            .expect(200)
            .column("projects", "id"),
        [project]
    );
    cloud
        .call(&admin, "DELETE", &pair, Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "DELETE", &pair, Value::Null)
        .await
        .expect(404);
    cloud.check(&token).await.expect(401);
    cloud
        .call(
            &admin,
            "DELETE",
            &format!("/v3/groups/{group}"),
            Value::Null,
        )
        .await
        .expect(204);
    cloud
        .get(&admin, &format!("/v3/groups/{group}"))
        .await
        .expect(404);
}

#[tokio::test]
async fn roles_and_what_they_imply() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (boss, hand) = (
        cloud
            .make(&admin, "/v3/roles", "role", json!({"name": "boss"}))
            .await,
        cloud
            .make(&admin, "/v3/roles", "role", json!({"name": "hand"}))
            .await,
    );
    let twice = cloud
        .call(
            &admin,
            "POST",
            "/v3/roles",
            json!({"role": {"name": "boss"}}),
        )
        .await
        .expect(409);
    assert_eq!(
        twice.message(),
        "Conflict occurred attempting to store role - Duplicate entry found with name boss."
    );
    let rule = format!("/v3/roles/{boss}/implies/{hand}");
    cloud
        .call(&admin, "GET", &rule, Value::Null)
        .await
        .expect(404);
    let made = cloud
        .call(&admin, "PUT", &rule, Value::Null)
        .await
        .expect(201);
    assert_eq!(made.body["role_inference"]["implies"]["name"], "hand");
    cloud
        .call(&admin, "HEAD", &rule, Value::Null)
        .await
        .expect(204);
    let reader = cloud.role(&admin, "admin").await;
    cloud
        .call(
            &admin,
            "PUT",
            &format!("/v3/roles/{boss}/implies/{reader}"),
            Value::Null,
        )
        .await
        .expect(403);
    let all = cloud.get(&admin, "/v3/role_inferences").await.expect(200);
    assert_eq!(all.body["role_inferences"].as_array().unwrap().len(), 4);

    let ann = cloud.user(&admin, "ann", "default").await;
    let project = cloud.project(&admin, "p", "default").await;
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("users/{ann}"),
            "boss",
        )
        .await;
    let login = cloud
        .auth(by_id(&ann, "pw"), json!({"project": {"id": project}}))
        .await
        .expect(201);
    assert_eq!(login.body["token"]["roles"].as_array().unwrap().len(), 2);
    cloud
        .call(&admin, "DELETE", &rule, Value::Null)
        .await
        .expect(204);
    let told = cloud.check(&login.token()).await.expect(200);
    assert_eq!(
        told.body["token"]["roles"],
        json!([{"id": boss, "name": "boss"}])
    );

    let locked = cloud
        .call(
            &admin,
            "DELETE",
            &format!("/v3/roles/{reader}"),
            Value::Null,
        )
        .await
        .expect(403);
    assert_eq!(
        locked.message(),
        format!(
            "Unable to delete immutable role resource: `{reader}. Set resource option \"immutable\" to false first."
        )
    );
    cloud
        .call(
            &admin,
            "PATCH",
            &format!("/v3/roles/{reader}"),
            json!({"role": {"name": "x"}}),
        )
        .await
        .expect(403);
    let unlock = json!({"role": {"options": {"immutable": false}}});
    cloud
        .call(&admin, "PATCH", &format!("/v3/roles/{reader}"), unlock)
        .await
        .expect(200);
    cloud
        .call(&admin, "DELETE", &format!("/v3/roles/{boss}"), Value::Null)
        .await
        .expect(204);
    cloud.check(&login.token()).await.expect(401);
}
