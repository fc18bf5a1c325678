//! A network service in a box: SQLite in memory, a bus in the process, tokens that are names.

use base::{Clock, Error, Result, Timestamp};
use futures::future::BoxFuture;
use http::HeaderMap;
use neutron::{Built, Conf, Deps};
use neutron_types::rpc::{
    AgentReport, HostNews, HostReport, HostState, PluginClient, PortsReport, Revisions,
};
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, Reply};
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use sdk::{InProcess, Sdk, ServiceCredentials};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// `alice-p1` is a member of p1, `admin` an administrator of project adm, `reader-p1` a reader.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let token = headers.get("x-auth-token").and_then(|v| v.to_str().ok());
            let token = token.ok_or_else(|| Error::unauthorized("no token"))?;
            let (user, project) = token.split_once('-').unwrap_or((token, "adm"));
            let roles: &[&str] = match user {
                "admin" => &["admin", "manager", "member", "reader"],
                "reader" => &["reader"],
                "service" => &["service"],
                _ => &["member", "reader"],
            };
            Ok(RequestContext {
                user_id: Some(user.into()),
                project_id: Some(project.into()),
                roles: roles.iter().map(|r| r.to_string()).collect(),
                ..RequestContext::anonymous()
            })
        })
    }
}

/// A neighbour that says yes to everything and remembers what it was told.
pub struct Neighbour {
    name: &'static str,
    pub heard: Mutex<Vec<Value>>,
}

impl Endpoint for Neighbour {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let body = request.into_body().collect(1 << 20).await.unwrap();
            self.heard
                .lock()
                .unwrap()
                .push(serde_json::from_slice(&body).unwrap_or_default());
            let token = json!({"token": {"expires_at": "2099-01-01T00:00:00Z"}});
            let status = if self.name == "identity" { 201 } else { 200 };
            Reply::json(status, &token)
                .unwrap()
                .header("x-subject-token", "service-service")
        })
    }

    fn routes(&self) -> Vec<oslo_http::RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

pub struct House {
    pub sdk: Sdk,
    pub compute: Arc<Neighbour>,
    pub built: Built,
    pub clock: Clock,
    pub db: Db,
    plugin: PluginClient,
    _supervisor: Arc<Supervisor>,
}

impl House {
    pub async fn new() -> House {
        House::with(Conf {
            flat_networks: vec!["physnet1".into()],
            ..Conf::default()
        })
        .await
    }

    pub async fn with(conf: Conf) -> House {
        House::on("sqlite::memory:", conf).await
    }

    pub async fn on(url: &str, conf: Conf) -> House {
        House::ruled(url, conf, None).await
    }

    /// With an operator's policy file.
    pub async fn ruled(url: &str, conf: Conf, policy_file: Option<PathBuf>) -> House {
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        House::server("control", url, Bus::in_process(), clock, conf, policy_file).await
    }

    /// One of several servers that share a database and a bus.
    pub async fn server(
        name: &str,
        url: &str,
        bus: Bus,
        clock: Clock,
        conf: Conf,
        policy_file: Option<PathBuf>,
    ) -> House {
        let neighbour = |name| {
            Arc::new(Neighbour {
                name,
                heard: Mutex::default(),
            })
        };
        let compute = neighbour("compute");
        let transport = InProcess::default();
        transport.register("identity", neighbour("identity"));
        transport.register("compute", compute.clone());
        let sdk = Sdk::new(Arc::new(transport.clone()), ServiceCredentials::default());
        let supervisor = Arc::new(Supervisor::new());
        let db = Db::open(url).await.unwrap();
        let built = neutron::build(Deps {
            db: db.clone(),
            bus: bus.clone(),
            sdk: sdk.clone(),
            auth: Arc::new(Names),
            conf,
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
            policy_file,
            server_name: name.into(),
        })
        .await
        .unwrap();
        transport.register("network", Arc::clone(&built.endpoint));
        House {
            sdk,
            compute,
            built,
            clock,
            db,
            plugin: PluginClient::new(bus),
            _supervisor: supervisor,
        }
    }

    pub async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", token)
            .header("host", "net:9696");
        let body = body.map_or(Body::Empty, |b| Body::from(b.to_string()));
        let reply = self.built.endpoint.call(request.body(body).unwrap()).await;
        let status = reply.status.as_u16();
        let bytes = reply.body.collect(1 << 24).await.unwrap();
        let value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        (status, value)
    }

    pub async fn get(&self, token: &str, path: &str) -> Value {
        let (status, body) = self.call(token, "GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, reply) = self.call(token, "POST", path, Some(body)).await;
        assert_eq!(status, 201, "{path}: {reply}");
        reply
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, reply) = self.call(token, "PUT", path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {reply}");
        reply
    }

    pub async fn delete(&self, token: &str, path: &str) {
        let (status, reply) = self.call(token, "DELETE", path, None).await;
        assert_eq!(status, 204, "{path}: {reply}");
    }

    /// A request that must fail: its status, type and words.
    pub async fn refused(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, String, String) {
        let (status, body) = self.call(token, method, path, body).await;
        assert!(status >= 400, "{method} {path}: {status} {body}");
        let fault = &body["NeutronError"];
        (status, text(&fault["type"]), text(&fault["message"]))
    }

    pub async fn network(&self, token: &str, body: Value) -> String {
        text(
            &self
                .post(token, "/v2.0/networks", json!({"network": body}))
                .await["network"]["id"],
        )
    }

    pub async fn subnet(&self, token: &str, network: &str, cidr: &str) -> String {
        let version = if cidr.contains(':') { 6 } else { 4 };
        let body = json!({"subnet": {"network_id": network, "cidr": cidr, "ip_version": version}});
        text(&self.post(token, "/v2.0/subnets", body).await["subnet"]["id"])
    }

    pub async fn port(&self, token: &str, body: Value) -> Value {
        self.post(token, "/v2.0/ports", json!({"port": body})).await["port"].clone()
    }

    /// The agents of a host report.
    pub async fn agents(&self, host: &str) {
        let report = |kind: &str, binary: &str| AgentReport {
            agent_type: kind.into(),
            binary: binary.into(),
            topic: "N/A".into(),
            ..AgentReport::default()
        };
        let mut l2 = report("Linux bridge agent", "neutron-linuxbridge-agent");
        l2.configurations.insert(
            "tunneling_ip".into(),
            json!(format!("192.0.2.{}", host.len())),
        );
        let all = vec![
            l2,
            report("DHCP agent", "neutron-dhcp-agent"),
            report("L3 agent", "neutron-l3-agent"),
        ];
        let report = HostReport {
            host: host.into(),
            agents: all,
        };
        self.plugin
            .report_agents(&RequestContext::internal(), vec![report])
            .await
            .unwrap();
    }

    /// The agent of a host has these ports in place.
    pub async fn up(&self, host: &str, ports: &[&str]) {
        let report = PortsReport {
            host: host.into(),
            up: ports.iter().map(|p| p.to_string()).collect(),
            down: Vec::new(),
        };
        let ctx = RequestContext::internal();
        self.plugin.ports_status(&ctx, vec![report]).await.unwrap();
    }

    pub async fn state(&self, host: &str) -> HostState {
        match self.news(host, None).await {
            HostNews::All(state) => state,
            other => panic!("not all: {other:?}"),
        }
    }

    /// What is new for a host that knows this.
    pub async fn news(&self, host: &str, known: Option<&Revisions>) -> HostNews {
        self.plugin
            .host_state(&RequestContext::internal(), host.into(), known.cloned())
            .await
            .unwrap()
    }

    /// The first messages to the compute service, as soon as there are so many.
    pub async fn compute_heard(&self, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let heard = self.compute.heard.lock().unwrap().clone();
            if heard.len() >= count {
                return heard;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "never told");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn plugin(&self) -> &PluginClient {
        &self.plugin
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}
