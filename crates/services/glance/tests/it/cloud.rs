//! A glance on a database in memory and a folder of its own.

use base::{Clock, Error, Result, Timestamp};
use futures::future::BoxFuture;
use glance::{Conf, Deps, Glance, ImageInspector, Verdict};
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, HeaderMap, Reply};
use oslo_service::Supervisor;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// `admin`; `system` is an administrator of the system; `reader-p1` reads in `p1`; every other token is a member of the project of its name.
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
                "system" => ("", &["admin", "member", "reader"]),
                other => (other, &["member", "reader"]),
            };
            Ok(RequestContext {
                user_id: Some(format!("user-{token}")),
                project_id: (!project.is_empty()).then(|| project.to_string()),
                system_scope: project.is_empty().then(|| "all".to_string()),
                token: Some(base::Secret::new(token.as_str())),
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

    fn finish(self: Box<Self>, disk_format: &str, container_format: &str) -> Verdict {
        let judged = self.0.finish().against(disk_format, container_format);
        Verdict {
            format: judged.found,
            agrees: judged.agrees,
            virtual_size: judged.virtual_size,
            problems: judged.problems,
        }
    }
}

struct QemuImg(host_privsep::Privsep);

#[async_trait::async_trait]
impl glance::ImageConverter for QemuImg {
    async fn convert(
        &self,
        source: &Path,
        target: &Path,
        from: &str,
        to: &str,
        largest: u64,
    ) -> Result<()> {
        let format = |name| host_imagefmt::Format::parse(name);
        let (from, to) = (format(from)?, format(to)?);
        host_imagefmt::convert_within(&self.0, source, target, from, to, largest).await
    }
}

/// As much of keystone as glance asks for: a catalog, and limits.
#[derive(Default)]
pub struct Identity {
    /// Region and address of further glances.
    pub regions: Mutex<Vec<(String, String)>>,
    /// Where a key manager is.
    pub key_manager: Mutex<Option<String>>,
    /// Limits for all, and those of single projects.
    pub registered: Mutex<Vec<Value>>,
    pub limits: Mutex<Vec<Value>>,
    /// Tokens that asked for the catalog.
    pub asked: Mutex<Vec<String>>,
}

impl Identity {
    pub fn limit(&self, name: &str, value: i64) {
        let limit =
            json!({"resource_name": name, "region_id": "RegionOne", "default_limit": value});
        let mut all = self.registered.lock().unwrap();
        all.retain(|l| l["resource_name"] != name);
        all.push(limit);
    }

    fn answer(&self, method: &str, path: &str, token: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match (method, path) {
            ("POST", "/v3/auth/tokens") => (
                201,
                json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z"}}),
            ),
            ("GET", "/v3/auth/catalog") => {
                self.asked.lock().unwrap().push(token.to_string());
                let mut regions = self.regions.lock().unwrap().clone();
                regions.push(("RegionOne".to_string(), "http://127.0.0.1:1".to_string()));
                let endpoint = |(region, url): &(String, String)| json!({"id": "e", "interface": "public", "region": region, "region_id": region, "url": url});
                let endpoints: Vec<_> = regions.iter().map(endpoint).collect();
                let image = json!({"id": "the-image-service", "type": "image", "name": "glance", "endpoints": endpoints});
                let mut catalog = vec![image];
                if let Some(url) = &*self.key_manager.lock().unwrap() {
                    let there = json!([{"id": "k", "interface": "public", "region_id": "RegionOne", "url": url}]);
                    catalog.push(json!({"id": "the-key-manager", "type": "key-manager", "name": "barbican", "endpoints": there}));
                }
                (200, json!({"catalog": catalog}))
            }
            ("GET", "/v3/registered_limits") if query == "service_id=the-image-service" => {
                let all = self.registered.lock().unwrap().clone();
                (200, json!({"registered_limits": all}))
            }
            ("GET", "/v3/limits") => {
                let project = query.split("project_id=").nth(1).unwrap_or_default();
                let mut all = self.limits.lock().unwrap().clone();
                all.retain(|l| l["project_id"] == project);
                (200, json!({"limits": all}))
            }
            _ => (
                404,
                json!({"error": {"message": format!("{method} {path}?{query}")}}),
            ),
        }
    }
}

impl Endpoint for Identity {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let path = request.uri().path_and_query().unwrap().to_string();
            let token = request.headers().get("x-auth-token");
            let token = token.and_then(|t| t.to_str().ok()).unwrap_or_default();
            let (status, body) = self.answer(request.method().as_str(), &path, token);
            let reply = Reply::json(status, &body).unwrap();
            reply.header("x-subject-token", "glance's own")
        })
    }

    fn routes(&self) -> Vec<oslo_http::RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "keystone"
    }
}

pub struct Cloud {
    pub identity: Arc<Identity>,
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
        let identity = Arc::new(Identity::default());
        let mut cloud = Cloud::start(identity, db, folder, clock, conf).await;
        cloud.keeper = true;
        cloud
    }

    /// The words with which a glance of this configuration does not start.
    pub async fn refused(conf: Conf) -> String {
        let folder = std::env::temp_dir().join(format!("glance-{}", base::new_id()));
        let (db, clock) = (database().await, Clock::real());
        let started = Cloud::build(Arc::default(), db, &folder, clock, conf, &Arc::default()).await;
        for name in ["", "-staging"] {
            let _ = std::fs::remove_dir_all(format!("{}{name}", folder.display()));
        }
        started.err().unwrap().message().to_string()
    }

    /// Another process on the same database and folder.
    pub async fn again(&self) -> Cloud {
        self.again_with(self.conf.clone()).await
    }

    /// The same, with another configuration.
    pub async fn again_with(&self, conf: Conf) -> Cloud {
        Cloud::start(
            Arc::clone(&self.identity),
            self.db.clone(),
            self.folder.clone(),
            self.clock.clone(),
            conf,
        )
        .await
    }

    /// As many searches for files that nobody knows as it takes to look at all.
    pub async fn search_files(&self) {
        let files = glance::periodic::files::Files::new(&self.state);
        for _ in 0..glance::periodic::files::SEARCHES {
            oslo_service::Reconciler::run(&files).await.unwrap();
        }
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

    async fn build(
        identity: Arc<Identity>,
        db: Db,
        folder: &Path,
        clock: Clock,
        conf: Conf,
        supervisor: &Arc<Supervisor>,
    ) -> Result<glance::Built> {
        let neighbours = sdk::InProcess::default();
        neighbours.register("identity", identity as Arc<dyn Endpoint>);
        let deps = Deps {
            db,
            auth: Arc::new(Names),
            conf: Conf {
                filesystem_store_datadir: folder.to_path_buf(),
                endpoint_region_name: "RegionOne".to_string(),
                ..conf
            },
            clock,
            supervisor: Arc::clone(supervisor),
            inspectors: Arc::new(|| Box::new(Real(host_imagefmt::Inspector::new()))),
            converter: Arc::new(QemuImg(host_privsep::Privsep::new())),
            sdk: sdk::Sdk::new(Arc::new(neighbours), sdk::ServiceCredentials::default()),
        };
        glance::build(deps).await
    }

    async fn start(
        identity: Arc<Identity>,
        db: Db,
        folder: PathBuf,
        clock: Clock,
        conf: Conf,
    ) -> Cloud {
        let supervisor = Arc::new(Supervisor::new());
        let parts = (Arc::clone(&identity), db.clone(), clock.clone());
        let built = Cloud::build(
            parts.0,
            parts.1,
            &folder,
            parts.2,
            conf.clone(),
            &supervisor,
        );
        let built = built.await.unwrap();
        let (endpoint, state) = (built.endpoint, built.state);
        Cloud {
            identity,
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
        crate::answers::check(method, path, status, &bytes);
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
