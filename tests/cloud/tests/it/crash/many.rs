//! A cloud of many processes, of which now this one and now that one dies, while the others work on.

use super::child::{Scene, prepare, scene, slow};
use super::{ROUNDS, checks, keep, number, work};
use crate::client::{Client, id};
use crate::cloud::{Folder, Place, Servers, TestCloud};
use crate::conf::Conf;
use crate::processes::{Ground, Routes};
use crate::wait::{PATIENCE, patiently};
use async_trait::async_trait;
use base::Result as Handled;
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Notification, NotificationHandler, Options, RabbitConfig};
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Who is told what happened to servers: billing must not miss one because its teller died.
#[derive(Default)]
struct Ear {
    /// Server to events.
    heard: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Servers that were there when it was last asked.
    known: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl NotificationHandler for Ear {
    async fn notified(&self, _: RequestContext, said: Notification) -> Handled<()> {
        let server = said.payload["nova_object.data"]["uuid"].as_str();
        let mut heard = self.heard.lock().expect("an ear");
        let events = heard.entry(server.unwrap_or_default().to_string());
        events.or_default().insert(said.event_type);
        Ok(())
    }
}

impl Ear {
    /// What was not told yet: of servers that were built, and of those that ended since the last time.
    fn missed(&self, built: &BTreeSet<String>, living: &BTreeSet<String>) -> Vec<String> {
        let known = self.known.lock().expect("an ear");
        let begun = ["instance.create.start", "instance.create.end"];
        let wanted = built.iter().flat_map(|s| begun.map(|event| (s, event)));
        let ended = known.difference(living).map(|s| (s, "instance.delete.end"));
        let untold = wanted.chain(ended).filter(|(s, event)| !self.has(s, event));
        let words = untold.map(|(s, event)| format!("{event} of {s} was not told"));
        words.collect()
    }

    fn has(&self, server: &str, event: &str) -> bool {
        let heard = self.heard.lock().expect("an ear");
        heard.get(server).is_some_and(|h| h.contains(event))
    }

    /// Waits until everything was told.
    async fn hears(&self, cloud: &TestCloud) -> Result<(), Vec<String>> {
        let path = "/v2.1/servers/detail?all_tenants=1";
        let servers = cloud.admin.get("compute", path).await.expect(200);
        let servers = servers.list("servers");
        let living: BTreeSet<String> = servers.iter().map(id).collect();
        let built = servers.iter().filter(|s| s["status"] != "ERROR");
        let built = built.map(id).collect();
        let told = || async { self.missed(&built, &living).is_empty().then_some(()) };
        if patiently(PATIENCE, told).await.is_none() {
            return Err(self.missed(&built, &living));
        }
        let known = living.into_iter();
        let known = known.filter(|s| self.has(s, "instance.create.end"));
        *self.known.lock().expect("an ear") = known.collect();
        Ok(())
    }
}

/// One to three deaths, each followed by a new life, while hands are busy; then one judgement.
async fn round(
    cloud: &TestCloud,
    scene: &Scene,
    member: &Client,
    ear: &Ear,
    seed: u64,
) -> Result<(), String> {
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
    let judged = match checks::calm(cloud, scene).await {
        Ok(()) => ear.hears(cloud).await,
        wrong => wrong,
    };
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
    let bus = RabbitConfig::parse(&rabbitmq.url()).expect("an address");
    let bus = Bus::rabbit(bus, Options::default()).expect("a bus");
    let ear = Arc::new(Ear::default());
    let listening = bus.listen_notifications("nova", "notifications", ear.clone());
    let _listening = listening.await.expect("a listener");
    // Unlike a cloud of one process, this one does not start again as a whole and heal then.
    let conf = slow(Conf::of_tests())
        .set("nova", "heal_instance_info_cache_interval", 10)
        .set("nova", "notification_driver", "messagingv2");
    let folder = Folder::new();
    let cloud = TestCloud::open(Place::Processes(ground), conf, &folder.0).await;
    prepare(&cloud).await;
    let scene = scene(&folder.0);
    let member = cloud.login("alpha-member", "pw", "alpha").await;
    for seed in first..first + rounds {
        if let Err(why) = round(&cloud, &scene, &member, &ear, seed).await {
            let kept = keep(&folder.0, seed);
            panic!("FERROSTACK_CRASH_SEED={seed}: {why}{kept}");
        }
    }
    cloud.stop().await;
}
