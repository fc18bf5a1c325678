//! The cloud under test: the real binary with fake hosts, on free ports, in a directory of its own.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running cloud.
pub struct Cloud {
    process: Child,
    pub pid: u32,
    pub urls: HashMap<String, String>,
    /// From the process's start to every API answering.
    pub start: Duration,
    pub password: String,
}

const CONFIG: &str = "[api]
identity_port = 0
image_port = 0
placement_port = 0
network_port = 0
compute_port = 0
metadata_port = 0
volume_port = 0
novnc_port = 0
[nova]
quota_instances = -1
quota_cores = -1
quota_ram = -1
[neutron]
quota_port = -1
quota_network = -1
[cinder]
quota_volumes = -1
quota_gigabytes = -1
[nova_compute]
fake_delay_ms = 0
[cinder_volume]
fake_delay_ms = 0
";

impl Cloud {
    /// Starts the binary on `state`; returns when it says that it is ready.
    #[allow(
        clippy::disallowed_methods,
        reason = "the benchmark starts the program it measures"
    )]
    pub async fn start(binary: &Path, state: &Path) -> Result<Cloud> {
        std::fs::create_dir_all(state)?;
        let config: PathBuf = state.join("bench.toml");
        std::fs::write(&config, CONFIG)?;
        let begun = Instant::now();
        let mut process = Command::new(binary)
            .args(["run", "--fake", "--state"])
            .arg(state)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{}; build it with cargo build --release", binary.display())
            })?;
        let out = process.stdout.take().context("stdout")?;
        let line = tokio::time::timeout(
            Duration::from_secs(60),
            BufReader::new(out).lines().next_line(),
        )
        .await??;
        let start = begun.elapsed();
        let ready: Value = serde_json::from_str(
            &line.context("the cloud ended before it was ready; see its log")?,
        )?;
        let urls = ready["urls"].as_object().into_iter().flatten();
        let urls = urls
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_string()))
            .collect();
        let secrets: Value =
            serde_json::from_str(&std::fs::read_to_string(state.join("secrets.json"))?)?;
        let password = secrets["admin_password"].as_str().unwrap_or("").to_string();
        let pid = process.id().context("pid")?;
        Ok(Cloud {
            process,
            pid,
            urls,
            start,
            password,
        })
    }

    /// Ends it gracefully.
    #[allow(
        clippy::disallowed_methods,
        reason = "sends SIGTERM to the program it started"
    )]
    pub async fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .arg(self.pid.to_string())
            .status()
            .await?;
        tokio::time::timeout(Duration::from_secs(30), self.process.wait()).await??;
        Ok(())
    }

    /// CPU seconds (user + system) that the process has used.
    pub fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / 100.0)
    }

    /// Resident memory, MiB.
    pub fn rss(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .context("VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).unwrap_or("0").parse()?;
        Ok(kib / 1024.0)
    }

    /// The address of a service.
    pub fn url(&self, service: &str) -> Result<&str> {
        match self.urls.get(service) {
            Some(url) => Ok(url),
            None => bail!("no address of {service}"),
        }
    }
}
