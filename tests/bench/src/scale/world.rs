//! The processes: which there are, how they are started and ended.

use super::Options;
use super::servers::{Servers, free_port};
use anyhow::{Context, Result};
use oslo_db::Db;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Each a process; nova's metadata service goes with its API.
const CONTROLLERS: &[(&str, &str)] = &[
    ("keystone", "keystone"),
    ("glance", "glance-api"),
    ("placement", "placement-api"),
    ("neutron-server", "neutron-server"),
    ("nova-api", "nova-api,nova-api-metadata"),
    ("nova-conductor", "nova-conductor"),
    ("nova-scheduler", "nova-scheduler"),
];

const PORTS: &[&str] = &[
    "identity",
    "image",
    "placement",
    "network",
    "compute",
    "metadata",
    "volume",
    "novnc",
];

/// Everything that runs for the measurement.
pub struct World {
    options: Options,
    folder: PathBuf,
    servers: Option<Servers>,
    processes: Vec<Process>,
    databases: HashMap<&'static str, Db>,
    /// Service type to URL.
    pub urls: HashMap<String, String>,
    pub password: String,
}

/// One process of the cloud.
pub struct Process {
    pub name: String,
    pub pid: u32,
    pub metrics: String,
    child: Child,
}

impl World {
    pub fn new(options: &Options) -> Result<World> {
        let name = format!("ferrostack-scale-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(World {
            options: options.clone(),
            folder,
            servers: None,
            processes: Vec::new(),
            databases: HashMap::new(),
            urls: HashMap::new(),
            password: String::new(),
        })
    }

    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The address of a service.
    pub fn url(&self, service: &str) -> Result<&str> {
        let url = self.urls.get(service).map(String::as_str);
        url.with_context(|| format!("no address of {service}"))
    }

    /// A service's database, as an onlooker.
    pub async fn database(&mut self, service: &'static str) -> Result<Db> {
        if let Some(db) = self.databases.get(service) {
            return Ok(db.clone());
        }
        let servers = self.servers.as_ref().context("no database server")?;
        let url = servers.template.replace("%s", service);
        let db = Db::open(&url).await.map_err(|e| anyhow::anyhow!("{e}"))?;
        self.databases.insert(service, db.clone());
        Ok(db)
    }

    /// The folder of the hosts of the process of that number.
    fn hosts_folder(&self, number: u32) -> PathBuf {
        self.folder.join(format!("hosts-{number}"))
    }

    pub async fn start_servers(&mut self) -> Result<()> {
        let servers = Servers::start().await?;
        std::fs::write(self.folder.join("scale.toml"), self.config(&servers)?)?;
        self.servers = Some(servers);
        Ok(())
    }

    fn config(&self, servers: &Servers) -> Result<String> {
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        let mut add = |section: &str, line: String| match sections
            .iter_mut()
            .find(|(name, _)| name == section)
        {
            Some((_, lines)) => lines.push(line),
            None => sections.push((section.to_string(), vec![line])),
        };
        add("DEFAULT", "fake = true".into());
        add(
            "DEFAULT",
            format!("transport_url = {:?}", servers.transport_url),
        );
        add("database", format!("connection = {:?}", servers.template));
        add(
            "cache",
            format!("memcache_servers = [{:?}]", servers.memcached),
        );
        for port in PORTS {
            add("api", format!("{port}_port = {}", free_port()?));
        }
        for quota in ["instances", "cores", "ram"] {
            add("nova", format!("quota_{quota} = -1"));
        }
        add("neutron", "quota_port = -1".into());
        add("neutron_agents", "agents = [\"l2\"]".into());
        for (option, value) in [
            ("fake_delay_ms", 0),
            ("fake_vcpus", 32),
            ("fake_memory_mb", 131_072),
            ("fake_disk_gb", 1000),
        ] {
            add("nova_compute", format!("{option} = {value}"));
        }
        for set in &self.options.set {
            let wrong = || format!("--set {set} is not SECTION.OPTION=VALUE");
            let (place, value) = set.split_once('=').with_context(wrong)?;
            let (section, option) = place.split_once('.').with_context(wrong)?;
            add(section, format!("{option} = {value}"));
        }
        let text = sections
            .into_iter()
            .map(|(name, lines)| format!("[{name}]\n{}\n", lines.join("\n")));
        Ok(text.collect())
    }

    /// Keystone makes the secrets that all others share, and is first.
    pub async fn start_controllers(&mut self) -> Result<()> {
        let state = self.folder.join("controller");
        for (name, services) in CONTROLLERS {
            let process = self.start(name, services, &state, &[]).await?;
            self.processes.push(process);
        }
        let secrets = std::fs::read_to_string(state.join("secrets.json"))?;
        let secrets: Value = serde_json::from_str(&secrets)?;
        let password = secrets["admin_password"].as_str();
        self.password = password
            .context("the administrator's password")?
            .to_string();
        Ok(())
    }

    /// The hosts, shared among their processes.
    pub async fn start_hosts(&mut self) -> Result<()> {
        let (hosts, processes) = (self.options.hosts, self.options.processes.max(1));
        for number in 0..processes {
            let count = hosts / processes + u32::from(number < hosts % processes);
            if count == 0 {
                continue;
            }
            let state = self.hosts_folder(number);
            std::fs::create_dir_all(&state)?;
            let secrets = self.folder.join("controller/secrets.json");
            std::fs::copy(secrets, state.join("secrets.json"))?;
            let name = format!("hosts-{number}");
            let count = count.to_string();
            let rack = format!("rack{number}");
            let more = [
                ("FERROSTACK_DEFAULT__HOST", rack.as_str()),
                ("FERROSTACK_NOVA_COMPUTE__FAKE_HOSTS", count.as_str()),
                ("FERROSTACK_NEUTRON_AGENTS__FAKE_HOSTS", count.as_str()),
            ];
            let services = "nova-compute,neutron-linuxbridge-agent";
            let process = self.start(&name, services, &state, &more).await?;
            self.processes.push(process);
        }
        Ok(())
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the benchmark starts the program it measures"
    )]
    async fn start(
        &mut self,
        name: &str,
        services: &str,
        state: &Path,
        more: &[(&str, &str)],
    ) -> Result<Process> {
        let binary = &self.options.binary;
        std::fs::create_dir_all(state)?;
        let errors = std::fs::File::create(self.folder.join(format!("{name}.err")))?;
        let mut child = Command::new(binary)
            .args(["run", "--service", services, "--state"])
            .arg(state)
            .arg("--config")
            .arg(self.folder.join("scale.toml"))
            .env("FERROSTACK_METRICS__PORT", "0")
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{}; build it with cargo build --release", binary.display())
            })?;
        let out = child.stdout.take().context("stdout")?;
        let mut lines = BufReader::new(out).lines();
        let first = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await??;
        let first = first.with_context(|| {
            let said = std::fs::read_to_string(self.folder.join(format!("{name}.err")));
            format!(
                "{name} ended before it was ready: {}",
                said.unwrap_or_default()
            )
        })?;
        let ready: Value = serde_json::from_str(&first)?;
        for (service, url) in ready["urls"].as_object().into_iter().flatten() {
            let url = url.as_str().unwrap_or_default().to_string();
            self.urls.insert(service.clone(), url);
        }
        Ok(Process {
            name: name.to_string(),
            pid: child.id().context("a process that runs")?,
            metrics: ready["metrics"].as_str().unwrap_or_default().to_string(),
            child,
        })
    }

    /// Ids of guests that fake hosts have.
    pub fn guests(&self) -> usize {
        let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
        let processes = 0..self.options.processes.max(1);
        let hosts = processes.flat_map(|n| files(self.hosts_folder(n).join("instances")));
        let guests = hosts.flat_map(|host| files(host.path()));
        guests
            .filter(|f| f.path().extension().is_some_and(|e| e == "json"))
            .count()
    }

    /// Ends everything: hosts first, so that nobody waits for who is gone.
    pub async fn end(mut self, keep: Option<&Path>) {
        for process in self.processes.iter().rev() {
            let pid = nix::unistd::Pid::from_raw(process.pid.cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        for process in &mut self.processes {
            let gone = tokio::time::timeout(Duration::from_secs(20), process.child.wait()).await;
            if gone.is_err() {
                eprintln!("{} does not end by itself", process.name);
                let _ = process.child.kill().await;
            }
        }
        for (_, db) in self.databases.drain() {
            db.close().await;
        }
        if let Some(servers) = self.servers.take() {
            servers.stop();
        }
        if let Some(keep) = keep
            && let Err(error) = std::fs::rename(&self.folder, keep)
        {
            eprintln!("{} stays: {error}", self.folder.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
