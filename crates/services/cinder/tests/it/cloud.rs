//! A cinder with one backend, a keystone that knows everybody, a glance with one image and a nova that listens.

use async_trait::async_trait;
use base::{Clock, Error, Result, Secret};
use cinder_types::{
    BackendReport, Manageable, Noun, SchedulerClient, SnapshotSpec, SourceRef, VolumeApi,
    VolumeClient, VolumeInfo, VolumeSpec,
};
use futures::future::BoxFuture;
use http::{HeaderMap, Method};
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, Reply, StatusCode};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use sdk::{InProcess, Sdk, ServiceCredentials};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

pub const IMAGE: &str = "6c5a1a8e-3f0f-4d4f-9a67-0d1b5a3f1111";
pub const SERVER: &str = "0d0f8f7e-8c4a-4a1e-b1df-0b9b5f1d2222";
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Remembers volumes; can be told to wait or to fail.
pub struct ToyAgent {
    pub volumes: Mutex<BTreeMap<String, i64>>,
    /// The volumes that snapshots are of.
    pub snapshots: Mutex<BTreeMap<String, String>>,
    /// What is there that is not cinder's, with its GiB.
    pub strays: Mutex<BTreeMap<String, i64>>,
    /// What else was asked, in words.
    pub heard: Mutex<Vec<String>>,
    pub creates: Mutex<u32>,
    /// The `driver_volume_type` of connections.
    pub protocol: Mutex<&'static str>,
    pub fail: Mutex<Option<Error>>,
    /// Creates take one permit each.
    pub gate: Semaphore,
    /// Permits appear when a create has come to the gate.
    pub waiting: Semaphore,
}

impl ToyAgent {
    fn hear(&self, words: String) {
        self.heard.lock().unwrap().push(words);
    }

    pub fn new() -> ToyAgent {
        ToyAgent {
            volumes: Mutex::default(),
            snapshots: Mutex::default(),
            strays: Mutex::default(),
            heard: Mutex::default(),
            creates: Mutex::default(),
            protocol: Mutex::new("local"),
            fail: Mutex::default(),
            gate: Semaphore::new(1000),
            waiting: Semaphore::new(0),
        }
    }

    fn failing(&self) -> Result<()> {
        self.fail.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl VolumeApi for ToyAgent {
    async fn create_volume(&self, _: &RequestContext, spec: VolumeSpec) -> Result<VolumeInfo> {
        self.failing()?;
        *self.creates.lock().unwrap() += 1;
        self.waiting.add_permits(1);
        let permit = self.gate.acquire().await.unwrap();
        drop(permit);
        if let Some(id) = &spec.snapshot_id {
            if !self.snapshots.lock().unwrap().contains_key(id) {
                return Err(Error::not_found("no such snapshot"));
            }
            self.hear(format!("{} is snapshot {id}", spec.id));
        }
        if let Some(source) = &spec.source {
            if !self.volumes.lock().unwrap().contains_key(&source.id) {
                return Err(Error::not_found("no such volume"));
            }
            let in_use = source.in_use;
            self.hear(format!("{} is volume {}, {in_use}", spec.id, source.id));
        }
        self.volumes
            .lock()
            .unwrap()
            .insert(spec.id.clone(), spec.size);
        Ok(VolumeInfo {
            provider_id: Some(format!("toy-{}", spec.id)),
            provider_location: None,
        })
    }

    async fn delete_volume(&self, _: &RequestContext, volume_id: String) -> Result<()> {
        self.failing()?;
        self.volumes.lock().unwrap().remove(&volume_id);
        Ok(())
    }

    async fn extend_volume(&self, _: &RequestContext, id: String, new_size: i64) -> Result<()> {
        self.failing()?;
        self.volumes.lock().unwrap().insert(id, new_size);
        Ok(())
    }

    async fn create_snapshot(&self, _: &RequestContext, spec: SnapshotSpec) -> Result<VolumeInfo> {
        self.failing()?;
        *self.creates.lock().unwrap() += 1;
        self.waiting.add_permits(1);
        let permit = self.gate.acquire().await.unwrap();
        drop(permit);
        if spec.volume.in_use {
            self.hear(format!("{} is of a volume in use", spec.id));
        }
        self.snapshots
            .lock()
            .unwrap()
            .insert(spec.id, spec.volume.id);
        Ok(VolumeInfo::default())
    }

    async fn delete_snapshot(&self, _: &RequestContext, snapshot_id: String) -> Result<()> {
        self.failing()?;
        self.snapshots.lock().unwrap().remove(&snapshot_id);
        Ok(())
    }

    async fn revert_to_snapshot(
        &self,
        _: &RequestContext,
        volume_id: String,
        snapshot_id: String,
    ) -> Result<()> {
        self.failing()?;
        let of = self.snapshots.lock().unwrap().get(&snapshot_id).cloned();
        if of.as_ref() != Some(&volume_id) {
            return Err(Error::not_found("no such snapshot of this volume"));
        }
        self.hear(format!("{volume_id} reverts to {snapshot_id}"));
        Ok(())
    }

    async fn manageable(&self, _: &RequestContext, noun: Noun) -> Result<Vec<Manageable>> {
        self.failing()?;
        let thing = |name: String, size, id| Manageable {
            name,
            size,
            id,
            reason: None,
        };
        let strays = self.strays.lock().unwrap().clone();
        let mut found: Vec<_> = strays.into_iter().map(|(n, s)| thing(n, s, None)).collect();
        match noun {
            Noun::Volume => {
                for (id, size) in &*self.volumes.lock().unwrap() {
                    found.push(thing(format!("volume-{id}"), *size, Some(id.clone())));
                }
            }
            Noun::Snapshot => {
                for id in self.snapshots.lock().unwrap().keys() {
                    found.push(thing(format!("snapshot-{id}"), 1, Some(id.clone())));
                }
            }
        }
        Ok(found)
    }

    async fn measure(&self, _: &RequestContext, _: Noun, reference: Value) -> Result<i64> {
        self.failing()?;
        let name = reference["source-name"].as_str().unwrap_or("");
        let size = self.strays.lock().unwrap().get(name).copied();
        size.ok_or_else(|| Error::bad_request("invalid backend reference"))
    }

    async fn manage(
        &self,
        _: &RequestContext,
        noun: Noun,
        id: String,
        reference: Value,
    ) -> Result<()> {
        self.failing()?;
        let done = match noun {
            Noun::Volume => self.volumes.lock().unwrap().contains_key(&id),
            Noun::Snapshot => self.snapshots.lock().unwrap().contains_key(&id),
        };
        if done {
            return Ok(());
        }
        let name = reference["source-name"].as_str().unwrap_or("");
        let size = self.strays.lock().unwrap().remove(name);
        let size = size.ok_or_else(|| Error::bad_request("invalid backend reference"))?;
        match noun {
            Noun::Volume => drop(self.volumes.lock().unwrap().insert(id, size)),
            Noun::Snapshot => drop(self.snapshots.lock().unwrap().insert(id, String::new())),
        }
        Ok(())
    }

    async fn unmanage(&self, _: &RequestContext, noun: Noun, id: String) -> Result<()> {
        self.failing()?;
        let size = match noun {
            Noun::Volume => self.volumes.lock().unwrap().remove(&id),
            Noun::Snapshot => self.snapshots.lock().unwrap().remove(&id).map(|_| 1),
        };
        let mut strays = self.strays.lock().unwrap();
        strays.extend(size.map(|size| (format!("left-{id}"), size)));
        Ok(())
    }

    async fn upload_volume(
        &self,
        _: &RequestContext,
        volume: SourceRef,
        size: i64,
        image_id: String,
        disk_format: String,
    ) -> Result<()> {
        self.hear(format!(
            "upload {} {size} {image_id} {disk_format} {}",
            volume.id, volume.in_use
        ));
        self.waiting.add_permits(1);
        drop(self.gate.acquire().await.unwrap());
        self.failing()
    }

    async fn initialize_connection(
        &self,
        _: &RequestContext,
        id: String,
        attachment_id: Option<String>,
        connector: Value,
        read_only: bool,
    ) -> Result<Value> {
        self.failing()?;
        Ok(
            json!({"driver_volume_type": *self.protocol.lock().unwrap(), "data": {"path": format!("/toy/{id}"),
            "format": "raw", "access_mode": if read_only { "ro" } else { "rw" }, "seen": connector["host"], "tls_psk": attachment_id}}),
        )
    }

    async fn terminate_connection(
        &self,
        _: &RequestContext,
        _: String,
        _: Option<String>,
        _: Value,
    ) -> Result<()> {
        self.failing()
    }
}

/// Tokens are names.
struct ByName;

impl Authenticate for ByName {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let token = headers
                .get("x-auth-token")
                .and_then(|v| v.to_str().ok())
                .unwrap_or("");
            let (project, roles): (&str, &[&str]) = match token {
                "ann" => ("p1", &["member", "reader"]),
                "amy" => ("p1", &["reader"]),
                "bob" => ("p2", &["member", "reader"]),
                "admin" => ("ops", &["admin", "member", "reader"]),
                "nova" => ("service", &["service", "admin", "member", "reader"]),
                _ => return Err(Error::unauthorized("who are you?")),
            };
            let service = headers.contains_key("x-service-token");
            Ok(RequestContext {
                user_id: Some(format!("user-{token}")),
                project_id: Some(project.into()),
                roles: roles.iter().map(|r| r.to_string()).collect(),
                service_roles: if service {
                    vec!["service".into()]
                } else {
                    vec![]
                },
                token: Some(Secret::new(token)),
                ..RequestContext::anonymous()
            })
        })
    }
}

/// Keystone, glance and nova, as far as cinder asks them.
#[derive(Default)]
pub struct Neighbours {
    pub events: Mutex<Vec<Value>>,
    /// Whether nova has the server, and under which attachment.
    pub server_uses: Mutex<Option<String>>,
    /// Where nova has the server.
    pub server_host: Mutex<Option<String>>,
    /// Images that were made here.
    pub images: Mutex<BTreeMap<String, Value>>,
}

impl Neighbours {
    fn is_made(&self, path: &str, method: &Method) -> bool {
        let id = path.rsplit('/').next().unwrap_or_default();
        (path == "/v2/images" && *method == Method::POST)
            || self.images.lock().unwrap().contains_key(id)
    }

    /// What glance does with an image of ours.
    fn made(&self, method: &Method, id: &str, body: &[u8]) -> Reply {
        let mut images = self.images.lock().unwrap();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if *method == Method::POST {
            if body["disk_format"] == "ploop" {
                return Reply::json(400, &json!({"message": "no ploop here"})).unwrap();
            }
            let mut image = body;
            image["id"] = json!(base::new_id());
            image["status"] = json!("queued");
            images.insert(image["id"].as_str().unwrap().into(), image.clone());
            return Reply::json(201, &image).unwrap();
        }
        if *method == Method::DELETE {
            assert_eq!(images.remove(id).unwrap()["protected"], false);
            return Reply::empty(204);
        }
        let image = images.get_mut(id).unwrap();
        for op in body.as_array().into_iter().flatten() {
            image[&op["path"].as_str().unwrap()[1..]] = op["value"].clone();
        }
        Reply::json(200, image).unwrap()
    }
}

impl Endpoint for Neighbours {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_string();
            let json = |status, body: Value| Reply::json(status, &body).unwrap();
            let body = body.collect(1 << 20).await.unwrap();
            if path == "/v3/auth/tokens" {
                return json(
                    201,
                    json!({"token": {"expires_at": "2099-01-01T00:00:00Z"}}),
                )
                .header("x-subject-token", "nova");
            }
            if path == "/v3/projects/p1" {
                return json(200, json!({"project": {"id": "p1"}}));
            }
            let made = path
                .strip_prefix("/v2/images")
                .filter(|_| self.is_made(&path, &parts.method));
            if let Some(id) = made {
                return self.made(&parts.method, id.trim_start_matches('/'), &body);
            }
            if path == format!("/v2/images/{IMAGE}") {
                return json(
                    200,
                    json!({"id": IMAGE, "name": "cirros", "status": "active",
                    "size": 1000, "virtual_size": 2u64 << 30, "min_disk": 1, "min_ram": 0,
                    "disk_format": "qcow2", "container_format": "bare", "checksum": "abc",
                    "os_distro": "cirros"}),
                );
            }
            if path == "/v2.1/os-server-external-events" {
                let body: Value = serde_json::from_slice(&body).unwrap();
                self.events.lock().unwrap().push(body);
                return json(200, json!({"events": []}));
            }
            if let Some(host) = self.server_host.lock().unwrap().as_ref()
                && path == format!("/v2.1/servers/{SERVER}")
            {
                return json(200, json!({"server": {"OS-EXT-SRV-ATTR:host": host}}));
            }
            match self.server_uses.lock().unwrap().as_ref() {
                Some(id) if path.contains("os-volume_attachments") => {
                    json(200, json!({"volumeAttachment": {"attachment_id": id}}))
                }
                _ => json(404, json!({"itemNotFound": {"code": 404, "message": "no"}})),
            }
        })
    }

    fn routes(&self) -> Vec<oslo_http::RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "neighbours"
    }
}

pub struct Cloud {
    pub endpoint: Arc<dyn Endpoint>,
    pub state: Arc<cinder::Cinder>,
    pub agent: Arc<ToyAgent>,
    pub neighbours: Arc<Neighbours>,
    pub db: Db,
    pub bus: Bus,
    supervisor: Arc<Supervisor>,
    _servers: Vec<ServerHandle>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Fails the test, showing the body, if the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The message of a fault.
    #[track_caller]
    pub fn fault(self, status: u16, key: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body[key]["code"], status, "{}", self.body);
        self.body[key]["message"].as_str().unwrap().to_string()
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        Cloud::with(cinder::Conf::default()).await
    }

    pub async fn with(conf: cinder::Conf) -> Cloud {
        Cloud::on("sqlite::memory:", conf).await
    }

    pub async fn on(database: &str, conf: cinder::Conf) -> Cloud {
        let db = Db::open(database).await.unwrap();
        let bus = Bus::in_process();
        let agent = Arc::new(ToyAgent::new());
        let server = VolumeClient::serve(&bus, "h1@toy", agent.clone())
            .await
            .unwrap();
        let mut cloud = Cloud::over(db, bus, agent, conf).await;
        cloud._servers.push(server);
        cloud.report("h1@toy", 1000.0).await;
        cloud
    }

    async fn over(db: Db, bus: Bus, agent: Arc<ToyAgent>, conf: cinder::Conf) -> Cloud {
        let parts = cinder::Parts {
            api: true,
            scheduler: true,
        };
        Cloud::start(db, bus, agent, conf, parts).await
    }

    /// Another process of the same cloud, on a host of that name.
    pub async fn beside(&self, db: Db, host: &str, parts: cinder::Parts) -> Cloud {
        let conf = cinder::Conf {
            host: host.into(),
            ..cinder::Conf::default()
        };
        Cloud::start(db, self.bus.clone(), self.agent.clone(), conf, parts).await
    }

    /// Ends this process as SIGKILL would; the agent, which is elsewhere, goes on while the answer is kept.
    pub async fn kill(mut self) -> Option<ServerHandle> {
        self.state.engine.kill().await;
        self.supervisor.stop(Duration::ZERO).await;
        self._servers.pop()
    }

    async fn start(
        db: Db,
        bus: Bus,
        agent: Arc<ToyAgent>,
        conf: cinder::Conf,
        parts: cinder::Parts,
    ) -> Cloud {
        let neighbours = Arc::new(Neighbours::default());
        let transport = InProcess::default();
        for service in ["identity", "image", "compute"] {
            transport.register(service, neighbours.clone());
        }
        let supervisor = Arc::new(Supervisor::new());
        let built = cinder::build(cinder::Deps {
            db: db.clone(),
            bus: bus.clone(),
            sdk: Sdk::new(Arc::new(transport), ServiceCredentials::default()),
            auth: Arc::new(ByName),
            conf,
            clock: Clock::real(),
            supervisor: supervisor.clone(),
            parts,
        })
        .await
        .unwrap();
        Cloud {
            endpoint: built.endpoint,
            state: built.state,
            agent,
            neighbours,
            db,
            bus,
            supervisor,
            _servers: built.servers,
        }
    }

    /// The process dies; another one takes its place.
    pub async fn crash(mut self) -> Cloud {
        self.state.engine.kill().await;
        self.supervisor.stop(Duration::from_secs(5)).await;
        let agent_server = self._servers.pop();
        let next = Cloud::over(
            self.db.clone(),
            self.bus.clone(),
            self.agent.clone(),
            cinder::Conf::default(),
        );
        let mut next = next.await;
        next._servers.extend(agent_server);
        next
    }

    /// A backend's sign of life.
    pub async fn report(&self, host: &str, total: f64) {
        let report = BackendReport {
            host: host.into(),
            pool: "toy".into(),
            availability_zone: "nova".into(),
            total_capacity_gb: total,
            free_capacity_gb: total,
            thin: false,
            ..BackendReport::default()
        };
        let ctx = RequestContext::internal();
        SchedulerClient::new(&self.bus)
            .report_backend(&ctx, report)
            .await
            .unwrap();
    }

    /// All flows have ended.
    pub async fn idle(&self) {
        self.state.engine.wait_idle(PATIENCE).await.unwrap();
    }

    pub async fn call(
        &self,
        token: &str,
        version: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cloud:8776")
            .header("content-type", "application/json")
            .header("openstack-api-version", format!("volume {version}"));
        let (name, service) = token
            .split_once('+')
            .map_or((token, false), |(n, _)| (n, true));
        if !name.is_empty() {
            request = request.header("x-auth-token", name);
        }
        if service {
            request = request.header("x-service-token", "nova");
        }
        let body = body.map(|b| Body::from(b.to_string())).unwrap_or_default();
        let reply = self.endpoint.call(request.body(body).unwrap()).await;
        let bytes = reply.body.collect(1 << 20).await.unwrap();
        let status = StatusCode::as_u16(&reply.status);
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            headers: reply.headers,
            body,
        }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, "3.71", Method::GET, path, None).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, "3.71", Method::POST, path, Some(body))
            .await
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, "3.71", Method::PUT, path, Some(body))
            .await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.call(token, "3.71", Method::DELETE, path, None).await
    }

    /// A volume of ann's that is available; its id.
    pub async fn volume(&self, body: Value) -> String {
        let answer = self
            .post("ann", "/v3/p1/volumes", json!({"volume": body}))
            .await;
        let id = answer.expect(202)["volume"]["id"]
            .as_str()
            .unwrap()
            .to_string();
        self.idle().await;
        assert_eq!(self.status(&id).await, "available");
        id
    }

    /// A snapshot of ann's that is available; its id.
    pub async fn snapshot(&self, volume_id: &str) -> String {
        let body = serde_json::json!({"snapshot": {"volume_id": volume_id}});
        let answer = self.post("ann", "/v3/p1/snapshots", body).await.expect(202);
        let id = answer["snapshot"]["id"].as_str().unwrap().to_string();
        self.idle().await;
        assert_eq!(self.snapshot_status(&id).await, "available");
        id
    }

    pub async fn snapshot_status(&self, id: &str) -> String {
        let shown = self.get("ann", &format!("/v3/snapshots/{id}")).await;
        let shown = shown.expect(200);
        shown["snapshot"]["status"].as_str().unwrap().to_string()
    }

    pub async fn show(&self, id: &str) -> Value {
        self.get("ann", &format!("/v3/p1/volumes/{id}"))
            .await
            .expect(200)["volume"]
            .take()
    }

    pub async fn status(&self, id: &str) -> String {
        self.show(id).await["status"].as_str().unwrap().to_string()
    }

    /// An action on a volume.
    pub async fn act(&self, token: &str, id: &str, body: Value) -> Answer {
        self.post(token, &format!("/v3/volumes/{id}/action"), body)
            .await
    }
}
