//! MariaDB is killed and comes back while many write and read.

use base::Kind;
use oslo_db::sea_query::Values;
use oslo_db::{Db, Dialect, Migration, Options, Statement, eq, everything, is_commit_unknown};
use oslo_testing::db::MariaDb;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

oslo_db::table! {
    struct Deed in "deeds" { id: String, writer: i64 }
    struct Sum in "sums" { id: String, total: i64 }
}

pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-01-01-initial",
    sql: "CREATE TABLE deeds (id VARCHAR(64) NOT NULL PRIMARY KEY, writer BIGINT NOT NULL);\n\
          CREATE TABLE sums (id VARCHAR(64) NOT NULL PRIMARY KEY, total BIGINT NOT NULL);\n",
}];

/// What a load saw.
#[derive(Default)]
pub struct Seen {
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    unknown: Mutex<BTreeSet<String>>,
    refused: AtomicU64,
    reads_failed: AtomicU64,
    last: Mutex<Option<Instant>>,
}

/// One deed and its count belong together.
async fn write(db: Db, writer: i64, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::SeqCst) {
        let id = base::new_id();
        let deed = id.clone();
        let done = db.write(move |tx| {
            let name = writer.to_string();
            tx.insert(&Deed {
                id: deed.clone(),
                writer,
            })?;
            let sum = tx.find_for_update::<Sum>(eq("id", &name))?;
            let total = sum.map_or(0, |s| s.total) + 1;
            tx.upsert(&Sum { id: name, total }, &["id"])
        });
        match done.await {
            Ok(()) => {
                *seen.last.lock().unwrap() = Some(Instant::now());
                seen.acknowledged.lock().unwrap().insert(id);
            }
            Err(e) if is_commit_unknown(&e) => {
                seen.unknown.lock().unwrap().insert(id);
            }
            Err(e) => {
                assert_eq!(e.kind(), Kind::Unavailable, "{e:?}");
                seen.refused.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

async fn read(db: Db, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::SeqCst) {
        if db.read(|tx| tx.count::<Sum>(everything())).await.is_err() {
            seen.reads_failed.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Many that write and read until they are stopped.
pub struct Load {
    pub seen: Arc<Seen>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub fn start(db: &Db, writers: i64) -> Load {
        let seen = Arc::new(Seen::default());
        let mut tasks = Vec::new();
        for writer in 0..writers {
            tasks.push(tokio::spawn(write(db.clone(), writer, seen.clone())));
            tasks.push(tokio::spawn(read(db.clone(), seen.clone())));
        }
        Load { seen, tasks }
    }

    pub async fn stop(self) -> Arc<Seen> {
        self.seen.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.seen
    }
}

impl Seen {
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// How long after `moment` the next write was acknowledged that ended after it.
    pub async fn written_after(&self, moment: Instant) -> Duration {
        // What was on its way at that moment does not count.
        let begun = moment + Duration::from_millis(50);
        loop {
            if let Some(last) = *self.last.lock().unwrap()
                && last > begun
            {
                return last - moment;
            }
            assert!(moment.elapsed() < Duration::from_secs(30), "nobody writes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All that was acknowledged is there, once, and nothing else.
    pub async fn check(&self, db: &Db) {
        let deeds = db.read(|tx| tx.select::<Deed>(everything())).await.unwrap();
        let sums = db.read(|tx| tx.select::<Sum>(everything())).await.unwrap();
        let there: BTreeSet<String> = deeds.iter().map(|d| d.id.clone()).collect();
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let unknown = self.unknown.lock().unwrap().clone();
        println!(
            "{} acknowledged, {} unknown, {} refused, {:?}",
            acknowledged.len(),
            unknown.len(),
            self.refused.load(Ordering::SeqCst),
            db.stats(),
        );
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let made_up: Vec<_> = there.difference(&acknowledged).collect();
        assert!(
            made_up.is_empty(),
            "not acknowledged and there: {made_up:?}"
        );
        let counted: i64 = sums.iter().map(|s| s.total).sum();
        assert_eq!(counted, deeds.len() as i64, "nothing was done twice");
        assert!(
            unknown.is_empty(),
            "it was found out what became of a commit"
        );
        let refused = self.refused.load(Ordering::SeqCst);
        assert_eq!(refused, 0, "a restart is waited for");
        assert_eq!(self.reads_failed.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_killed_under_load_loses_nothing() {
    let mut server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let db = Db::open_with(&url, Options::default()).await.unwrap();
    db.migrate("test", MIGRATIONS).await.unwrap();
    let load = Load::start(&db, 16);
    for round in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begun = Instant::now();
        server.kill();
        server.restart().await.unwrap();
        let up = Instant::now();
        let after = load.seen.written_after(up).await;
        assert!(after < Duration::from_secs(15), "the pool recovers");
        let away = up - begun;
        println!("round {round}: away {away:?}, first write {after:?} after it was back");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let seen = load.stop().await;
    assert!(seen.acknowledged() > 100);
    seen.check(&db).await;
    assert_eq!(db.stats().unknown_commits, 0);
    assert!(db.stats().retries > 0, "the outage was felt");
    // Connections go back to the pool in their own time.
    let end = Instant::now() + Duration::from_secs(20);
    while db.stats().pool.in_use > 0 {
        assert!(Instant::now() < end, "{:?}", db.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pool = db.stats().pool;
    assert_eq!((pool.limit, db.stats().queued), (10, 0));
    assert!((1..=10).contains(&pool.idle), "{pool:?}");
}

/// What a server says, said by a statement.
struct Says(u32);

impl Statement for Says {
    fn sql(&self, _: Dialect) -> (String, Values) {
        let sql = format!("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {}", self.0);
        (sql, Values(Vec::new()))
    }
}

/// A transaction that lost against another, or met a node that is not ready, is begun again; other errors are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_galera_says_is_tried_again() {
    let server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let db = Db::open(&url).await.unwrap();
    db.migrate("test", MIGRATIONS).await.unwrap();
    for (number, again) in [
        (1213, true),
        (1205, true),
        (1020, true),
        (1317, true),
        (1047, true),
        (1053, true),
        (1644, false),
    ] {
        let attempts = Arc::new(AtomicU64::new(0));
        let counted = attempts.clone();
        let id = format!("deed {number}");
        let outcome = db.write(move |tx| {
            tx.insert(&Deed {
                id: id.clone(),
                writer: 0,
            })?;
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                tx.execute(Says(number))?;
            }
            Ok(())
        });
        let outcome = outcome.await;
        assert_eq!(outcome.is_ok(), again, "{number}: {outcome:?}");
        let expected = if again { 3 } else { 1 };
        assert_eq!(attempts.load(Ordering::SeqCst), expected, "{number}");
    }
    let deeds = db.read(|tx| tx.count::<Deed>(everything())).await.unwrap();
    assert_eq!(deeds, 6, "each once");

    // Whoever never wins is told, in bounded time.
    let begun = Instant::now();
    let loser = db.write(|tx| tx.execute(Says(1213)).map(drop)).await;
    assert_eq!(loser.unwrap_err().kind(), Kind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A database that has just answered is not asked again; one that broke is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_database_answers_and_a_dead_one_does_not() {
    let mut server = MariaDb::start().await.unwrap();
    let options = Options {
        pool_size: 1,
        pool_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let url = server.database().await.unwrap();
    let db = Db::open_with(&url, options).await.unwrap();
    db.answers().await.unwrap();
    let busy = tokio::spawn({
        let db = db.clone();
        async move {
            db.read(|_| {
                let (_keep, wait) = std::sync::mpsc::channel::<()>();
                let _ = wait.recv_timeout(Duration::from_millis(2500));
                Ok(())
            })
            .await
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    db.answers().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    busy.await.unwrap().unwrap();
    server.kill();
    assert!(db.ping().await.is_err());
    let error = db.answers().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    server.restart().await.unwrap();
    db.answers().await.unwrap();
}
