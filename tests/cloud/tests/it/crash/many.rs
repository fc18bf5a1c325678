//! A cloud of many processes, of which now this one and now that one dies, while the others work on.

use super::child::{Scene, prepare, scene, slow};
use super::{ROUNDS, checks, keep, number, work};
use crate::client::Client;
use crate::cloud::{Folder, Place, Servers, TestCloud};
use crate::conf::Conf;
use crate::processes::{Ground, Routes};
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// One to three deaths, each followed by a new life, while hands are busy; then one judgement.
async fn round(cloud: &TestCloud, scene: &Scene, member: &Client, seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let processes = cloud.processes();
    let (member, at_work) = (member.clone(), scene.clone());
    // Its requests end with it, as those of a client that goes away.
    let mut hands = JoinSet::new();
    hands.spawn(async move { work::run(&member, &at_work, seed).await });
    let mut story = Vec::new();
    for _ in 0..rng.random_range(1..=3) {
        let names = processes.names();
        let victim = names.choose(&mut rng).expect("a host").to_string();
        let alive = Duration::from_millis(rng.random_range(0..900));
        let dead = Duration::from_millis(rng.random_range(0..500));
        sleep(alive).await;
        processes.kill(&victim);
        sleep(dead).await;
        processes.start_host(&victim).await;
        story.push(format!("{victim} dies after {alive:?} for {dead:?}"));
    }
    sleep(Duration::from_millis(rng.random_range(0..500))).await;
    hands.shutdown().await;
    cloud.wait_for_hosts().await;
    let judged = checks::calm(cloud, scene).await;
    judged.map_err(|wrong| format!("{}\n{}", story.join(", "), wrong.join("\n")))
}

/// One cloud that lives on: what was not mended in one round would be seen in the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_over_mariadb_and_rabbitmq_are_mended_by_the_others() {
    let rounds = number("FERROSTACK_CRASH_ROUNDS").unwrap_or(ROUNDS) / 5;
    let first =
        number("FERROSTACK_CRASH_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("FERROSTACK_CRASH_SEED={first}: {rounds} rounds");
    let (mariadb, rabbitmq) =
        tokio::try_join!(MariaDb::start(), RabbitMq::start()).expect("a MariaDB and a RabbitMQ");
    let ground = Ground {
        servers: Servers {
            database: mariadb.template(),
            bus: rabbitmq.url(),
        },
        routes: Routes::default(),
        computes: 2,
    };
    let (folder, conf) = (Folder::new(), slow(Conf::of_tests()));
    let cloud = TestCloud::open(Place::Processes(ground), conf, &folder.0).await;
    prepare(&cloud).await;
    let scene = scene(&folder.0);
    let member = cloud.login("alpha-member", "pw", "alpha").await;
    for seed in first..first + rounds {
        if let Err(why) = round(&cloud, &scene, &member, seed).await {
            let kept = keep(&folder.0, seed);
            panic!("FERROSTACK_CRASH_SEED={seed}: {why}{kept}");
        }
    }
    cloud.stop().await;
}
