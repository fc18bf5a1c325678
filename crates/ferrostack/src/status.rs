//! `ferrostack status`: every service and agent, up or down, and why. It asks the running cloud's own APIs, as the
//! administrator, so that what it shows is what clients see.

use anyhow::{Context, Result};
use sdk::{Caller, Http, Method, Sdk, ServiceCredentials};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of a process that is a cloud or what roles say; a process for one service has that service's name.
pub const WHOLE: &str = "ferrostack";

/// What a running cloud writes into `STATE/cloud.json` (a process for one service into `STATE/SERVICE.json`), for
/// commands that talk to it.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Service type to URL.
    pub urls: BTreeMap<String, String>,
    /// Authorities for these, besides the machine's own.
    #[serde(default)]
    pub cafile: Option<PathBuf>,
}

/// Where the process of that name writes what it is.
pub fn file(state: &Path, name: &str) -> PathBuf {
    match name {
        WHOLE => state.join("cloud.json"),
        service => state.join(format!("{service}.json")),
    }
}

/// Reads what the process of that name wrote; an error if it does not run on this state.
pub fn running(state: &Path, name: &str) -> Result<Running> {
    let path = file(state, name);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "no cloud was started on {}; `script/up` starts one",
            state.display()
        )
    })?;
    let running: Running = serde_json::from_str(&text)?;
    anyhow::ensure!(
        alive(running.pid),
        "the cloud of {} is not running (process {} is gone); `script/up` starts it again",
        state.display(),
        running.pid
    );
    Ok(running)
}

/// The cloud, or any process that is a part of it: all know the same addresses.
fn any_running(state: &Path) -> Result<Running> {
    let whole = running(state, WHOLE);
    let Ok(entries) = std::fs::read_dir(state) else {
        return whole;
    };
    let parts = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let json = path.extension().is_some_and(|e| e == "json");
        running(state, path.file_stem()?.to_str().filter(|_| json)?).ok()
    });
    whole.or_else(|e| parts.into_iter().next().ok_or(e))
}

/// Whether a process of that id is one of ours and runs. One that was killed keeps its name until somebody reaps it.
pub fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.map(str::trim).unwrap_or_default()
    };
    let dead = ["", "Z", "X"].contains(&field("State:").split(' ').next().unwrap_or_default());
    !dead && field("Name:").starts_with("ferrostack")
}

/// Prints the tables; false if anything is down.
pub async fn run(state: &Path) -> Result<bool> {
    let cloud = any_running(state)?;
    let secrets =
        crate::secrets::Secrets::load_or_make(state).map_err(|e| anyhow::anyhow!("{e}"))?;
    let urls: HashMap<String, String> = cloud
        .urls
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let http = Http::trusting(urls, cloud.cafile.as_deref()).map_err(|e| anyhow::anyhow!("{e}"))?;
    let admin = ServiceCredentials {
        username: "admin".into(),
        password: secrets.admin_password,
        project_name: "admin".into(),
        domain_name: "Default".into(),
    };
    let sdk = Sdk::new(Arc::new(http), admin);
    println!("process {}", cloud.pid);
    let mut good = true;
    for (service, url) in &cloud.urls {
        let path = match service.as_str() {
            "identity" => "/v3",
            _ => "/",
        };
        let answer = sdk
            .request(Caller::Service, service, Method::GET, path, None)
            .await;
        // 300 Multiple Choices is how glance, cinder and keystone greet.
        let up = answer.as_ref().is_ok()
            || answer
                .as_ref()
                .is_err_and(|e| e.kind() == base::Kind::MultipleChoices);
        good &= up;
        println!(
            "{:<5} {service:<12} {url}{}",
            if up { "up" } else { "DOWN" },
            answer
                .err()
                .filter(|_| !up)
                .map(|e| format!("   {}", e.message()))
                .unwrap_or_default()
        );
    }
    good &= table(&sdk, "compute", "/v2.1/os-services", "services", |s| {
        (
            row(s, "binary", "host"),
            s["state"] == "up",
            why(s, "updated_at"),
        )
    })
    .await;
    good &= table(&sdk, "network", "/v2.0/agents", "agents", |a| {
        (
            row(a, "binary", "host"),
            a["alive"] == true,
            why(a, "heartbeat_timestamp"),
        )
    })
    .await;
    good &= table(&sdk, "volumev3", "/v3/os-services", "services", |s| {
        (
            row(s, "binary", "host"),
            s["state"] == "up",
            why(s, "updated_at"),
        )
    })
    .await;
    Ok(good)
}

fn text(v: &Value, key: &str) -> String {
    v[key].as_str().unwrap_or("").to_string()
}

/// Why a service is down: it went silent, and perhaps it was switched off besides.
fn why(v: &Value, heard: &str) -> String {
    let heard = match text(v, heard) {
        never if never.is_empty() => "never heard of".to_string(),
        at => format!("last heard {at}"),
    };
    [heard, off(v)].join("   ").trim_end().to_string()
}

/// That an operator switched it off, and why; an agent of the network has `admin_state_up` for that.
fn off(v: &Value) -> String {
    let disabled = v["status"] == "disabled" || v["admin_state_up"] == false;
    match (disabled, text(v, "disabled_reason")) {
        (false, _) => String::new(),
        (true, reason) if reason.is_empty() => "disabled".to_string(),
        (true, reason) => format!("disabled: {reason}"),
    }
}

fn row(v: &Value, what: &str, host: &str) -> String {
    format!("{:<26} {}", text(v, what), text(v, host))
}

async fn table(
    sdk: &Sdk,
    service: &str,
    path: &str,
    key: &str,
    f: impl Fn(&Value) -> (String, bool, String),
) -> bool {
    let sdk = if service == "volumev3" {
        sdk.with_version("3.70")
    } else {
        sdk.clone()
    };
    let list: Vec<Value> = match sdk
        .request(Caller::Service, service, Method::GET, path, None)
        .await
        .and_then(|a| a.key(key))
    {
        Ok(list) => list,
        Err(e) => {
            println!("DOWN  {service}: {}", e.message());
            return false;
        }
    };
    let mut good = true;
    for item in &list {
        let (words, up, why) = f(item);
        good &= up;
        let word = if up { "up" } else { "DOWN" };
        println!("{:<5} {words}   {}", word, if up { off(item) } else { why });
    }
    good
}
