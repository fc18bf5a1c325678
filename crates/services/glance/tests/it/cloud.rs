//! A glance on a database in memory and a folder of its own.

use base::{Clock, Error, Result, Timestamp};
use futures::future::BoxFuture;
use glance::{Conf, Deps, Glance, ImageInspector, Verdict};
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, HeaderMap};
use oslo_service::Supervisor;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// `admin`; `reader-p1` reads in `p1`; every other token is a member of the project of its name.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        let token = headers
            .get("x-auth-token")
            .and_then(|v| v.to_str().ok())
            .map(str::to_string);
        Box::pin(async move {
            let token = token.ok_or_else(|| Error::unauthorized("no token"))?;
            let (project, roles): (&str, &[&str]) = match token.as_str() {
                "admin" => ("admin", &["admin", "member", "reader"]),
                "reader-p1" => ("p1", &["reader"]),
                other => (other, &["member", "reader"]),
            };
            Ok(RequestContext {
                user_id: Some(format!("user-{token}")),
                project_id: Some(project.to_string()),
                roles: roles.iter().map(|r| r.to_string()).collect(),
                ..RequestContext::anonymous()
            })
        })
    }
}

/// The template of the MariaDB server that every story of this process uses; see `mariadb.rs`.
pub const MARIADB: &str = "GLANCE_TEST_MARIADB";

/// A new, empty database.
#[expect(clippy::disallowed_methods, reason = "between a test and itself")]
async fn database() -> Db {
    let Ok(template) = std::env::var(MARIADB) else {
        return Db::open("sqlite::memory:").await.unwrap();
    };
    let url = template.replace("%s", &base::new_hex_id());
    oslo_db::create_database(&url).await.unwrap();
    Db::open(&url).await.unwrap()
}

struct Real(host_imagefmt::Inspector);

impl ImageInspector for Real {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn finish(self: Box<Self>, disk_format: &str) -> Verdict {
        let found = self.0.finish();
        Verdict {
            format: found.format.to_string(),
            agrees: found.format.agrees_with(disk_format),
            virtual_size: Some(found.virtual_size),
            problems: found.safety.err().unwrap_or_default(),
        }
    }
}

pub struct Cloud {
    pub db: Db,
    pub endpoint: Arc<dyn Endpoint>,
    pub state: Arc<Glance>,
    pub clock: Clock,
    pub folder: PathBuf,
    conf: Conf,
    _supervisor: Arc<Supervisor>,
    keeper: bool,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if self.keeper {
            let own = self.folder.file_name().unwrap().to_owned();
            let beside = std::fs::read_dir(self.folder.parent().unwrap()).unwrap();
            for entry in beside.flatten() {
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(own.as_encoded_bytes()) {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        Cloud::with(Conf::default()).await
    }

    pub async fn with(conf: Conf) -> Cloud {
        let folder = std::env::temp_dir().join(format!("glance-{}", base::new_id()));
        let db = database().await;
        let clock = Clock::manual(Timestamp::now());
        let mut cloud = Cloud::start(db, folder, clock, conf).await;
        cloud.keeper = true;
        cloud
    }

    /// Another process on the same database and folder.
    pub async fn again(&self) -> Cloud {
        Cloud::start(
            self.db.clone(),
            self.folder.clone(),
            self.clock.clone(),
            self.conf.clone(),
        )
        .await
    }

    /// The files of a folder beside the default store's.
    pub fn files_of(&self, name: &str) -> Vec<String> {
        let own = self.folder.file_name().unwrap().to_string_lossy();
        let folder = self.folder.with_file_name(format!("{own}-{name}"));
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Waits until no import is at work.
    pub async fn imported(&self) {
        let patience = std::time::Duration::from_secs(60);
        self.state.engine.wait_idle(patience).await.unwrap();
    }

    pub async fn show(&self, id: &str) -> Value {
        let path = format!("/v2/images/{id}");
        self.ok("admin", "GET", &path, None).await
    }

    async fn start(db: Db, folder: PathBuf, clock: Clock, conf: Conf) -> Cloud {
        let supervisor = Arc::new(Supervisor::new());
        let deps = Deps {
            db: db.clone(),
            auth: Arc::new(Names),
            conf: Conf {
                filesystem_store_datadir: folder.clone(),
                ..conf.clone()
            },
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
            inspectors: Arc::new(|| Box::new(Real(host_imagefmt::Inspector::new()))),
        };
        let built = glance::build(deps).await.unwrap();
        let (endpoint, state) = (built.endpoint, built.state);
        Cloud {
            db,
            endpoint,
            state,
            clock,
            folder,
            conf,
            _supervisor: supervisor,
            keeper: false,
        }
    }

    pub async fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        request = request
            .header("host", "glance")
            .header("x-auth-token", token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.endpoint.call(request.body(body).unwrap()).await;
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let bytes = reply.body.collect(256 << 20).await.unwrap().to_vec();
        Answer {
            status,
            headers,
            bytes,
        }
    }

    pub async fn ask(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ];
        let body = body.map(|b| Body::from(b.to_string())).unwrap_or_default();
        let answer = self.send(token, method, path, &headers, body).await;
        (answer.status, answer.json())
    }

    pub async fn ok(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, value) = self.ask(token, method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {value}"
        );
        value
    }

    pub async fn image(&self, token: &str, extra: Value) -> String {
        let mut body = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.ok(token, "POST", "/v2/images", Some(body)).await;
        made["id"].as_str().unwrap().to_string()
    }

    pub async fn upload(&self, token: &str, id: &str, body: impl Into<Body>) -> Answer {
        let headers = [
            ("content-type", "application/octet-stream"),
            ("accept", "application/json"),
        ];
        let path = format!("/v2/images/{id}/file");
        self.send(token, "PUT", &path, &headers, body.into()).await
    }

    pub async fn patch(&self, token: &str, id: &str, patch: Value) -> (u16, Value) {
        let kind = "application/openstack-images-v2.1-json-patch";
        let headers = [("content-type", kind), ("accept", "application/json")];
        let path = format!("/v2/images/{id}");
        let answer = self
            .send(token, "PATCH", &path, &headers, patch.to_string().into())
            .await;
        (answer.status, answer.json())
    }

    pub async fn status(&self, id: &str) -> Value {
        self.ok("admin", "GET", &format!("/v2/images/{id}"), None)
            .await["status"]
            .clone()
    }

    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}
