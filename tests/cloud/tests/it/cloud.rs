//! A cloud of one's own: everything fake that touches a host, ports that are free, state in a folder that goes with it.

use crate::client::{Client, Endpoints, id, text};
use crate::wait::wait_for;
use base::Secret;
use ferrostack::boot::{self, Cloud};
use ferrostack::config::Settings;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a cloud keeps its rows and how its parts talk: the shape it has.
#[derive(Clone, Default)]
pub struct Place {
    database: Secret,
    transport_url: Secret,
}

impl Place {
    /// SQLite files and the in-process bus.
    pub fn embedded() -> Place {
        Place::default()
    }

    /// MariaDB and RabbitMQ.
    pub fn scaled(database: String, transport_url: String) -> Place {
        Place {
            database: Secret::new(database),
            transport_url: Secret::new(transport_url),
        }
    }

    pub fn settle(&self, settings: &mut Settings) {
        settings.database.connection = self.database.clone();
        settings.default.transport_url = self.transport_url.clone();
    }
}

/// A running cloud and its folder.
pub struct TestCloud {
    cloud: Cloud,
    place: Place,
    pub endpoints: Endpoints,
    pub state: PathBuf,
    /// User `admin` of project `admin`.
    pub admin: Client,
    folder: Option<Folder>,
}

/// Removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("cloud-{}", base::new_hex_id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sizes and delays of a cloud for tests.
pub fn settings(state: &Path) -> Settings {
    let mut s = Settings::default();
    s.default.state_path = state.to_path_buf();
    s.default.host = "host1".into();
    s.default.fake = true;
    let api = &mut s.api;
    for port in [
        &mut api.identity_port,
        &mut api.image_port,
        &mut api.placement_port,
        &mut api.network_port,
        &mut api.compute_port,
        &mut api.metadata_port,
        &mut api.volume_port,
        &mut api.novnc_port,
    ] {
        *port = 0;
    }
    s.keystone.identity.password_hash_rounds = Some(4);
    s.nova.shutdown_timeout = 0;
    s.compute.fake_delay_ms = 2;
    s.compute.report_interval = 1;
    s.compute.power_poll_interval = 1;
    s.compute.capability_cache = None;
    s.volume.fake_delay_ms = 2;
    s.volume.report_interval = 1;
    s.agents.report_interval = 1;
    s
}

impl TestCloud {
    /// A new cloud that can boot servers.
    pub async fn start(place: Place) -> TestCloud {
        TestCloud::with(place, |_| ()).await
    }

    /// A new cloud with other settings.
    pub async fn with(place: Place, change: impl FnOnce(&mut Settings)) -> TestCloud {
        let folder = Folder::new();
        let mut settings = settings(&folder.0);
        place.settle(&mut settings);
        change(&mut settings);
        let mut cloud = TestCloud::open(settings).await;
        (cloud.folder, cloud.place) = (Some(folder), place);
        cloud
    }

    /// A cloud on a folder that stays.
    pub async fn open(settings: Settings) -> TestCloud {
        log();
        let state = settings.default.state_path.clone();
        let cloud = boot::start(settings).await.expect("the cloud starts");
        let endpoints: Endpoints = Arc::new(cloud.endpoints.clone());
        let password = cloud.secrets.admin_password.expose();
        let admin = Client::login(&endpoints, "admin", password, "admin")
            .await
            .expect("the administrator logs in");
        let cloud = TestCloud {
            cloud,
            place: Place::default(),
            endpoints,
            state,
            admin,
            folder: None,
        };
        cloud.wait_for_hosts().await;
        cloud
    }

    /// Stops it in order and starts it again on the same folder.
    pub async fn restart(mut self) -> TestCloud {
        let folder = self.folder.take();
        let place = self.place.clone();
        let mut settings = settings(&self.state);
        place.settle(&mut settings);
        self.cloud.stop().await;
        let mut again = TestCloud::open(settings).await;
        (again.folder, again.place) = (folder, place);
        again
    }

    pub async fn stop(self) {
        self.cloud.stop().await;
    }

    pub fn metadata_secret(&self) -> Secret {
        self.cloud.secrets.metadata_shared_secret.clone()
    }

    pub async fn login(&self, user: &str, password: &str, project: &str) -> Client {
        let done = Client::login(&self.endpoints, user, password, project).await;
        done.unwrap_or_else(|no| panic!("{user} may not log in to {project}: {}", no.body))
    }

    /// Every kind of agent has reported: servers, networks and volumes can be made.
    pub async fn wait_for_hosts(&self) {
        let admin = &self.admin;
        wait_for("a compute host in placement", || async move {
            let services = admin
                .get("compute", "/v2.1/os-services?binary=nova-compute")
                .await;
            let up = services["services"]
                .as_array()?
                .iter()
                .any(|s| s["state"] == "up");
            let providers = admin.get("placement", "/resource_providers").await;
            let first = providers["resource_providers"].get(0)?["uuid"]
                .as_str()?
                .to_string();
            let inventory = admin
                .get(
                    "placement",
                    &format!("/resource_providers/{first}/inventories"),
                )
                .await;
            (up && inventory["inventories"].get("VCPU").is_some()).then_some(())
        })
        .await;
        wait_for("a volume backend", || async move {
            let pools = admin
                .get(
                    "volumev3",
                    &format!("/v3/{}/scheduler-stats/get_pools", admin.project_id),
                )
                .await;
            pools["pools"]
                .as_array()
                .filter(|p| !p.is_empty())
                .map(|_| ())
        })
        .await;
        wait_for("living network agents", || async move {
            let agents = admin.get("network", "/v2.0/agents").await.body;
            let agents = agents["agents"].as_array()?.clone();
            (agents.len() >= 3 && agents.iter().all(|a| a["alive"] == true)).then_some(())
        })
        .await;
    }

    /// The id of a role.
    pub async fn role(&self, name: &str) -> String {
        let roles = self
            .admin
            .get("identity", &format!("/v3/roles?name={name}"))
            .await
            .list("roles");
        id(roles.first().unwrap_or_else(|| panic!("no role {name}")))
    }

    /// A new user with a role on a project.
    pub async fn user(&self, name: &str, project_id: &str, project: &str, role: &str) -> Client {
        let body = json!({"user": {"name": name, "password": "pw", "domain_id": "default"}});
        let user = self
            .admin
            .post("identity", "/v3/users", body)
            .await
            .expect(201)
            .id("user");
        let role = self.role(role).await;
        let path = format!("/v3/projects/{project_id}/users/{user}/roles/{role}");
        self.admin
            .call("identity", "PUT", &path, None)
            .await
            .expect(204);
        self.login(name, "pw", project).await
    }

    /// The only compute host's provider in placement.
    pub async fn provider(&self) -> String {
        let all = self
            .admin
            .get("placement", "/resource_providers")
            .await
            .list("resource_providers");
        text(&all[0], "uuid")
    }

    /// Ids of guests that the fake hypervisor has.
    pub fn guests(&self) -> Vec<String> {
        guests(&self.state)
    }
}

/// Ids of guests that the fake hypervisor of a state folder has.
pub fn guests(state: &Path) -> Vec<String> {
    let folder = state.join("instances").join("fake-host1");
    let entries = std::fs::read_dir(folder)
        .map(|d| d.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    let names = entries
        .iter()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut ids: Vec<String> = names
        .filter_map(|n| n.strip_suffix(".json").map(str::to_string))
        .collect();
    ids.sort();
    ids
}

/// With `RUST_LOG` set, tests tell what the cloud logs.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, not an option of the cloud"
)]
fn log() {
    if let Ok(filter) = std::env::var("RUST_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .try_init();
    }
}
