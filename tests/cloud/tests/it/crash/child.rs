//! The cloud that is killed: the same test binary, in a role given by the environment.

use super::{checks, work};
use crate::client::Client;
use crate::cloud::{Place, Servers, TestCloud};
use crate::conf::Conf;
use crate::project::Seed;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub const ROLE: &str = "FERROSTACK_CRASH_ROLE";
pub const STATE: &str = "FERROSTACK_CRASH_STATE";
pub const DATABASE: &str = "FERROSTACK_CRASH_DATABASE";
pub const BUS: &str = "FERROSTACK_CRASH_BUS";
pub const SEED: &str = "FERROSTACK_CRASH_CHILD_SEED";

/// What `prepare` made, for the other roles.
#[derive(Clone)]
pub struct Scene {
    pub project: String,
    pub seed: Seed,
    pub second: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a test tells its child process what to be"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub fn slow(conf: Conf) -> Conf {
    // Wide enough for a kill to hit every step.
    conf.set("nova_compute", "fake_delay_ms", 15)
        .set("cinder_volume", "fake_delay_ms", 10)
        .set("cinder_volume", "orphan_interval", 1)
        .set("nova", "quota_instances", 100)
        .set("nova", "quota_cores", -1)
}

fn place() -> Place {
    match (variable(DATABASE), variable(BUS)) {
        (Some(database), Some(bus)) => Place::Scaled(Servers { database, bus }),
        _ => Place::Embedded,
    }
}

/// Does nothing by itself; `a_killed_cloud_mends_itself` starts it with a role.
#[test]
fn the_cloud_as_a_process() {
    let (Some(role), Some(state)) = (variable(ROLE), variable(STATE)) else {
        return;
    };
    let seed = variable(SEED).and_then(|s| s.parse().ok()).unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let state = PathBuf::from(state);
        let cloud = TestCloud::open(place(), slow(Conf::of_tests()), &state).await;
        match role.as_str() {
            "prepare" => {
                prepare(&cloud).await;
                cloud.stop().await;
                println!("CALM");
            }
            "work" => {
                let scene = scene(&state);
                let member = cloud.login("alpha-member", "pw", "alpha").await;
                println!("GO");
                work::run(&member, &scene, seed).await;
            }
            "recover" => {
                println!("GO");
                std::future::pending::<()>().await;
            }
            _ => match checks::calm(&cloud, &scene(&state)).await {
                Ok(()) => println!("CALM"),
                Err(left) => left.iter().for_each(|wrong| println!("WRONG {wrong}")),
            },
        }
    });
    runtime.shutdown_background();
}

pub async fn prepare(cloud: &TestCloud) {
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let (second, _) = p.member.network("second", "10.2.0.0/24").await;
    for n in 0..4 {
        let server = cloud_server(&p.member, &seed, n).await;
        let volume = p.member.volume(1).await;
        if n < 2 {
            p.member.attach_volume(&server, &volume).await.expect(200);
            p.member.wait_volume(&volume, "in-use").await;
        }
    }
    let scene = json!({"project": p.id, "flavor": seed.flavor, "image": seed.image, "network": seed.network,
        "subnet": seed.subnet, "second": second});
    std::fs::write(cloud.state.join("scene.json"), scene.to_string()).expect("a file");
}

async fn cloud_server(member: &Client, seed: &Seed, n: usize) -> String {
    crate::client::id(&member.boot(seed, &format!("old-{n}")).await)
}

pub fn scene(state: &Path) -> Scene {
    let text = std::fs::read_to_string(state.join("scene.json")).expect("a scene");
    let scene: Value = serde_json::from_str(&text).expect("a scene");
    let get = |key: &str| crate::client::text(&scene, key);
    Scene {
        project: get("project"),
        seed: Seed {
            flavor: get("flavor"),
            image: get("image"),
            network: get("network"),
            subnet: get("subnet"),
        },
        second: get("second"),
    }
}
