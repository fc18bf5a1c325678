//! A keystone of its own for each story, and a caller who speaks HTTP to it.

use base::{Clock, Secret, Timestamp};
use keystone::{BootstrapSpec, Bootstrapped, Built, Conf, Deps, EndpointSpec};
use oslo_db::Db;
use oslo_http::Body;
use serde_json::{Value, json};

pub const START: Timestamp = Timestamp(1_767_323_045_250_000);

pub struct Cloud {
    pub built: Built,
    pub clock: Clock,
    pub ids: Bootstrapped,
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    pub fn token(&self) -> String {
        self.headers
            .get("x-subject-token")
            .unwrap_or_else(|| panic!("{}: {}", self.status, self.body))
            .to_str()
            .unwrap()
            .into()
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("")
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    pub fn id(&self, key: &str) -> String {
        self.body[key]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.body))
            .to_string()
    }

    /// The values of `field` of every item of the list `key`.
    pub fn column(&self, key: &str, field: &str) -> Vec<String> {
        let items = self.body[key]
            .as_array()
            .unwrap_or_else(|| panic!("{}", self.body));
        items
            .iter()
            .map(|i| i[field].as_str().unwrap_or("").to_string())
            .collect()
    }
}

pub fn conf() -> Conf {
    let mut conf = Conf::default();
    conf.identity.password_hash_rounds = Some(4);
    conf
}

pub fn spec() -> BootstrapSpec {
    BootstrapSpec {
        admin_password: "secret".into(),
        region: "RegionOne".into(),
        endpoints: vec![
            EndpointSpec::same("identity", "keystone", "http://cloud/identity"),
            EndpointSpec::same(
                "object-store",
                "swift",
                "http://cloud/v1/AUTH_%(project_id)s",
            ),
        ],
        service_users: vec![("nova".into(), Secret::new("nova-secret"))],
    }
}

/// The template of the MariaDB server that every story of this process uses; see `mariadb.rs`.
pub const MARIADB: &str = "KEYSTONE_TEST_MARIADB";

/// A new, empty database.
#[expect(clippy::disallowed_methods, reason = "between a test and itself")]
pub async fn database() -> Db {
    let Ok(template) = std::env::var(MARIADB) else {
        return Db::open("sqlite::memory:").await.unwrap();
    };
    let url = template.replace("%s", &base::new_hex_id());
    oslo_db::create_database(&url).await.unwrap();
    Db::open(&url).await.unwrap()
}

pub fn deps(db: &Db, clock: &Clock, conf: Conf) -> Deps {
    Deps {
        db: db.clone(),
        conf,
        clock: clock.clone(),
        policy_file: None,
        secret: Secret::default(),
        old_keys: None,
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        Cloud::with(conf()).await
    }

    pub async fn with(conf: Conf) -> Cloud {
        let clock = Clock::manual(START);
        let db = database().await;
        let built = keystone::build(deps(&db, &clock, conf)).await.unwrap();
        let ids = keystone::bootstrap(&built.state, spec()).await.unwrap();
        Cloud { built, clock, ids }
    }

    /// With its administrator's token.
    pub async fn begin(conf: Conf) -> (Cloud, String) {
        let cloud = Cloud::with(conf).await;
        let admin = cloud.admin().await;
        (cloud, admin)
    }

    /// One of several keystones on one database, bootstrapped.
    pub async fn over(deps: Deps) -> Cloud {
        let clock = deps.clock.clone();
        let built = keystone::build(deps).await.unwrap();
        let ids = keystone::bootstrap(&built.state, spec()).await.unwrap();
        Cloud { built, clock, ids }
    }

    pub async fn revoke(&self, token: &str) {
        let headers = [("x-auth-token", token), ("x-subject-token", token)];
        let done = self.send("DELETE", "/v3/auth/tokens", &headers, None);
        done.await.expect(204);
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "keystone.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or(Body::Empty, Body::from);
        let reply = self.built.endpoint.call(request.body(body).unwrap()).await;
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let bytes = reply.body.collect(1 << 22).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        crate::answers::check(method, path, status, &body);
        Answer {
            status,
            headers,
            body,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            None
        } else {
            Some(body.to_string().into_bytes())
        };
        self.send(
            method,
            path,
            &[
                ("x-auth-token", token),
                ("content-type", "application/json"),
            ],
            body,
        )
        .await
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, "PUT", path, body).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, "GET", path, Value::Null).await
    }

    pub async fn auth(&self, identity: Value, scope: Value) -> Answer {
        let mut auth = json!({"identity": identity});
        if !scope.is_null() {
            auth["scope"] = scope;
        }
        self.call("", "POST", "/v3/auth/tokens", json!({"auth": auth}))
            .await
    }

    pub async fn login(&self, user: &str, password: &str, scope: Value) -> Answer {
        self.auth(by_password(user, password), scope).await
    }

    pub async fn admin(&self) -> String {
        self.login("admin", "secret", self.admin_project())
            .await
            .expect(201)
            .token()
    }

    pub fn admin_project(&self) -> Value {
        json!({"project": {"id": self.ids.admin_project_id}})
    }

    /// Asks about a token, with itself.
    pub async fn check(&self, token: &str) -> Answer {
        self.check_as(token, token).await
    }

    pub async fn check_as(&self, asker: &str, token: &str) -> Answer {
        self.send(
            "GET",
            "/v3/auth/tokens",
            &[("x-auth-token", asker), ("x-subject-token", token)],
            None,
        )
        .await
    }
}

pub fn by_password(user: &str, password: &str) -> Value {
    json!({"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}}})
}

pub fn by_token(token: &str) -> Value {
    json!({"methods": ["token"], "token": {"id": token}})
}

/// Making things, as an administrator.
impl Cloud {
    pub async fn make(&self, admin: &str, path: &str, key: &str, body: Value) -> String {
        self.call(admin, "POST", path, json!({key: body}))
            .await
            .expect(201)
            .id(key)
    }

    pub async fn user(&self, admin: &str, name: &str, domain_id: &str) -> String {
        let body = json!({"name": name, "password": "pw", "domain_id": domain_id});
        self.make(admin, "/v3/users", "user", body).await
    }

    pub async fn project(&self, admin: &str, name: &str, domain_id: &str) -> String {
        self.make(
            admin,
            "/v3/projects",
            "project",
            json!({"name": name, "domain_id": domain_id}),
        )
        .await
    }

    pub async fn role(&self, admin: &str, name: &str) -> String {
        let found = self
            .get(admin, &format!("/v3/roles?name={name}"))
            .await
            .expect(200);
        found
            .column("roles", "id")
            .pop()
            .unwrap_or_else(|| panic!("no role {name}"))
    }

    /// `place` is `projects/ID`, `domains/ID` or `system`; `actor` is `users/ID` or `groups/ID`.
    pub async fn grant(&self, admin: &str, place: &str, actor: &str, role: &str) {
        let role = self.role(admin, role).await;
        self.call(
            admin,
            "PUT",
            &format!("/v3/{place}/{actor}/roles/{role}"),
            Value::Null,
        )
        .await
        .expect(204);
    }
}

pub fn by_id(user: &str, password: &str) -> Value {
    json!({"methods": ["password"], "password": {"user": {"id": user, "password": password}}})
}

/// Ann holds a role on a project and has a token for it.
pub struct Story {
    pub cloud: Cloud,
    pub admin: String,
    pub ann: String,
    pub project: String,
    pub token: String,
}

impl Story {
    pub async fn of(role: &str) -> Story {
        Story::with(conf(), role).await
    }

    pub async fn with(conf: Conf, role: &str) -> Story {
        let (cloud, admin) = Cloud::begin(conf).await;
        let ann = cloud.user(&admin, "ann", "default").await;
        let project = cloud.project(&admin, "p", "default").await;
        let (place, actor) = (format!("projects/{project}"), format!("users/{ann}"));
        cloud.grant(&admin, &place, &actor, role).await;
        let scope = json!({"project": {"id": project}});
        let token = cloud.auth(by_id(&ann, "pw"), scope).await.token();
        Story {
            cloud,
            admin,
            ann,
            project,
            token,
        }
    }

    /// A proof by an application credential of Ann's.
    pub async fn app_cred(&self, body: Value) -> Value {
        let path = format!("/v3/users/{}/application_credentials", self.ann);
        let body = json!({"application_credential": body});
        let made = self.cloud.call(&self.token, "POST", &path, body).await;
        let made = made.expect(201).body["application_credential"].clone();
        json!({
            "methods": ["application_credential"],
            "application_credential": {"id": made["id"], "secret": made["secret"]},
        })
    }
}
