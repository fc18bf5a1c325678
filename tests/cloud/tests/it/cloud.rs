//! A cloud of one's own, in the shape that the story is told: in this process, or in many. Everything fake that touches a
//! host, ports that are free, state in a folder that goes with it.

use crate::client::{Client, Endpoints, id, text};
use crate::conf::Conf;
use crate::processes::{Ground, Processes};
use crate::wait::wait_for;
use base::Secret;
use ferrostack::boot::{self, Cloud};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a cloud keeps its rows and how its parts talk.
#[derive(Clone)]
pub struct Servers {
    pub database: String,
    pub bus: String,
}

/// The shape of a cloud.
#[derive(Clone)]
pub enum Place {
    /// One process, SQLite files and the in-process bus.
    Embedded,
    /// One process, MariaDB and RabbitMQ.
    Scaled(Servers),
    /// A process for each host.
    Processes(Ground),
}

impl Place {
    /// How many hosts with guests it has.
    fn computes(&self) -> usize {
        match self {
            Place::Embedded | Place::Scaled(_) => 1,
            Place::Processes(ground) => ground.computes,
        }
    }

    /// The same with so many hosts for guests; of processes only.
    pub fn with_computes(self, computes: usize) -> Place {
        match self {
            Place::Processes(ground) => Place::Processes(Ground { computes, ..ground }),
            Place::Embedded | Place::Scaled(_) => panic!("one process is one host"),
        }
    }
}

enum Shape {
    One(Box<Cloud>),
    Many(Box<Processes>),
}

/// A running cloud and its folder.
pub struct TestCloud {
    shape: Shape,
    place: Place,
    conf: Conf,
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

impl TestCloud {
    /// A new cloud that can boot servers.
    pub async fn start(place: Place) -> TestCloud {
        TestCloud::with(place, |conf| conf).await
    }

    /// A new cloud with other options.
    pub async fn with(place: Place, change: impl FnOnce(Conf) -> Conf) -> TestCloud {
        let folder = Folder::new();
        let conf = change(Conf::of_tests());
        let mut cloud = TestCloud::open(place, conf, &folder.0).await;
        cloud.folder = Some(folder);
        cloud
    }

    /// A cloud on a folder that stays.
    pub async fn open(place: Place, conf: Conf, state: &Path) -> TestCloud {
        log();
        let (shape, endpoints, password) = match &place {
            Place::Processes(ground) => {
                let processes = Processes::start(ground.clone(), &conf, state).await;
                let endpoints = processes.endpoints();
                let password = processes.secrets.admin_password.clone();
                (Shape::Many(Box::new(processes)), endpoints, password)
            }
            Place::Embedded | Place::Scaled(_) => {
                let cloud = one_process(&place, &conf, state).await;
                let endpoints = Arc::new(cloud.endpoints.clone());
                let password = cloud.secrets.admin_password.clone();
                (Shape::One(Box::new(cloud)), endpoints, password)
            }
        };
        let admin = Client::login(&endpoints, "admin", password.expose(), "admin")
            .await
            .unwrap_or_else(|no| panic!("the administrator may not log in: {}", no.body));
        let cloud = TestCloud {
            shape,
            place,
            conf,
            endpoints,
            state: state.to_path_buf(),
            admin,
            folder: None,
        };
        cloud.wait_for_hosts().await;
        cloud
    }

    /// Stops it in order and starts it again on the same folder.
    pub async fn restart(mut self) -> TestCloud {
        match self.shape {
            Shape::Many(ref processes) => {
                processes.stop().await;
                processes.start_all().await;
                self.wait_for_hosts().await;
                self
            }
            Shape::One(cloud) => {
                cloud.stop().await;
                let folder = self.folder.take();
                let mut again = TestCloud::open(self.place, self.conf, &self.state).await;
                again.folder = folder;
                again
            }
        }
    }

    pub async fn stop(self) {
        match self.shape {
            Shape::One(cloud) => cloud.stop().await,
            Shape::Many(processes) => processes.stop().await,
        }
    }

    /// The processes of a cloud that has many.
    pub fn processes(&self) -> &Processes {
        match &self.shape {
            Shape::Many(processes) => processes,
            Shape::One(_) => panic!("a cloud in one process"),
        }
    }

    pub fn processes_mut(&mut self) -> &mut Processes {
        match &mut self.shape {
            Shape::Many(processes) => processes,
            Shape::One(_) => panic!("a cloud in one process"),
        }
    }

    pub fn metadata_secret(&self) -> Secret {
        let secrets = match &self.shape {
            Shape::One(cloud) => &cloud.secrets,
            Shape::Many(processes) => &processes.secrets,
        };
        secrets.metadata_shared_secret.clone()
    }

    pub async fn login(&self, user: &str, password: &str, project: &str) -> Client {
        let done = Client::login(&self.endpoints, user, password, project).await;
        done.unwrap_or_else(|no| panic!("{user} may not log in to {project}: {}", no.body))
    }

    /// Every kind of agent has reported: servers, networks and volumes can be made.
    pub async fn wait_for_hosts(&self) {
        let (admin, computes) = (&self.admin, self.computes());
        wait_for("the compute hosts in placement", || async move {
            let services = admin
                .get("compute", "/v2.1/os-services?binary=nova-compute")
                .await;
            let services = services["services"].as_array()?.clone();
            let up = services.iter().filter(|s| s["state"] == "up").count();
            let providers = admin.get("placement", "/resource_providers").await;
            let providers = providers["resource_providers"].as_array()?.clone();
            for provider in &providers {
                let path = format!("/resource_providers/{}/inventories", text(provider, "uuid"));
                let inventory = admin.get("placement", &path).await;
                inventory["inventories"].get("VCPU")?;
            }
            (up == computes && providers.len() == computes).then_some(())
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
            let all = agents.iter().all(|a| a["alive"] == true);
            (all && agents.len() >= self.network_agents()).then_some(())
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

    fn computes(&self) -> usize {
        match &self.shape {
            Shape::One(_) => self.place.computes(),
            Shape::Many(processes) => processes.computes(),
        }
    }

    /// The four of a network host and, where that is a process of its own, one more on each compute host.
    fn network_agents(&self) -> usize {
        match &self.shape {
            Shape::One(_) => 4,
            Shape::Many(processes) => 4 + processes.computes(),
        }
    }

    /// The compute hosts' providers in placement: name to id.
    pub async fn providers(&self) -> BTreeMap<String, String> {
        let all = self
            .admin
            .get("placement", "/resource_providers")
            .await
            .expect(200)
            .list("resource_providers");
        all.iter()
            .map(|p| (text(p, "name"), text(p, "uuid")))
            .collect()
    }

    /// What placement has given away on all hosts: consumer to the hosts' names.
    pub async fn allocations(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (host, id) in self.providers().await {
            let path = format!("/resource_providers/{id}/allocations");
            let given = self.admin.get("placement", &path).await.expect(200);
            for consumer in given["allocations"].as_object().into_iter().flatten() {
                all.entry(consumer.0.clone())
                    .or_default()
                    .insert(host.clone());
            }
        }
        all
    }

    /// Ids of guests that the fake hypervisors have.
    pub fn guests(&self) -> Vec<String> {
        let guests = guests(&self.state);
        guests.iter().map(|guest| guest.id.clone()).collect()
    }
}

async fn one_process(place: &Place, conf: &Conf, state: &Path) -> Cloud {
    let mut conf = conf.clone().set("DEFAULT", "host", "host1");
    for port in [
        "identity_port",
        "image_port",
        "placement_port",
        "network_port",
        "compute_port",
        "metadata_port",
        "volume_port",
        "novnc_port",
    ] {
        conf = conf.set("api", port, 0);
    }
    if let Place::Scaled(servers) = place {
        conf = conf
            .set("database", "connection", servers.database.as_str())
            .set("DEFAULT", "transport_url", servers.bus.as_str());
    }
    boot::start(conf.settings(state))
        .await
        .expect("the cloud starts")
}

/// A guest of a fake hypervisor.
pub struct Guest {
    pub id: String,
    pub host: String,
    pub record: Value,
}

/// The guests of all fake hypervisors of a cloud, by id: those of a cloud in one process lie below its state folder,
/// those of others below the folders of their hosts.
pub fn guests(state: &Path) -> Vec<Guest> {
    let hosts = entries(state).into_iter().chain([state.to_path_buf()]);
    let hypervisors = hosts.flat_map(|host| entries(&host.join("instances")));
    let mut guests = Vec::new();
    for folder in hypervisors {
        let Some(host) = name(&folder).strip_prefix("fake-").map(str::to_string) else {
            continue;
        };
        for file in entries(&folder) {
            let Some(id) = name(&file).strip_suffix(".json").map(str::to_string) else {
                continue;
            };
            // One that goes at this moment is gone.
            let Ok(bytes) = std::fs::read(&file) else {
                continue;
            };
            let (host, record) = (
                host.clone(),
                serde_json::from_slice(&bytes).expect("a guest"),
            );
            guests.push(Guest { id, host, record });
        }
    }
    guests.sort_by(|a, b| a.id.cmp(&b.id));
    guests
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or("")
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
