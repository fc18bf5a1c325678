//! Toy flows, on SQLite and on MariaDB.

use base::{Error, Kind, Result};
use oslo_db::Db;
use oslo_taskflow::testkit::{Outcome, flow_survives};
use oslo_taskflow::{BoxFuture, Engine, Flow, MIGRATIONS, Step};
use oslo_testing::db::{Galera, MariaDb};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

const SOON: Duration = Duration::from_secs(20);

/// The world that toy flows change.
#[derive(Default)]
struct World {
    things: Mutex<BTreeSet<String>>,
    log: Mutex<Vec<String>>,
    status: Mutex<String>,
    fail: Mutex<Vec<Kind>>,
    gate: Option<Semaphore>,
    running: Mutex<(usize, usize)>,
}

impl World {
    fn log(&self, words: impl Into<String>) {
        self.log.lock().unwrap().push(words.into());
    }
    fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

#[derive(Serialize, Deserialize)]
struct Make {
    id: String,
    tag: String,
    made: Option<String>,
}

impl Make {
    /// Everything after a slash is the one whose work it is.
    fn whose(&self) -> &str {
        self.tag.split_once('/').map_or("", |(_, whose)| whose)
    }

    fn new(id: &str, tag: &str) -> Make {
        Make {
            id: id.into(),
            tag: tag.into(),
            made: None,
        }
    }
}

async fn claim(flow: &mut Make, world: Arc<World>) -> Result<()> {
    world
        .things
        .lock()
        .unwrap()
        .insert(format!("claim {}", flow.id));
    Ok(())
}

async fn unclaim(flow: &mut Make, world: Arc<World>) -> Result<()> {
    world
        .things
        .lock()
        .unwrap()
        .remove(&format!("claim {}", flow.id));
    Ok(())
}

async fn make(flow: &mut Make, world: Arc<World>) -> Result<()> {
    world.log(format!("make {}", flow.tag));
    {
        let mut running = world.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
    }
    if let Some(gate) = &world.gate {
        gate.acquire().await.unwrap().forget();
    }
    world.running.lock().unwrap().0 -= 1;
    let failure = world.fail.lock().unwrap().pop();
    match failure {
        Some(Kind::Gone) => panic!("fell over"),
        Some(kind) => {
            return Err(Error::new(kind, "no luck")
                .class("NoLuck")
                .log("really none"));
        }
        None => {}
    }
    world
        .things
        .lock()
        .unwrap()
        .insert(format!("thing {}", flow.id));
    flow.made = Some(flow.id.clone());
    Ok(())
}

async fn unmake(flow: &mut Make, world: Arc<World>) -> Result<()> {
    world.log(format!("unmake {}", flow.tag));
    // The do may have happened without its state: by the id of the resource, not by `made`.
    world
        .things
        .lock()
        .unwrap()
        .remove(&format!("thing {}", flow.id));
    flow.made = None;
    Ok(())
}

async fn publish(flow: &mut Make, world: Arc<World>) -> Result<()> {
    assert!(flow.made.is_some(), "the state of earlier steps is here");
    *world.status.lock().unwrap() = "available".to_string();
    Ok(())
}

impl Flow for Make {
    const NAME: &'static str = "make";
    type Deps = World;

    fn steps() -> Vec<Step<Make>> {
        vec![
            Step::new("claim", |f, w| Box::pin(claim(f, w))).undo(|f, w| Box::pin(unclaim(f, w))),
            Step::new("make", |f, w| Box::pin(make(f, w)))
                .undo(|f, w| Box::pin(unmake(f, w)))
                .retries(2),
            Step::new("publish", |flow: &mut Make, world: Arc<World>| {
                Box::pin(async move { publish(flow, world).await })
            }),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.id
    }

    fn share(&self) -> &str {
        self.whose()
    }

    fn request_id(&self) -> &str {
        "req-1"
    }

    fn reverted(&self, world: Arc<World>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            *world.status.lock().unwrap() = "error".to_string();
            world.log(format!(
                "reverted: {} {:?} {error}",
                error.message(),
                error.error_class()
            ));
            Ok(())
        })
    }
}

/// Where flows are saved.
enum Place {
    Sqlite,
    MariaDb(MariaDb),
}

impl Place {
    /// A new, empty database.
    async fn database(&self) -> Db {
        let url = match self {
            Place::Sqlite => "sqlite::memory:".to_string(),
            Place::MariaDb(server) => server.database().await.unwrap(),
        };
        let db = Db::open(&url).await.unwrap();
        db.migrate("taskflow", MIGRATIONS).await.unwrap();
        db
    }
}

/// Each story a test of its own on SQLite, and all of them on one MariaDB.
macro_rules! on_both {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    super::$story(&super::Place::Sqlite).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn mariadb() {
            let place = Place::MariaDb(MariaDb::start().await.unwrap());
            $(
                println!(stringify!($story));
                $story(&place).await;
            )*
        }
    };
}

on_both!(
    a_rolled_back_submit_never_happened,
    a_lease_that_ended_unnoticed_is_not_taken_twice_by_its_engine,
    a_stop_does_not_wait_for_ever_for_a_step,
    a_stopped_engine_gives_back_and_a_dead_one_is_inherited,
    a_submitter_without_an_engine_wakes_one_elsewhere,
    hundreds_that_wait_for_their_turn_hold_up_nobody_behind_them,
    leases_keep_others_away_until_they_end,
    one_resource_in_order_others_beside_it_within_bounds,
    the_toy_survives_everything,
    transient_errors_are_tried_again_and_others_not,
    two_engines_share_the_work_and_one_finishes_for_both,
    who_has_hundreds_leaves_room_for_others,
);

fn engine(db: &Db, host: &str, world: &Arc<World>) -> Engine {
    let engine = Engine::builder(db.clone(), host).register::<Make>(world.clone());
    engine.pause(Duration::from_millis(1)).build()
}

async fn submit(db: &Db, engine: &Engine, id: &str, tag: &str) {
    let (writer, id, tag) = (engine.clone(), id.to_string(), tag.to_string());
    db.write(move |tx| writer.submit(tx, &Make::new(&id, &tag)))
        .await
        .unwrap();
    engine.wake();
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap();
}

fn world_with_gate() -> Arc<World> {
    Arc::new(World {
        gate: Some(Semaphore::new(0)),
        ..World::default()
    })
}

async fn the_toy_survives_everything(place: &Place) {
    let setup = || async {
        (
            place.database().await,
            Make::new("7", "a"),
            Arc::new(World::default()),
        )
    };
    flow_survives(setup, |_db, world: Arc<World>, outcome| async move {
        let things: Vec<String> = world.things.lock().unwrap().iter().cloned().collect();
        let status = world.status.lock().unwrap().clone();
        match outcome {
            Outcome::Finished => assert_eq!((things.len(), status.as_str()), (2, "available")),
            Outcome::Reverted => {
                assert_eq!((things.len(), status.as_str()), (0, "error"), "{things:?}")
            }
        }
        Ok(())
    })
    .await;
}

async fn transient_errors_are_tried_again_and_others_not(place: &Place) {
    let db = place.database().await;
    let world = Arc::new(World::default());
    *world.fail.lock().unwrap() = vec![Kind::Timeout, Kind::Unavailable];
    let engine = engine(&db, "h", &world);
    engine.start();
    submit(&db, &engine, "7", "a").await;
    engine.wait_idle(SOON).await.unwrap();
    assert_eq!(world.logged(), ["make a", "make a", "make a"]);
    assert_eq!(*world.status.lock().unwrap(), "available");

    world.log.lock().unwrap().clear();
    *world.fail.lock().unwrap() = vec![Kind::Conflict];
    submit(&db, &engine, "8", "b").await;
    engine.wait_idle(SOON).await.unwrap();
    assert_eq!(
        world.logged(),
        [
            "make b",
            "unmake b",
            "reverted: no luck Some(\"NoLuck\") really none"
        ]
    );
    assert!(!world.things.lock().unwrap().contains("claim 8"));

    world.log.lock().unwrap().clear();
    *world.fail.lock().unwrap() = vec![Kind::Gone];
    submit(&db, &engine, "9", "c").await;
    engine.wait_idle(SOON).await.unwrap();
    assert!(
        world.logged()[2].ends_with("make panicked: fell over"),
        "{:?}",
        world.logged()
    );

    world.log.lock().unwrap().clear();
    *world.fail.lock().unwrap() = vec![Kind::Timeout; 3];
    submit(&db, &engine, "10", "d").await;
    engine.wait_idle(SOON).await.unwrap();
    assert_eq!(
        world.logged().iter().filter(|l| *l == "make d").count(),
        3,
        "two retries, no more"
    );
    assert_eq!(*world.status.lock().unwrap(), "error");
}

async fn one_resource_in_order_others_beside_it_within_bounds(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let builder = Engine::builder(db.clone(), "h").register::<Make>(world.clone());
    let engine = builder.concurrency(2).build();
    engine.start();
    for (id, tag) in [("7", "a"), ("7", "b"), ("7", "c"), ("8", "d"), ("9", "e")] {
        submit(&db, &engine, id, tag).await;
    }
    until(|| world.logged().len() == 2).await;
    assert_eq!(engine.pending().await.unwrap(), 5);
    let census = || async {
        let census = oslo_taskflow::census(&db).await.unwrap();
        let told = census.into_iter().map(|c| (c.name, c.state, c.count));
        told.collect::<Vec<_>>()
    };
    let make = || "make".to_string();
    assert_eq!(
        census().await,
        [(make(), "running", 2), (make(), "waiting", 3)]
    );
    world.gate.as_ref().unwrap().add_permits(5);
    engine.wait_idle(SOON).await.unwrap();
    assert_eq!(census().await, []);
    let seven: Vec<String> = world
        .logged()
        .into_iter()
        .filter(|l| !l.ends_with(['d', 'e']))
        .collect();
    assert_eq!(seven, ["make a", "make b", "make c"]);
    assert_eq!(
        world.running.lock().unwrap().1,
        2,
        "two at once, never more"
    );
}

async fn hundreds_that_wait_for_their_turn_hold_up_nobody_behind_them(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let engine = engine(&db, "h", &world);
    let writer = engine.clone();
    let submit_all = move |tx: &mut oslo_db::Tx| {
        for n in 0..450 {
            writer.submit(tx, &Make::new("7", &format!("a{n}")))?;
        }
        writer.submit(tx, &Make::new("8", "b")).map(drop)
    };
    db.write(submit_all).await.unwrap();
    engine.start();
    until(|| world.logged().len() == 2).await;
    let mut begun = world.logged();
    begun.sort();
    assert_eq!(begun, ["make a0", "make b"]);
    world.gate.as_ref().unwrap().add_permits(3);
    // The next of the first resource, and nobody else's.
    until(|| world.logged().len() == 4).await;
    assert_eq!(world.logged()[2..], ["make a1", "make a2"]);
    engine.kill().await;
}

async fn who_has_hundreds_leaves_room_for_others(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let builder = Engine::builder(db.clone(), "h").register::<Make>(world.clone());
    let engine = builder.concurrency(4).share(2).build();
    let writer = engine.clone();
    let submit_all = move |tx: &mut oslo_db::Tx| {
        for n in 0..450 {
            writer.submit(tx, &Make::new(&format!("a{n}"), &format!("{n}/ann")))?;
        }
        writer.submit(tx, &Make::new("b", "0/bob")).map(drop)
    };
    db.write(submit_all).await.unwrap();
    engine.start();
    until(|| world.logged().len() == 3).await;
    let mut begun = world.logged();
    begun.sort();
    assert_eq!(begun, ["make 0/ann", "make 0/bob", "make 1/ann"]);
    // One that comes later, while Ann has all that she may have, and one that is nobody's.
    submit(&db, &engine, "c", "1/bob").await;
    until(|| world.logged().len() == 4).await;
    assert_eq!(world.logged()[3], "make 1/bob");
    // What ends is followed by more of the same.
    world.gate.as_ref().unwrap().add_permits(4);
    until(|| world.logged().len() >= 6).await;
    let mut next = world.logged()[4..6].to_vec();
    next.sort();
    assert_eq!(next, ["make 2/ann", "make 3/ann"]);
    engine.kill().await;
}

async fn a_stopped_engine_gives_back_and_a_dead_one_is_inherited(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let first = engine(&db, "h1", &world);
    first.start();
    submit(&db, &first, "7", "a").await;
    until(|| world.logged().len() == 1).await;
    first.kill().await;
    assert_eq!(first.pending().await.unwrap(), 1);

    // The same host at once.
    let second = engine(&db, "h1", &world);
    second.start();
    until(|| world.logged().len() == 2).await;
    let stopping = tokio::spawn({
        let second = second.clone();
        async move { second.stop().await }
    });
    world.gate.as_ref().unwrap().add_permits(1);
    stopping.await.unwrap();
    assert_eq!(
        second.pending().await.unwrap(),
        1,
        "the step ended, the flow did not"
    );

    // Another host without waiting for a lease: it was given back.
    let third = engine(&db, "h2", &world);
    third.start();
    third.wait_idle(SOON).await.unwrap();
    assert_eq!(
        world.logged(),
        ["make a", "make a"],
        "the ended step is not run again"
    );
    assert_eq!(*world.status.lock().unwrap(), "available");
}

async fn a_stop_does_not_wait_for_ever_for_a_step(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let builder = Engine::builder(db.clone(), "h1").register::<Make>(world.clone());
    let first = builder.step_patience(Duration::from_millis(100)).build();
    first.start();
    submit(&db, &first, "7", "a").await;
    until(|| world.logged().len() == 1).await;
    let stopped = tokio::time::timeout(SOON, first.stop()).await;
    stopped.expect("nobody opens the gate, and it stops");

    world.gate.as_ref().unwrap().add_permits(1);
    let second = engine(&db, "h1", &world);
    second.start();
    second.wait_idle(SOON).await.unwrap();
    assert_eq!(world.logged(), ["make a", "make a"]);
    assert_eq!(*world.status.lock().unwrap(), "available");
}

async fn leases_keep_others_away_until_they_end(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    // Renewed each third of it: a busy machine may be late by the rest.
    let lease = Duration::from_millis(1500);
    let build = |host: &str| {
        let builder = Engine::builder(db.clone(), host).register::<Make>(world.clone());
        builder.lease(lease).build()
    };
    let (first, second) = (build("h1"), build("h2"));
    first.start();
    submit(&db, &first, "7", "a").await;
    until(|| world.logged().len() == 1).await;
    second.start();
    second.wake();
    assert!(
        second.wait_idle(lease * 2).await.is_err(),
        "renewed, so it is not taken"
    );
    assert_eq!(world.logged().len(), 1);
    first.kill().await;
    until(|| world.logged().len() == 2).await;
    world.gate.as_ref().unwrap().add_permits(1);
    second.wait_idle(SOON).await.unwrap();
}

async fn a_rolled_back_submit_never_happened(place: &Place) {
    let db = place.database().await;
    let world = Arc::new(World::default());
    let engine = engine(&db, "h", &world);
    let writer = engine.clone();
    let outcome: Result<()> = db
        .write(move |tx| {
            writer.submit(tx, &Make::new("7", "a"))?;
            Err(Error::conflict("quota"))
        })
        .await;
    assert!(outcome.is_err());
    assert_eq!(engine.pending().await.unwrap(), 0);
}

async fn a_submitter_without_an_engine_wakes_one_elsewhere(place: &Place) {
    let db = place.database().await;
    let world = Arc::new(World::default());
    let runner = engine(&db, "h1", &world);
    let told = Arc::new(AtomicUsize::new(0));
    let wake = {
        let (runner, told) = (runner.clone(), told.clone());
        Arc::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
            runner.wake();
        })
    };
    let builder = Engine::builder(db.clone(), "h2").register::<Make>(world.clone());
    let submitter = builder.wake_elsewhere(wake).build();
    runner.start();
    let mut took = Vec::new();
    for i in 0..8 {
        let begun = std::time::Instant::now();
        submit(&db, &submitter, &format!("r{i}"), "a").await;
        runner.wait_idle(SOON).await.unwrap();
        took.push(begun.elapsed());
    }
    assert_eq!(told.load(Ordering::SeqCst), 8);
    // Without being told it would find each but the first at the end of its second.
    let shortest = took[1..].iter().min();
    assert!(shortest < Some(&Duration::from_millis(800)), "{took:?}");
    assert_eq!(world.logged().len(), 8);

    // Once it runs flows itself, it need not tell anybody.
    submitter.start();
    submit(&db, &submitter, "r9", "a").await;
    submitter.wait_idle(SOON).await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 8);
}

async fn a_lease_that_ended_unnoticed_is_not_taken_twice_by_its_engine(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let engine = engine(&db, "h1", &world);
    engine.start();
    submit(&db, &engine, "7", "a").await;
    until(|| world.logged().len() == 1).await;
    // As after an outage of the database that was longer than the lease.
    db.write(|tx| {
        oslo_db::table! {
            struct Lease in "flows" { id: String, lease_until: base::Timestamp }
        }
        tx.update::<Lease>(
            oslo_db::everything(),
            &[oslo_db::set("lease_until", base::Timestamp(1))],
        )
    })
    .await
    .unwrap();
    for _ in 0..5 {
        engine.wake();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(world.logged().len(), 1, "it runs once");
    world.gate.as_ref().unwrap().add_permits(1);
    engine.wait_idle(SOON).await.unwrap();
    assert_eq!(world.logged().len(), 1);
}

async fn two_engines_share_the_work_and_one_finishes_for_both(place: &Place) {
    let db = place.database().await;
    let world = world_with_gate();
    let lease = Duration::from_secs(2);
    let build = |host: &str| {
        let builder = Engine::builder(db.clone(), host).register::<Make>(world.clone());
        builder.lease(lease).concurrency(4).build()
    };
    let (first, second) = (build("h1"), build("h2"));
    for i in 0..8 {
        submit(&db, &first, &format!("r{i}"), &i.to_string()).await;
    }
    first.start();
    until(|| world.logged().len() == 4).await;
    second.start();
    until(|| world.logged().len() == 8).await;
    first.kill().await;
    let died = std::time::Instant::now();
    world.gate.as_ref().unwrap().add_permits(100);
    second.wait_idle(SOON).await.unwrap();
    // The rest of the lease, at most one look of the other engine, and the work.
    let took = died.elapsed();
    assert!(took < lease + Duration::from_secs(10), "{took:?}");
    let mut made = world.logged();
    assert_eq!(made.len(), 12, "only those of the dead were made again");
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 8);
}

oslo_db::table! {
    struct Nothing in "flows" { id: String }
}

/// Runs alone on its resource, or says so.
#[derive(Serialize, Deserialize)]
struct Alone {
    id: String,
}

async fn alone(flow: &mut Alone, world: Arc<World>) -> Result<()> {
    if !world.things.lock().unwrap().insert(flow.id.clone()) {
        world.log(format!("two at once on {}", flow.id));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.things.lock().unwrap().remove(&flow.id);
    Ok(())
}

impl Flow for Alone {
    const NAME: &'static str = "alone";
    type Deps = World;

    fn steps() -> Vec<Step<Alone>> {
        vec![Step::new("alone", |f, w| Box::pin(alone(f, w)))]
    }

    fn resource_id(&self) -> &str {
        &self.id
    }

    fn request_id(&self) -> &str {
        "req-1"
    }

    fn reverted(&self, _: Arc<World>, _: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Engines on three nodes, to all of which flows of the same resources are submitted at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_galera() {
    let galera = Galera::start(3).await.unwrap();
    let world = Arc::new(World::default());
    let mut nodes = Vec::new();
    for (n, url) in galera.database().await.unwrap().iter().enumerate() {
        let db = Db::open(url).await.unwrap();
        db.migrate("taskflow", MIGRATIONS).await.unwrap();
        let builder = Engine::builder(db.clone(), &format!("host{n}"));
        let engine = builder.register::<Alone>(world.clone()).build();
        engine.start();
        nodes.push((db, engine));
    }
    for round in 0..100 {
        let submits = nodes.iter().enumerate().map(|(n, (db, engine))| {
            let (db, engine) = (db.clone(), engine.clone());
            tokio::spawn(async move {
                let submitted = engine.clone();
                let id = format!("r{round}");
                // The older flow often comes to light after the younger one.
                let late = if n == 0 { round * 7 % 40 } else { 0 };
                let submit = move |tx: &mut oslo_db::Tx| {
                    submitted.submit(tx, &Alone { id: id.clone() })?;
                    for _ in 0..late {
                        tx.exists::<Nothing>(oslo_db::eq("id", "nothing"))?;
                    }
                    Ok(())
                };
                db.write(submit).await.unwrap();
                engine.wake();
            })
        });
        for submit in submits.collect::<Vec<_>>() {
            submit.await.unwrap();
        }
    }
    for (_, engine) in &nodes {
        engine.wait_idle(SOON).await.unwrap();
    }
    let retries: u64 = nodes.iter().map(|(db, _)| db.stats().retries).sum();
    println!("{retries} retries");
    assert_eq!(world.logged(), Vec::<String>::new());
    assert!(retries > 0, "or this shows nothing");
    for (_, engine) in nodes {
        engine.stop().await;
    }
}
