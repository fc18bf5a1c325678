//! nova on a database in memory, with callers whose tokens are their names and a compute host that only has consoles.

use crate::neighbours::Neighbours;
use async_trait::async_trait;
use base::{Clock, Error, Json, Result, Timestamp};
use futures::future::BoxFuture;
use nova::db::compute_nodes;
use nova::db::instances::{CachedAddress, CachedPort, InstanceRow};
use nova::instance::status::VmState;
use nova::{Built, Nova, Parts};
use nova_types::rpc::{
    ComputeApi, ComputeClient, ConsoleAddress, FlavorSpec, HostReport, InstanceSpec, PortSpec,
    PowerAction, PowerState, VolumeSpec,
};
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, HeaderMap};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use sdk::Sdk;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// `admin`; `alice` and `anna` in project p1; `bob` in p2.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        let token = headers
            .get("x-auth-token")
            .and_then(|v| v.to_str().ok())
            .map(str::to_string);
        Box::pin(async move {
            let token = token.ok_or_else(|| Error::unauthorized("no token"))?;
            let (project, roles): (_, &[&str]) = match token.as_str() {
                "admin" => ("admins", &["admin", "manager", "member", "reader"]),
                "bob" => ("p2", &["member", "reader"]),
                _ => ("p1", &["member", "reader"]),
            };
            Ok(RequestContext {
                user_id: Some(token.clone()),
                token: Some(token.into()),
                project_id: Some(project.into()),
                roles: roles.iter().map(|r| r.to_string()).collect(),
                ..RequestContext::anonymous()
            })
        })
    }
}

/// A compute host whose guests all show their screen at one port, and which may be out of order, or not get on.
struct Screens {
    port: AtomicU16,
    broken: AtomicBool,
    held: AtomicBool,
    powers: Mutex<Vec<(String, PowerAction)>>,
}

impl Screens {
    fn new(broken: bool) -> Arc<Screens> {
        Arc::new(Screens {
            port: AtomicU16::new(5900),
            broken: AtomicBool::new(broken),
            held: AtomicBool::new(false),
            powers: Mutex::default(),
        })
    }

    fn works(&self) -> Result<()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(Error::internal("the hypervisor is out of order")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ComputeApi for Screens {
    async fn prepare_instance(&self, _: &RequestContext, _: InstanceSpec) -> Result<()> {
        Ok(())
    }
    async fn ensure_instance(&self, _: &RequestContext, _: InstanceSpec) -> Result<PowerState> {
        self.works()?;
        while self.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(PowerState::Running)
    }
    async fn destroy_instance(&self, _: &RequestContext, _: String, _: bool) -> Result<()> {
        Ok(())
    }
    async fn power(
        &self,
        _: &RequestContext,
        uuid: String,
        action: PowerAction,
    ) -> Result<PowerState> {
        self.works()?;
        self.powers.lock().unwrap().push((uuid, action));
        Ok(match action {
            PowerAction::Stop { .. } => PowerState::Shutdown,
            PowerAction::Pause => PowerState::Paused,
            PowerAction::Suspend => PowerState::Suspended,
            _ => PowerState::Running,
        })
    }
    async fn attach_volume(&self, _: &RequestContext, _: String, _: VolumeSpec) -> Result<()> {
        self.works()
    }
    async fn detach_volume(&self, _: &RequestContext, _: String, _: String) -> Result<()> {
        Ok(())
    }
    async fn extend_volume(&self, _: &RequestContext, _: String, _: String, _: u64) -> Result<()> {
        Ok(())
    }
    async fn attach_port(&self, _: &RequestContext, _: String, _: PortSpec) -> Result<()> {
        self.works()
    }
    async fn detach_port(&self, _: &RequestContext, _: String, _: String) -> Result<()> {
        Ok(())
    }
    async fn console_output(
        &self,
        _: &RequestContext,
        _: String,
        _: Option<i64>,
    ) -> Result<String> {
        Ok(String::new())
    }
    async fn vnc_console(&self, _: &RequestContext, _: String) -> Result<ConsoleAddress> {
        Ok(ConsoleAddress {
            host: "127.0.0.1".into(),
            port: self.port.load(Ordering::SeqCst),
        })
    }
    async fn instance_state(&self, _: &RequestContext, _: String) -> Result<PowerState> {
        Ok(PowerState::Running)
    }
    async fn diagnostics(&self, _: &RequestContext, _: String) -> Result<Value> {
        Ok(Value::Null)
    }
}

pub struct Cloud {
    pub nova: Arc<Nova>,
    pub endpoint: Arc<dyn Endpoint>,
    pub clock: Clock,
    pub neighbours: Neighbours,
    pub bus: Bus,
    screens: Arc<Screens>,
    hosts: Vec<ServerHandle>,
    conf: nova::config::Conf,
    _first: Process,
}

/// A process of nova beside the first one.
pub struct Process {
    nova: Arc<Nova>,
    rpc: Vec<ServerHandle>,
    supervisor: Arc<Supervisor>,
}

impl Process {
    /// Its state.
    pub fn nova(&self) -> Arc<Nova> {
        Arc::clone(&self.nova)
    }

    /// Ends as a SIGKILL would.
    pub async fn kill(self) {
        drop(self.rpc);
        self.nova.engine.kill().await;
        self.supervisor.stop(Duration::ZERO).await;
    }
}

pub const ALL: Parts = Parts {
    conductor: true,
    scheduler: true,
};
pub const API: Parts = Parts {
    conductor: false,
    scheduler: false,
};
pub const CONDUCTOR: Parts = Parts {
    conductor: true,
    scheduler: false,
};
pub const SCHEDULER: Parts = Parts {
    conductor: false,
    scheduler: true,
};

async fn start(
    db: &Db,
    bus: &Bus,
    neighbours: &Neighbours,
    conf: &nova::config::Conf,
    clock: &Clock,
    host: &str,
    parts: Parts,
) -> (Arc<dyn Endpoint>, Process) {
    let supervisor = Arc::new(Supervisor::new());
    let deps = nova::Deps {
        db: db.clone(),
        bus: bus.clone(),
        sdk: Sdk::new(Arc::new(neighbours.transport()), Default::default()),
        auth: Arc::new(Names),
        conf: conf.clone(),
        clock: clock.clone(),
        supervisor: Arc::clone(&supervisor),
        policy_file: None,
        identity_uri: "http://127.0.0.1:5000/".into(),
        host: host.into(),
        parts,
    };
    let Built {
        endpoint,
        state,
        rpc,
        ..
    } = nova::build(deps).await.unwrap();
    let process = Process {
        nova: state,
        rpc,
        supervisor,
    };
    (endpoint, process)
}

pub const SECRET: &str = "metadata-secret";

impl Cloud {
    /// A cloud with one compute host, `host1`, which has just reported.
    pub async fn new() -> Cloud {
        Cloud::of(ALL, |_| ()).await
    }

    /// The same, whose first process is these parts of nova.
    pub async fn of(parts: Parts, change: impl FnOnce(&mut nova::config::Conf)) -> Cloud {
        Cloud::over(Bus::in_process(), parts, change).await
    }

    /// The same, over that bus.
    pub async fn over(
        bus: Bus,
        parts: Parts,
        change: impl FnOnce(&mut nova::config::Conf),
    ) -> Cloud {
        let db = Db::open("sqlite::memory:").await.unwrap();
        let clock = Clock::manual(Timestamp::parse("2026-11-23T12:00:00Z").unwrap());
        let neighbours = Neighbours::default();
        let mut conf = nova::config::Conf {
            metadata_proxy_shared_secret: SECRET.into(),
            ..Default::default()
        };
        change(&mut conf);
        let (endpoint, first) =
            start(&db, &bus, &neighbours, &conf, &clock, "controller", parts).await;
        let screens = Screens::new(false);
        let host = ComputeClient::serve(&bus, "host1", Arc::clone(&screens))
            .await
            .unwrap();
        let cloud = Cloud {
            neighbours,
            bus,
            nova: Arc::clone(&first.nova),
            endpoint,
            clock,
            screens,
            hosts: vec![host],
            conf,
            _first: first,
        };
        cloud.heartbeat("host1").await;
        cloud
    }

    /// Another process of nova, on the same database and bus.
    pub async fn process(&self, host: &str, parts: Parts) -> Process {
        let (db, bus, clock) = (&self.nova.db, &self.bus, &self.clock);
        start(db, bus, &self.neighbours, &self.conf, clock, host, parts)
            .await
            .1
    }

    /// The first host is out of order, until this is taken back.
    pub fn break_host(&self, broken: bool) {
        self.screens.broken.store(broken, Ordering::SeqCst);
    }

    /// Guests do not start before this is taken back.
    pub fn hold(&self, held: bool) {
        self.screens.held.store(held, Ordering::SeqCst);
    }

    /// What the first host was told to do to guests.
    pub fn powers(&self) -> Vec<(String, PowerAction)> {
        self.screens.powers.lock().unwrap().clone()
    }

    /// What a host would report.
    pub fn report(&self, host: &str) -> HostReport {
        HostReport {
            host: host.to_string(),
            hypervisor_hostname: format!("{host}.example"),
            hypervisor_type: "QEMU".into(),
            hypervisor_version: 7002000,
            host_ip: "10.1.1.1".into(),
            vcpus: 8,
            memory_mb: 16384,
            local_gb: 100,
            disk_available_gb: 90,
            cpu_info: serde_json::json!({"arch": "x86_64"}),
            driver: "fake".into(),
            uptime_s: 90061,
            reported_at: self.clock.now(),
            ..HostReport::default()
        }
    }

    /// What a host's report leaves in the database.
    pub async fn heartbeat(&self, host: &str) {
        let (report, now) = (self.report(host), self.clock.now());
        let seen = self
            .nova
            .db
            .write(move |tx| compute_nodes::report(tx, &report, now))
            .await
            .unwrap();
        self.neighbours.provider(&seen.node.id);
    }

    /// Another compute host, on which guests start or do not.
    pub async fn host(&mut self, name: &str, broken: bool) {
        let host = ComputeClient::serve(&self.bus, name, Screens::new(broken));
        self.hosts.push(host.await.unwrap());
        self.heartbeat(name).await;
    }

    /// What `see` makes of the reply to a GET, once it makes something of it.
    pub async fn wait<T>(&self, who: &str, path: &str, see: impl Fn(&Value) -> Option<T>) -> T {
        for _ in 0..3000 {
            if let Some(seen) = see(&self.get(who, "2.96", path).await) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path}: {}", self.get(who, "2.96", path).await);
    }

    /// A server that nobody works on any more.
    pub async fn settled(&self, id: &str) -> Value {
        let path = format!("/v2.1/servers/{id}");
        let quiet = |s: &Value| {
            s["server"]["OS-EXT-STS:task_state"]
                .is_null()
                .then(|| s["server"].clone())
        };
        self.wait("admin", &path, quiet).await
    }

    /// Where the guests' screens listen from now on.
    pub fn screens_at(&self, port: u16) {
        self.screens.port.store(port, Ordering::SeqCst);
    }

    /// An active server of project p1 on host1, as a finished boot leaves it.
    pub async fn server(&self, change: impl FnOnce(&mut InstanceRow)) -> InstanceRow {
        let now = self.clock.now();
        let address = CachedAddress {
            ip: "10.0.0.5".into(),
            version: 4,
            cidr: "10.0.0.0/24".into(),
            gateway: Some("10.0.0.1".into()),
            dhcp: true,
            floating: vec!["203.0.113.9".into()],
            ..CachedAddress::default()
        };
        let port = CachedPort {
            id: base::new_id(),
            mac: "fa:16:3e:11:22:33".into(),
            mtu: 1450,
            addresses: vec![address],
            vif_type: "bridge".into(),
            ..CachedPort::default()
        };
        let flavor = FlavorSpec {
            flavor_id: "1".into(),
            name: "m1.tiny".into(),
            vcpus: 2,
            memory_mb: 512,
            root_gb: 3,
            ..FlavorSpec::default()
        };
        let mut row = InstanceRow {
            id: base::new_id(),
            project_id: "p1".into(),
            user_id: "alice".into(),
            display_name: "web".into(),
            description: None,
            hostname: "web".into(),
            vm_state: VmState::Active,
            task_state: None,
            power_state: 1,
            host: Some("host1".into()),
            node: Some("host1.example".into()),
            image_ref: Some(base::new_id()),
            flavor_id: "1".into(),
            flavor: Json(flavor),
            vcpus: 2,
            memory_mb: 512,
            disk_gb: 3,
            key_name: None,
            key_data: None,
            user_data: None,
            metadata: Json(Default::default()),
            system_metadata: Json(Default::default()),
            tags: Json(Vec::new()),
            network_info: Json(vec![port]),
            security_groups: Json(vec!["default".into()]),
            config_drive: false,
            availability_zone: Some("nova".into()),
            requested_zone: None,
            root_device_name: Some("/dev/vda".into()),
            disk_config: "MANUAL".into(),
            access_ip_v4: None,
            access_ip_v6: None,
            reservation_id: "r-1".into(),
            launch_index: 0,
            progress: 100,
            locked: false,
            locked_by: None,
            locked_reason: None,
            fault: None,
            server_group_id: None,
            created_at: now,
            updated_at: None,
            launched_at: Some(now),
            terminated_at: None,
            deleted_at: None,
        };
        change(&mut row);
        let copy = row.clone();
        self.nova
            .db
            .write(move |tx| {
                tx.insert(&copy)?;
                nova::db::addresses::replace(tx, &copy.id, &copy.network_info.0)
            })
            .await
            .unwrap();
        row
    }

    /// One request: status and JSON body.
    pub async fn ask(
        &self,
        who: &str,
        version: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "nova:8774")
            .header("openstack-api-version", format!("compute {version}"))
            .header("content-type", "application/json");
        if !who.is_empty() {
            request = request.header("x-auth-token", who);
        }
        let body = body.map(|b| Body::from(b.to_string())).unwrap_or_default();
        let reply = self.endpoint.call(request.body(body).unwrap()).await;
        let status = reply.status.as_u16();
        let bytes = reply.body.collect(64 << 20).await.unwrap();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    /// A GET that must succeed.
    pub async fn get(&self, who: &str, version: &str, path: &str) -> Value {
        let (status, body) = self.ask(who, version, "GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// A POST that must succeed.
    pub async fn post(&self, who: &str, version: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(who, version, "POST", path, Some(body)).await;
        assert!(
            (200..300).contains(&status),
            "POST {path}: {status} {answer}"
        );
        answer
    }

    /// The status and the words of a refusal.
    pub async fn refused(
        &self,
        who: &str,
        version: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, String) {
        let (status, answer) = self.ask(who, version, method, path, body).await;
        let words = answer
            .as_object()
            .and_then(|o| o.values().next())
            .and_then(|v| v["message"].as_str());
        (status, words.unwrap_or("").to_string())
    }
}
