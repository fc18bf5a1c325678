//! Whether answers look as upstream's schemas say (`answers.json`): in every story, of every row that has one.

use crate::cloud::{Cloud, by_id};
use oslo_testing::answers::{Answers, NotSo, fill};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static ANSWERS: LazyLock<Answers> =
    LazyLock::new(|| Answers::load(include_str!("../answers.json"), NOT_SO));

/// Where upstream's own answers do not meet these schemas.
const NOT_SO: NotSo = &[
    (
        "",
        "/token/user/password_expires_at: null is not of type \"string\"",
        "most passwords never end",
    ),
    (
        "GET /v3/auth/domains",
        "is not of type \"array\"",
        "links are objects, as everywhere",
    ),
    (
        "GET /v3/auth/projects",
        "is not of type \"array\"",
        "links are objects, as everywhere",
    ),
    (
        "GET /v3/OS-FEDERATION/domains",
        "is not of type \"array\"",
        "links are objects, as everywhere",
    ),
    (
        "GET /v3/OS-FEDERATION/projects",
        "is not of type \"array\"",
        "links are objects, as everywhere",
    ),
    (
        "PATCH /v3/domains/{domain_id}/config/{group}",
        "has more than 1 property",
        "the whole configuration comes back, whatever part was written",
    ),
    (
        "PATCH /v3/domains/{domain_id}/config/{group}/{option}",
        "has more than 1 property",
        "the whole configuration comes back, whatever part was written",
    ),
    (
        "POST /v3/domains",
        "Additional properties are not allowed ('type', 'url' were unexpected)",
        "attributes that are the caller's own are kept and shown",
    ),
];

/// Holds what a story was answered against upstream's schema, if there is one.
pub fn check(method: &str, path: &str, status: u16, body: &Value) {
    if !(200..300).contains(&status) || body.is_null() {
        return;
    }
    ANSWERS
        .check(method, path, body)
        .unwrap_or_else(|words| panic!("{words}"));
}

/// One of everything.
struct World {
    cloud: Cloud,
    admin: String,
    things: BTreeMap<&'static str, String>,
}

impl World {
    async fn make(&mut self, name: &'static str, path: &str, key: &str, body: Value) {
        let id = self.cloud.make(&self.admin, path, key, body).await;
        self.things.insert(name, id);
    }

    async fn put(&self, path: &str) {
        let done = self
            .cloud
            .call(&self.admin, "PUT", &self.fill(path), Value::Null)
            .await;
        assert!((200..300).contains(&done.status), "{path}: {}", done.body);
    }

    fn fill(&self, path: &str) -> String {
        fill(
            &path.replace("OS-EC2/{credential_id}", "OS-EC2/{ec2_credential_id}"),
            &self.things,
        )
    }

    async fn new() -> World {
        let cloud = Cloud::new().await;
        let admin = cloud.admin().await;
        let user = cloud.ids.admin_user_id.clone();
        let project = cloud.ids.admin_project_id.clone();
        let role = cloud.role(&admin, "member").await;
        let (group, option) = ("identity".to_string(), "driver".to_string());
        let things = BTreeMap::from([
            ("user_id", user.clone()),
            ("project_id", project.clone()),
            ("role_id", role.clone()),
            ("group", group),
            ("option", option),
            ("value", "round".to_string()),
        ]);
        let mut w = World {
            cloud,
            admin,
            things,
        };
        w.make("domain_id", "/v3/domains", "domain", json!({"name": "d"}))
            .await;
        w.make("group_id", "/v3/groups", "group", json!({"name": "g"}))
            .await;
        w.make(
            "prior_role_id",
            "/v3/roles",
            "role",
            json!({"name": "prior"}),
        )
        .await;
        w.make(
            "implied_role_id",
            "/v3/roles",
            "role",
            json!({"name": "implied"}),
        )
        .await;
        w.make("region_id", "/v3/regions", "region", json!({"id": "north"}))
            .await;
        w.make(
            "service_id",
            "/v3/services",
            "service",
            json!({"type": "wiki", "name": "wiki"}),
        )
        .await;
        let service = w.things["service_id"].clone();
        let endpoint = json!({"service_id": service, "interface": "public", "url": "http://wiki", "region_id": "north"});
        w.make("endpoint_id", "/v3/endpoints", "endpoint", endpoint)
            .await;
        w.make(
            "policy_id",
            "/v3/policies",
            "policy",
            json!({"type": "application/json", "blob": "{}"}),
        )
        .await;
        let credential =
            json!({"type": "cert", "blob": "x", "user_id": user, "project_id": project});
        w.make("credential_id", "/v3/credentials", "credential", credential)
            .await;
        let filter = json!({"name": "wikis", "filters": {"service_id": service}});
        w.make(
            "endpoint_group_id",
            "/v3/OS-EP-FILTER/endpoint_groups",
            "endpoint_group",
            filter,
        )
        .await;
        let trust = json!({
            "trustor_user_id": user, "trustee_user_id": user, "project_id": project,
            "impersonation": false, "roles": [{"id": role}],
        });
        w.make("trust_id", "/v3/OS-TRUST/trusts", "trust", trust)
            .await;
        let path = w.fill("/v3/users/{user_id}/application_credentials");
        let rules = json!([{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]);
        let robot = json!({"name": "robot", "roles": [{"id": role}], "access_rules": rules});
        w.make(
            "application_credential_id",
            &path,
            "application_credential",
            robot,
        )
        .await;
        let rules = w
            .cloud
            .get(&w.admin, &w.fill("/v3/users/{user_id}/access_rules"))
            .await;
        w.things.insert(
            "access_rule_id",
            rules.column("access_rules", "id")[0].clone(),
        );
        w.limits().await;
        let path = w.fill("/v3/users/{user_id}/credentials/OS-EC2");
        let made = w
            .cloud
            .call(&w.admin, "POST", &path, json!({"tenant_id": project}))
            .await;
        let access = made.expect(201).body["credential"]["access"]
            .as_str()
            .unwrap()
            .to_string();
        w.things.insert("ec2_credential_id", access);
        w.ties().await;
        w
    }

    async fn limits(&mut self) {
        let (service, project) = (
            self.things["service_id"].clone(),
            self.things["project_id"].clone(),
        );
        let body = json!({"registered_limits": [{"service_id": service, "resource_name": "pages", "default_limit": 9}]});
        let made = self
            .cloud
            .call(&self.admin, "POST", "/v3/registered_limits", body)
            .await;
        self.things.insert(
            "registered_limit_id",
            made.expect(201).column("registered_limits", "id")[0].clone(),
        );
        // Before anybody's limit depends on it.
        let path = self.fill("/v3/registered_limits/{registered_limit_id}");
        let body = json!({"registered_limit": {"default_limit": 8}});
        let changed = self.cloud.call(&self.admin, "PATCH", &path, body).await;
        changed.expect(200);
        let body = json!({"limits": [{
            "service_id": service, "project_id": project, "resource_name": "pages", "resource_limit": 5,
        }]});
        let made = self
            .cloud
            .call(&self.admin, "POST", "/v3/limits", body)
            .await;
        self.things.insert(
            "limit_id",
            made.expect(201).column("limits", "id")[0].clone(),
        );
    }

    /// What ties the things together.
    async fn ties(&self) {
        for path in [
            "/v3/groups/{group_id}/users/{user_id}",
            "/v3/domains/{domain_id}/users/{user_id}/roles/{role_id}",
            "/v3/domains/{domain_id}/groups/{group_id}/roles/{role_id}",
            "/v3/projects/{project_id}/users/{user_id}/roles/{role_id}",
            "/v3/projects/{project_id}/groups/{group_id}/roles/{role_id}",
            "/v3/projects/{project_id}/tags/{value}",
            "/v3/system/users/{user_id}/roles/{role_id}",
            "/v3/system/groups/{group_id}/roles/{role_id}",
            "/v3/roles/{prior_role_id}/implies/{implied_role_id}",
            "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}",
            "/v3/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}",
            "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints/{endpoint_id}",
        ] {
            self.put(path).await;
        }
    }

    /// Writes to each thing what changes it.
    async fn change(&self) {
        let same = |words: &str| json!({words: {"description": "changed"}});
        for (method, path, body) in [
            (
                "PUT",
                "/v3/domains/{domain_id}/config",
                json!({"config": {"identity": {"driver": "sql"}}}),
            ),
            (
                "PATCH",
                "/v3/domains/{domain_id}/config",
                json!({"config": {"identity": {"driver": "ldap"}}}),
            ),
            (
                "PATCH",
                "/v3/domains/{domain_id}/config/{group}",
                json!({"config": {"identity": {"driver": "sql"}}}),
            ),
            (
                "PATCH",
                "/v3/domains/{domain_id}/config/{group}/{option}",
                json!({"config": {"driver": "ldap"}}),
            ),
            ("PATCH", "/v3/domains/{domain_id}", same("domain")),
            ("PATCH", "/v3/projects/{project_id}", same("project")),
            (
                "PUT",
                "/v3/projects/{project_id}/tags",
                json!({"tags": ["round", "red"]}),
            ),
            ("PATCH", "/v3/users/{user_id}", same("user")),
            ("PATCH", "/v3/groups/{group_id}", same("group")),
            ("PATCH", "/v3/roles/{prior_role_id}", same("role")),
            ("PATCH", "/v3/regions/{region_id}", same("region")),
            ("PUT", "/v3/regions/south", json!({"region": {}})),
            ("PATCH", "/v3/services/{service_id}", same("service")),
            (
                "PATCH",
                "/v3/endpoints/{endpoint_id}",
                json!({"endpoint": {"url": "http://wiki/2"}}),
            ),
            (
                "PATCH",
                "/v3/policies/{policy_id}",
                json!({"policy": {"blob": "{ }"}}),
            ),
            (
                "PATCH",
                "/v3/credentials/{credential_id}",
                json!({"credential": {"blob": "y"}}),
            ),
            (
                "PATCH",
                "/v3/limits/{limit_id}",
                json!({"limit": {"resource_limit": 4}}),
            ),
            (
                "PATCH",
                "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}",
                same("endpoint_group"),
            ),
        ] {
            let done = self
                .cloud
                .call(&self.admin, method, &self.fill(path), body)
                .await;
            assert!(
                (200..300).contains(&done.status),
                "{method} {path}: {} {}",
                done.status,
                done.body
            );
        }
    }
}

#[tokio::test]
async fn every_row_with_a_schema_meets_it_or_is_listed() {
    let w = World::new().await;
    w.cloud.user(&w.admin, "ann", "default").await;
    w.cloud.project(&w.admin, "p", "default").await;
    w.change().await;
    w.cloud.check(&w.admin).await.expect(200);
    let unscoped = by_id(&w.things["user_id"], "secret");
    w.cloud
        .auth(unscoped, json!({"system": {"all": true}}))
        .await
        .expect(201);
    let rows = w.cloud.built.endpoint.routes();
    for row in rows.iter().filter(|row| row.method == "GET") {
        let path = w.fill(row.path);
        if !path.contains('{') {
            w.cloud.get(&w.admin, &path).await;
        }
    }
    // A DELETE answers with nothing.
    let asked = rows.iter().filter(|row| row.method != "DELETE");
    let coverage = ANSWERS.coverage(asked.map(|row| (row.method.as_str(), row.path)));
    let lists = (
        include_str!("answers/unmet.txt"),
        include_str!("answers/without_schema.txt"),
    );
    println!("{}", coverage.judge(lists.0, lists.1).unwrap());
}
