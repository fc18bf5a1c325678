//! What must hold of a cloud that nobody asks anything of any more.

use super::child::Scene;
use crate::client::{Client, text};
use crate::cloud::{TestCloud, guests};
use crate::wait::patiently;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Longer than any reconciler's interval that may be needed.
const CALM_WITHIN: Duration = Duration::from_secs(60);

/// Waits until nothing is wrong; otherwise what still is.
pub async fn calm(cloud: &TestCloud, scene: &Scene) -> Result<(), Vec<String>> {
    let quiet = patiently(CALM_WITHIN, || async move {
        wrongs(cloud, scene).await.is_empty().then_some(())
    });
    if quiet.await.is_some() {
        return Ok(());
    }
    match wrongs(cloud, scene).await {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    }
}

struct Picture {
    servers: Vec<Value>,
    volumes: Vec<Value>,
    attachments: Vec<Value>,
    ports: Vec<Value>,
    /// Server to the hosts on which placement has given it room.
    allocations: BTreeMap<String, BTreeSet<String>>,
}

async fn look(cloud: &TestCloud) -> Picture {
    let admin = &cloud.admin;
    let base = format!("/v3/{}", admin.project_id);
    let list = async |service: &str, path: String, key: &str| {
        admin.get(service, &path).await.expect(200).list(key)
    };
    Picture {
        servers: list(
            "compute",
            "/v2.1/servers/detail?all_tenants=1".into(),
            "servers",
        )
        .await,
        volumes: list(
            "volumev3",
            format!("{base}/volumes/detail?all_tenants=1"),
            "volumes",
        )
        .await,
        attachments: list(
            "volumev3",
            format!("{base}/attachments/detail?all_tenants=1"),
            "attachments",
        )
        .await,
        ports: list("network", "/v2.0/ports".into(), "ports").await,
        allocations: cloud.allocations().await,
    }
}

async fn wrongs(cloud: &TestCloud, scene: &Scene) -> Vec<String> {
    let p = look(cloud).await;
    let mut wrong = Vec::new();
    let living: BTreeSet<String> = p.servers.iter().map(|s| text(s, "id")).collect();
    let mut placed = BTreeMap::new();
    for s in &p.servers {
        let (id, status, task) = (
            text(s, "id"),
            text(s, "status"),
            &s["OS-EXT-STS:task_state"],
        );
        if !task.is_null() || !["ACTIVE", "SHUTOFF", "ERROR"].contains(&status.as_str()) {
            wrong.push(format!("server {id} is {status}, task {task}"));
        }
        if status == "ERROR" && text(&s["fault"], "message").is_empty() {
            wrong.push(format!("server {id} is in ERROR and does not say why"));
        }
        let host = s["OS-EXT-SRV-ATTR:host"].as_str();
        let hosts: BTreeSet<String> = host.map(str::to_string).into_iter().collect();
        let given = p.allocations.get(&id).cloned().unwrap_or_default();
        if hosts != given {
            wrong.push(format!(
                "server {id} ({status}) is on {hosts:?}, placement says {given:?}"
            ));
        }
        if let Some(host) = host {
            placed.insert(id.clone(), host.to_string());
        }
    }
    wrong.extend(
        p.allocations
            .keys()
            .filter(|c| !living.contains(*c))
            .map(|c| format!("allocation of {c}, which is gone")),
    );
    ports(&p, &living, &mut wrong);
    volumes(&p, &living, &cloud.state, &mut wrong);
    hypervisor(cloud, &p, &placed, &mut wrong).await;
    usage(&cloud.admin, scene, &p, &mut wrong).await;
    wrong
}

fn ports(p: &Picture, living: &BTreeSet<String>, wrong: &mut Vec<String>) {
    for port in p
        .ports
        .iter()
        .filter(|p| text(p, "device_owner").starts_with("compute:"))
    {
        let (id, device) = (text(port, "id"), text(port, "device_id"));
        if !living.contains(&device) {
            wrong.push(format!("port {id} of server {device}, which is gone"));
        }
    }
}

fn volumes(p: &Picture, living: &BTreeSet<String>, state: &Path, wrong: &mut Vec<String>) {
    let failed = |id: &str| {
        p.servers
            .iter()
            .any(|s| s["id"] == *id && s["status"] == "ERROR")
    };
    let mut claims: BTreeMap<String, String> = BTreeMap::new();
    for a in &p.attachments {
        let field = |key: &str| text(a, key);
        let (id, volume, server, status) = (
            field("id"),
            field("volume_id"),
            field("instance"),
            field("status"),
        );
        if !living.contains(&server) {
            wrong.push(format!(
                "attachment {id} ({status}) of volume {volume} to server {server}, which is gone"
            ));
        } else if status != "attached" && !(status == "reserved" && failed(&server)) {
            // A server that could not be built keeps its volumes until somebody deletes it, as upstream's does.
            wrong.push(format!(
                "attachment {id} of volume {volume} to {server} is {status}"
            ));
        }
        claims.insert(volume, status);
    }
    let mut kept = BTreeSet::new();
    for v in &p.volumes {
        let (id, status) = (text(v, "id"), text(v, "status"));
        let follows = match claims.get(&id).map(String::as_str) {
            None => "available",
            Some("attached") => "in-use",
            Some(other) => other,
        };
        if status != follows {
            wrong.push(format!(
                "volume {id} is {status}, its attachments say {follows}"
            ));
        }
        kept.insert(id);
    }
    let files = volume_files(state);
    if files != kept {
        wrong.push(format!("volumes {kept:?}, files of volumes {files:?}"));
    }
}

/// Ids of the fake backend's records, wherever below the state they are.
fn volume_files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        if path.is_dir() && !name.starts_with("db") {
            found.extend(volume_files(&path));
        }
        found.extend(
            name.strip_prefix("volume-")
                .and_then(|n| n.strip_suffix(".json"))
                .map(str::to_string),
        );
    }
    found
}

/// The hypervisor has exactly the living servers, each with its cards and disks.
async fn hypervisor(
    cloud: &TestCloud,
    p: &Picture,
    placed: &BTreeMap<String, String>,
    wrong: &mut Vec<String>,
) {
    let guests = guests(&cloud.state);
    let there: BTreeSet<(&str, &str)> = guests.iter().map(|g| (&*g.id, &*g.host)).collect();
    let wanted: BTreeSet<(&str, &str)> = placed.iter().map(|(id, host)| (&**id, &**host)).collect();
    if there != wanted {
        let (extra, missing): (Vec<_>, Vec<_>) = (
            there.difference(&wanted).collect(),
            wanted.difference(&there).collect(),
        );
        wrong.push(format!(
            "guests that nobody knows: {extra:?}; servers without a guest: {missing:?}"
        ));
    }
    for guest in guests.iter().filter(|g| placed.contains_key(&g.id)) {
        let (id, guest) = (&guest.id, &guest.record);
        let of_guest = |list: &str, key: &str| -> BTreeSet<String> {
            guest["spec"][list]
                .as_array()
                .into_iter()
                .flatten()
                .map(|v| text(v, key))
                .collect()
        };
        let cards: BTreeSet<String> = p
            .ports
            .iter()
            .filter(|p| p["device_id"] == **id)
            .map(|p| text(p, "id"))
            .collect();
        if of_guest("ports", "id") != cards {
            wrong.push(format!(
                "guest {id} has cards {:?}, neutron says {cards:?}",
                of_guest("ports", "id")
            ));
        }
        let disks: BTreeSet<String> = p
            .attachments
            .iter()
            .filter(|a| a["instance"] == **id)
            .map(|a| text(a, "volume_id"))
            .collect();
        if of_guest("volumes", "volume_id") != disks {
            wrong.push(format!(
                "guest {id} has volumes {:?}, cinder says {disks:?}",
                of_guest("volumes", "volume_id")
            ));
        }
        let path = format!("/v2.1/servers/{id}/os-volume_attachments");
        let known = cloud.admin.get("compute", &path).await;
        let known: BTreeSet<String> = known["volumeAttachments"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| text(a, "volumeId"))
            .collect();
        if known != disks {
            wrong.push(format!(
                "server {id} has volumes {known:?}, cinder says {disks:?}"
            ));
        }
    }
}

/// What quotas count is what is there.
async fn usage(admin: &Client, scene: &Scene, p: &Picture, wrong: &mut Vec<String>) {
    let mut compare = |what: &str, counted: &Value, there: u64| {
        if *counted != json!(there) {
            wrong.push(format!("quota says {counted} {what}, there are {there}"));
        }
    };
    let id = &scene.project;
    let nova = admin
        .get("compute", &format!("/v2.1/os-quota-sets/{id}/detail"))
        .await
        .expect(200)
        .key("quota_set");
    compare(
        "instances",
        &nova["instances"]["in_use"],
        p.servers.len() as u64,
    );
    compare("cores", &nova["cores"]["in_use"], p.servers.len() as u64);
    compare(
        "MiB of memory",
        &nova["ram"]["in_use"],
        64 * p.servers.len() as u64,
    );
    let path = format!("/v3/{}/os-quota-sets/{id}?usage=true", admin.project_id);
    let cinder = admin
        .get("volumev3", &path)
        .await
        .expect(200)
        .key("quota_set");
    compare(
        "volumes",
        &cinder["volumes"]["in_use"],
        p.volumes.len() as u64,
    );
    let size = p.volumes.iter().filter_map(|v| v["size"].as_u64()).sum();
    compare("GiB of volumes", &cinder["gigabytes"]["in_use"], size);
    let neutron = admin
        .get("network", &format!("/v2.0/quotas/{id}/details"))
        .await
        .expect(200)
        .key("quota");
    let ports = p.ports.iter().filter(|p| p["project_id"] == **id).count() as u64;
    compare("ports", &neutron["port"]["used"], ports);
}
