//! The operator's commands, on a cloud that runs as a process: what they say is what there is.

use base::Secret;
use sdk::{Caller, Http, Method, Sdk, ServiceCredentials};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONFIG: &str = "[DEFAULT]
fake = true
host = \"host1\"
[api]
identity_port = 0
image_port = 0
placement_port = 0
network_port = 0
compute_port = 0
metadata_port = 0
volume_port = 0
novnc_port = 0
[keystone]
[identity]
password_hash_rounds = 4
[nova_compute]
report_interval = 1
[cinder_volume]
report_interval = 1
[neutron_agents]
report_interval = 1
";

/// A cloud of one's own; killed and removed when dropped.
struct Cloud {
    process: Child,
    folder: PathBuf,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test, as an operator starts it"
)]
fn ferrostack(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrostack"));
    command
        .args(arguments)
        .env("FERROSTACK_STATE", folder.join("state"))
        .stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

impl Cloud {
    /// Starts `ferrostack run` and waits for its line of readiness; the sdk speaks to it as the administrator.
    fn start() -> (Cloud, Sdk) {
        let folder = std::env::temp_dir().join(format!("operator-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("cloud.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let mut process = ferrostack(&["run", "--config", config.to_str().unwrap()], &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let cloud = Cloud { process, folder };
        let ready: Value = serde_json::from_str(&line).unwrap();
        let urls = serde_json::from_value(ready["urls"].clone()).unwrap();
        let secrets = std::fs::read_to_string(cloud.state().join("secrets.json")).unwrap();
        let secrets: Value = serde_json::from_str(&secrets).unwrap();
        let admin = ServiceCredentials {
            username: "admin".into(),
            password: Secret::new(secrets["admin_password"].as_str().unwrap()),
            project_name: "admin".into(),
            domain_name: "Default".into(),
        };
        (cloud, Sdk::new(Arc::new(Http::new(urls).unwrap()), admin))
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// (did it succeed, what did it say)
    fn says(&self, arguments: &[&str]) -> (bool, String) {
        let output = ferrostack(arguments, &self.folder).output().unwrap();
        (output.status.success(), words(&output))
    }

    /// Asks until the command succeeds.
    async fn until(&self, arguments: &[&str]) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let (good, said) = self.says(arguments);
            if good {
                return said;
            }
            assert!(Instant::now() < end, "{arguments:?}: {said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn post(sdk: &Sdk, service: &str, path: &str, body: Value) -> (Value, String) {
    let answer = sdk
        .request(Caller::Service, service, Method::POST, path, Some(body))
        .await
        .unwrap();
    let id = answer.headers["x-openstack-request-id"].to_str().unwrap();
    (answer.json().unwrap(), id.to_string())
}

/// A server that is ACTIVE, and the request that made it.
async fn boot(sdk: &Sdk) -> (String, String) {
    let flavor = json!({"flavor": {"name": "m1.tiny", "vcpus": 1, "ram": 64, "disk": 1}});
    let flavor = post(sdk, "compute", "/v2.1/flavors", flavor).await.0;
    let image = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let image = sdk.glance().create(Caller::Service, image).await.unwrap();
    let bytes = oslo_http::Body::from(vec![0; 4096]);
    let uploaded = sdk.glance().upload(Caller::Service, &image.id, bytes).await;
    uploaded.unwrap();
    let network = json!({"network": {"name": "n"}});
    let network = post(sdk, "network", "/v2.0/networks", network).await.0;
    let network = &network["network"]["id"];
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}});
    post(sdk, "network", "/v2.0/subnets", subnet).await;
    let server = json!({"server": {"name": "web", "flavorRef": flavor["flavor"]["id"],
        "imageRef": image.id, "networks": [{"uuid": network}]}});
    let (server, request) = post(sdk, "compute", "/v2.1/servers", server).await;
    let id = server["server"]["id"].as_str().unwrap().to_string();
    let path = format!("/v2.1/servers/{id}");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = sdk
            .request(Caller::Service, "compute", Method::GET, &path, None)
            .await
            .unwrap();
        let shown: Value = shown.key("server").unwrap();
        match shown["status"].as_str() {
            Some("ACTIVE") => return (id, request),
            Some("BUILD") if Instant::now() < end => {}
            _ => panic!("{shown}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_tell_of_the_cloud_that_runs() {
    let (mut cloud, sdk) = Cloud::start();

    let status = cloud.until(&["status"]).await;
    for name in [
        "identity",
        "image",
        "placement",
        "network",
        "compute",
        "volumev3",
        "nova-compute",
        "neutron-dhcp-agent",
        "cinder-volume",
    ] {
        let line = status.lines().find(|l| l.contains(name));
        assert!(
            line.is_some_and(|l| l.starts_with("up")),
            "{name}:\n{status}"
        );
    }

    let (server, request) = boot(&sdk).await;
    let (good, told) = cloud.says(&["trace", &request]);
    assert!(good, "{told}");
    let at = |word: &str| {
        let line = told.lines().position(|l| l.contains(word));
        line.unwrap_or_else(|| panic!("the trace does not tell of {word}:\n{told}"))
    };
    assert!(at("POST") < at("neutron"), "{told}");
    assert!(at("neutron") < at("ensure_instance"), "{told}");
    assert!(told.contains(" ms)"), "with times: {told}");
    let (good, told) = cloud.says(&["trace", "req-of-nobody"]);
    assert!(!good && told.contains("knows no request"), "{told}");

    let (good, told) = cloud.says(&["explain", "server", &server]);
    assert!(
        good && told.contains("chosen: host1") && told.contains("weight"),
        "{told}"
    );
    let (good, told) = cloud.says(&["explain", "server", "nobody"]);
    assert!(
        !good && told.contains("there is no server nobody"),
        "{told}"
    );

    let services: Vec<Value> = {
        let path = "/v2.1/os-services?binary=nova-compute";
        let sdk = sdk.with_version("2.90");
        let answer = sdk
            .request(Caller::Service, "compute", Method::GET, path, None)
            .await;
        answer.unwrap().key("services").unwrap()
    };
    let path = format!("/v2.1/os-services/{}", services[0]["id"].as_str().unwrap());
    let body = json!({"status": "disabled", "disabled_reason": "new disk"});
    let off = sdk.with_version("2.90");
    off.request(Caller::Service, "compute", Method::PUT, &path, Some(body))
        .await
        .unwrap();
    let (_, told) = cloud.says(&["status"]);
    assert!(told.contains("disabled: new disk"), "{told}");

    let (good, told) = cloud.says(&["run", "--fake"]);
    assert!(!good && told.contains("already runs"), "{told}");
    let config = cloud.folder.join("cloud.toml");
    let config = config.to_str().unwrap().to_string();
    let (good, told) = cloud.says(&["reset", "--config", &config]);
    assert!(!good && told.contains("say --yes"), "{told}");
    let (good, told) = cloud.says(&["down", "--config", &config]);
    assert!(good && cloud.state().exists(), "{told}");
    assert!(
        cloud.process.wait().unwrap().success(),
        "it stopped in order"
    );
    let (good, told) = cloud.says(&["status"]);
    assert!(!good && told.contains("script/up"), "{told}");
    let (good, told) = cloud.says(&["explain", "server", &server]);
    assert!(good, "the database is there without the cloud: {told}");
    let (good, told) = cloud.says(&["reset", "--yes", "--config", &config]);
    assert!(good && !cloud.state().exists(), "{told}");
}

#[test]
fn doctor_names_what_is_there_and_what_is_not() {
    let folder = std::env::temp_dir();
    let output = ferrostack(&["doctor"], &folder).output().unwrap();
    let told = words(&output);
    let missing = told.lines().any(|l| l.starts_with("MISS"));
    assert_eq!(output.status.success(), !missing, "{told}");
    for line in told.lines().filter(|l| l.starts_with("MISS")) {
        let mut parts = line[4..].trim().splitn(2, "   ");
        let advice = parts.nth(1).unwrap_or("").trim();
        assert!(!advice.is_empty(), "no advice: {line}");
    }
    assert!(
        told.contains("qemu-img") && told.contains("acceleration"),
        "{told}"
    );
}

#[test]
fn nothing_is_reset_that_is_no_cloud() {
    let folder = std::env::temp_dir().join(format!("operator-{}", base::new_hex_id()));
    std::fs::create_dir_all(folder.join("state/precious")).unwrap();
    let output = ferrostack(&["reset", "--yes"], &folder).output().unwrap();
    let told = words(&output);
    assert!(
        !output.status.success() && told.contains("is not the state"),
        "{told}"
    );
    assert!(folder.join("state/precious").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn keys_rotate_under_a_running_cloud() {
    let (cloud, admin) = Cloud::start();
    let old = admin.service_token(false).await.unwrap();
    let (done, words) = cloud.says(&["fernet-rotate"]);
    assert!(done, "{words}");
    let users = async || {
        let asked = admin.request(Caller::Service, "identity", Method::GET, "/v3/users", None);
        asked.await.unwrap()
    };
    users().await;
    let held = admin.service_token(false).await.unwrap();
    assert!(held == old, "the old token was refused and renewed");
    admin.service_token(true).await.unwrap();
    users().await;
}
