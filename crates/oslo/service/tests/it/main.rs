//! Workers, reconcilers and locks, as a process sees them.

use base::{Clock, Error, Kind, Result, Timestamp};
use oslo_db::Db;
use oslo_service::{
    LeaderLock, MIGRATIONS, Reconciler, Report, Supervisor, WorkerState, wait_until,
};
use oslo_testing::db::MariaDb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const OFTEN: Duration = Duration::from_millis(5);

async fn database(url: &str) -> Db {
    let db = Db::open(url).await.unwrap();
    db.migrate("oslo-service", MIGRATIONS).await.unwrap();
    db
}

async fn until(what: impl Fn() -> bool) {
    wait_until(SOON, OFTEN, || async { Ok(what().then_some(())) })
        .await
        .unwrap();
}

#[tokio::test]
async fn failing_workers_start_again_and_all_stop_together() {
    let supervisor = Supervisor::new();
    let runs = Arc::new(AtomicU64::new(0));
    let counter = runs.clone();
    supervisor.spawn("flaky", move |token| {
        let run = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => Err(Error::unavailable("not yet")),
                1 => panic!("oh no"),
                _ => {
                    token.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    supervisor.spawn("short", |_| async { Ok(()) });
    until(|| runs.load(Ordering::SeqCst) == 3).await;
    let state = |name: &str| {
        supervisor
            .workers()
            .into_iter()
            .find(|w| w.name == name)
            .unwrap()
    };
    until(|| state("short").state == WorkerState::Finished).await;
    let flaky = state("flaky");
    assert_eq!((flaky.state, flaky.restarts), (WorkerState::Running, 2));
    assert!(flaky.last_error.unwrap().contains("oh no"));
    assert!(supervisor.stop(SOON).await);
    assert_eq!(state("flaky").state, WorkerState::Stopped);
}

#[tokio::test]
async fn the_deaf_are_ended_by_force() {
    let supervisor = Supervisor::new();
    supervisor.spawn("deaf", |_| std::future::pending());
    assert!(!supervisor.stop(Duration::from_millis(20)).await);
    assert_eq!(supervisor.workers()[0].state, WorkerState::Stopped);
}

struct Counting(AtomicU64);

#[async_trait::async_trait]
impl Reconciler for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }
    async fn run(&self) -> Result<Report> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            1 => panic!("once"),
            _ => Ok(Report {
                examined: 1,
                changed: 1,
            }),
        }
    }
}

#[tokio::test]
async fn reconcilers_run_at_once_and_when_poked() {
    let supervisor = Supervisor::new();
    let counting = Arc::new(Counting(AtomicU64::new(0)));
    let poke = supervisor.reconcile(counting.clone(), None);
    for n in 1..=3 {
        until(|| counting.0.load(Ordering::SeqCst) == n).await;
        poke.poke();
    }
    assert!(supervisor.stop(SOON).await);
    assert_eq!(
        supervisor.workers()[0].restarts,
        0,
        "a panic in a run does not end the reconciler"
    );
}

/// Whoever waits to lead looks as often as a lock can end, however seldom the work is done.
#[tokio::test]
async fn work_of_a_dead_leader_waits_for_its_lock_only() {
    let db = database("sqlite::memory:").await;
    let ttl = Duration::from_millis(200);
    let lock = |owner| LeaderLock::new(&db, "counting", owner, ttl, Clock::real());
    assert!(lock("dead").try_lead().await.unwrap());
    let supervisor = Supervisor::new();
    let counting = Arc::new(Counting(AtomicU64::new(0)));
    supervisor.reconcile(counting.clone(), Some(lock("living")));
    until(|| counting.0.load(Ordering::SeqCst) == 1).await;
    assert!(supervisor.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn one_leader_at_a_time() {
    leads(database("sqlite::memory:").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leader_at_a_time_on_mariadb() {
    let server = MariaDb::start().await.unwrap();
    leads(database(&server.database().await.unwrap()).await).await;
}

async fn leads(db: Db) {
    let clock = Clock::manual(Timestamp::from_seconds(1000));
    let lock = |owner| LeaderLock::new(&db, "sweep", owner, Duration::from_secs(30), clock.clone());
    let (a, b) = (lock("a"), lock("b"));
    assert!(a.try_lead().await.unwrap() && !b.try_lead().await.unwrap());
    clock.advance(Duration::from_secs(20));
    assert!(a.try_lead().await.unwrap(), "renewed");
    clock.advance(Duration::from_secs(20));
    assert!(!b.try_lead().await.unwrap());
    clock.advance(Duration::from_secs(10));
    assert!(
        b.try_lead().await.unwrap() && !a.try_lead().await.unwrap(),
        "expired"
    );
    a.release().await.unwrap();
    assert!(
        !a.try_lead().await.unwrap(),
        "what is not held cannot be given back"
    );
    b.release().await.unwrap();
    assert!(a.try_lead().await.unwrap());

    let supervisor = Supervisor::new();
    let counting = Arc::new(Counting(AtomicU64::new(0)));
    let poke = supervisor.reconcile(counting.clone(), Some(lock("c")));
    poke.poke();
    assert!(supervisor.stop(SOON).await);
    assert_eq!(counting.0.load(Ordering::SeqCst), 0, "a leads");
}

#[tokio::test]
async fn waiting_ends() {
    let never = wait_until(Duration::from_millis(10), OFTEN, || async {
        Ok(None::<()>)
    })
    .await;
    assert_eq!(never.unwrap_err().kind(), Kind::Timeout);
    let broken = wait_until(SOON, OFTEN, || async {
        Err::<Option<()>, _>(Error::conflict("no"))
    })
    .await;
    assert_eq!(broken.unwrap_err().kind(), Kind::Conflict);
}
