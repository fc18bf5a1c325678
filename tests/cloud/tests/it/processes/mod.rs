//! A cloud of real processes: the program `ferrostack`, started once for each host with the host's role, over MariaDB,
//! RabbitMQ and Memcached. Two controllers, behind an address that both serve; hosts with guests, networks and volumes.

mod front;
mod program;

pub use front::LOST;
pub use program::says;

use crate::client::Endpoints;
use crate::cloud::Servers;
use crate::conf::Conf;
use base::Secret;
use ferrostack::secrets::Secrets;
use front::{Front, PORTS, Turns, Way, Ways};
use oslo_http::{Endpoint, RouteInfo};
use oslo_testing::cache::Memcached;
use program::Process;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Service type to its rows, as the services of a cloud in this process say.
pub type Routes = Arc<BTreeMap<&'static str, Vec<RouteInfo>>>;

/// Where such a cloud runs.
#[derive(Clone)]
pub struct Ground {
    pub servers: Servers,
    pub routes: Routes,
    /// Hosts with guests: `host1`, `host2`, …
    pub computes: usize,
}

/// A host, and the process on it.
struct Host {
    name: String,
    role: &'static str,
    /// Of a controller.
    way: Option<Arc<Way>>,
    process: Mutex<Option<Process>>,
    /// What it said when it was ready.
    said: Mutex<serde_json::Value>,
}

impl Host {
    fn new(name: String, role: &'static str, way: Option<Arc<Way>>) -> Host {
        Host {
            name,
            role,
            way,
            process: Mutex::default(),
            said: Mutex::default(),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().expect("a host")
    }

    fn is_up(&self, up: bool) {
        self.way.iter().for_each(|way| way.is_up(up));
    }
}

/// The cloud. Its processes are killed when it is dropped.
pub struct Processes {
    root: PathBuf,
    binary: PathBuf,
    ground: Ground,
    pub secrets: Secrets,
    hosts: Vec<Host>,
    pub memcached: Mutex<Memcached>,
    net: (u8, u8),
    _front: Front,
}

impl Processes {
    /// Writes every host's files below `root` and starts all hosts at the same time.
    pub async fn start(ground: Ground, conf: &Conf, root: &Path) -> Processes {
        let memcached = Memcached::start().await.expect("a Memcached");
        let (net, ways, front) = addresses().await;
        let at = |n: u8| Ipv4Addr::new(127, net.0, net.1, n);
        let conf = conf
            .clone()
            .set("DEFAULT", "transport_url", ground.servers.bus.as_str())
            .set("api", "public_host", at(1).to_string());
        let of_controllers = conf
            .clone()
            .set("database", "connection", ground.servers.database.as_str())
            .set("cache", "enabled", true)
            .set("cache", "memcache_servers", vec![memcached.address()]);
        let word = |name: &str| Secret::new(format!("{name}-of-tests"));
        let secrets = Secrets {
            admin_password: word("admin"),
            demo_password: word("demo"),
            service_password: word("service"),
            metadata_shared_secret: word("metadata"),
            cloud_secret: word("cloud"),
        };
        let cloud = Processes {
            root: root.to_path_buf(),
            binary: program::binary(),
            hosts: hosts(ground.computes, &ways),
            ground,
            secrets,
            memcached: Mutex::new(memcached),
            net,
            _front: front,
        };
        for host in &cloud.hosts {
            let conf = match &host.way {
                Some(way) => {
                    of_controllers
                        .clone()
                        .set("api", "bind_host", way.address().to_string())
                }
                None => conf.clone(),
            };
            cloud.furnish(host, conf);
        }
        cloud.start_all().await;
        cloud
    }

    /// A host's folder: its configuration, the cloud's secrets, and what controllers share.
    fn furnish(&self, host: &Host, conf: Conf) {
        let state = self.root.join(&host.name);
        std::fs::create_dir_all(&state).expect("a folder");
        if host.role == "controller" {
            for shared in ["images", "policy"] {
                let one = self.root.join(shared);
                std::fs::create_dir_all(&one).expect("a folder");
                std::os::unix::fs::symlink(&one, state.join(shared)).expect("a link");
            }
        }
        let conf = conf.set("DEFAULT", "host", host.name.as_str()).set(
            "cluster",
            "roles",
            vec![host.role],
        );
        std::fs::write(state.join("config.toml"), conf.text()).expect("a file");
        let secrets = serde_json::to_string(&self.secrets).expect("secrets");
        std::fs::write(state.join("secrets.json"), secrets).expect("a file");
    }

    fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|h| h.name == name);
        found.unwrap_or_else(|| panic!("there is no host {name}"))
    }

    pub fn names(&self) -> Vec<&str> {
        self.hosts.iter().map(|h| h.name.as_str()).collect()
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn computes(&self) -> usize {
        self.hosts.iter().filter(|h| h.role == "compute").count()
    }

    /// Starts every host that is down.
    pub async fn start_all(&self) {
        for host in &self.hosts {
            let mut process = host.process();
            if process.is_none() {
                *process = Some(self.launch(&host.name));
            }
        }
        for host in &self.hosts {
            self.ready(host).await;
        }
    }

    /// Starts a host again; returns when it serves.
    pub async fn start_host(&self, name: &str) {
        let host = self.host(name);
        *host.process() = Some(self.launch(name));
        self.ready(host).await;
    }

    fn launch(&self, name: &str) -> Process {
        Process::start(&self.binary, name, &self.state(name))
    }

    async fn ready(&self, host: &Host) {
        let Some(mut process) = host.process().take() else {
            return;
        };
        let said = process.ready().await;
        if !said.is_null() {
            *host.said.lock().expect("a host") = said;
            host.is_up(true);
        }
        *host.process() = Some(process);
    }

    /// SIGKILL to a host's process.
    pub fn kill(&self, name: &str) {
        let host = self.host(name);
        host.is_up(false);
        if let Some(mut process) = host.process().take() {
            process.kill();
        }
    }

    /// Stops every host in order, all at the same time.
    pub async fn stop(&self) {
        let mut ending = Vec::new();
        for host in &self.hosts {
            if let Some(process) = host.process().take() {
                process.ask_to_stop();
                ending.push((host, process));
            }
        }
        for (host, process) in ending {
            process.ended().await;
            host.is_up(false);
        }
    }

    /// Every service, at all controllers in turn.
    pub fn endpoints(&self) -> Endpoints {
        let ways = self.hosts.iter().filter_map(|h| h.way.clone());
        self.endpoints_at(ways.collect())
    }

    /// Every service, at one controller only.
    pub fn endpoints_of(&self, name: &str) -> Endpoints {
        self.endpoints_at(self.host(name).way.iter().cloned().collect())
    }

    fn endpoints_at(&self, ways: Vec<Arc<Way>>) -> Endpoints {
        let ways = Arc::new(Ways::new(ways));
        let turns = PORTS.map(|(service, _)| {
            let routes = self.ground.routes.get(service).cloned();
            let turns = Turns {
                service,
                ways: Arc::clone(&ways),
                public: Ipv4Addr::new(127, self.net.0, self.net.1, 1),
                routes: routes.unwrap_or_default(),
            };
            (service, Arc::new(turns) as Arc<dyn Endpoint>)
        });
        Arc::new(turns.into())
    }

    /// A controller's page of numbers, if the configuration opens one.
    pub fn metrics_url(&self, name: &str) -> String {
        let said = self.host(name).said.lock().expect("a host");
        said["metrics"].as_str().expect("a page").to_string()
    }

    /// Runs a command of the program on a host to its end; what it said.
    pub fn says(&self, host: &str, arguments: &[&str]) -> String {
        let state = self.state(host);
        let config = state.join("config.toml");
        let (state, config) = (state.display().to_string(), config.display().to_string());
        let of_host = ["--state", &state, "--config", &config];
        says(&self.binary, &[arguments, &of_host].concat())
    }

    /// A new host becomes part of the cloud as an operator makes it: with a ticket of the first controller. It is the cloud's
    /// from then on.
    pub async fn join(&mut self, name: &str, role: &'static str) {
        let ticket = self.says(
            "controller1",
            &["token", "create", "--quiet", "--role", role],
        );
        let state = self.state(name).display().to_string();
        let address = Ipv4Addr::new(127, self.net.0, self.net.1, 99).to_string();
        let joined = says(
            &self.binary,
            &[
                "join",
                &ticket,
                "--state",
                &state,
                "--host",
                name,
                "--management-ip",
                &address,
            ],
        );
        assert!(joined.contains(role), "{joined}");
        self.hosts.push(Host::new(name.to_string(), role, None));
        self.start_host(name).await;
    }
}

fn hosts(computes: usize, ways: &[Arc<Way>]) -> Vec<Host> {
    let controller = |(n, way): (usize, &Arc<Way>)| {
        Host::new(
            format!("controller{}", n + 1),
            "controller",
            Some(Arc::clone(way)),
        )
    };
    let compute = |n| Host::new(format!("host{n}"), "compute", None);
    let mut hosts: Vec<Host> = ways.iter().enumerate().map(controller).collect();
    hosts.push(Host::new("network1".into(), "network", None));
    hosts.push(Host::new("storage1".into(), "storage", None));
    hosts.extend((1..=computes).map(compute));
    hosts
}

/// Addresses on the loopback interface that no other cloud has: 127.a.b.1 is the public one, the controllers follow.
async fn addresses() -> ((u8, u8), Vec<Arc<Way>>, Front) {
    loop {
        let net = (rand::random_range(1..255), rand::random_range(0..=255));
        let at = |n: u8| Ipv4Addr::new(127, net.0, net.1, n);
        let ways: Vec<Arc<Way>> = [11, 12].map(|n| Arc::new(Way::new(at(n)))).into();
        let all = Arc::new(Ways::new(ways.clone()));
        if let Some(front) = Front::open(at(1), &all).await {
            return (net, ways, front);
        }
    }
}
