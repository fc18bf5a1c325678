//! The connection breaks exactly at the commit.

use crate::proxy::{Cut, Plan, Proxy, Target, is_decision};
use oslo_db::sea_query::Values;
use oslo_db::{
    Db, Dialect, Migration, Options, Statement, Tx, eq, everything, is_commit_unknown, set,
};
use oslo_testing::db::MariaDb;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

oslo_db::table! {
    struct Count in "counts" { id: String, value: i64 }
    struct Deed in "deeds" { id: String }
    struct Marker in "commit_markers" { id: String, made: bool }
}

const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-01-01-initial",
    sql: "CREATE TABLE counts (id VARCHAR(64) NOT NULL PRIMARY KEY, value BIGINT NOT NULL);\n\
          CREATE TABLE deeds (id VARCHAR(64) NOT NULL PRIMARY KEY);\n\
          INSERT INTO counts (id, value) VALUES ('one', 0);\n",
}];

/// Counts, and leaves a row whose key would be taken if it were done twice.
fn work(tx: &mut Tx, deed: &str) -> base::Result<i64> {
    tx.insert(&Deed { id: deed.into() })?;
    let row = tx.find_for_update::<Count>(eq("id", "one"))?;
    let value = row.map_or(0, |r| r.value) + 1;
    tx.update::<Count>(eq("id", "one"), &[set("value", value)])?;
    Ok(value)
}

async fn through(proxy: &Proxy, url: &str, patience: Duration) -> Db {
    let name = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    let options = Options {
        pool_timeout: patience,
        pool_size: 4,
        ..Options::default()
    };
    let url = format!("mysql://root@127.0.0.1:{}/{name}", proxy.port);
    Db::open_with(&url, options).await.unwrap()
}

fn target(url: &str) -> Vec<Target> {
    vec![Target::Unix(url.split_once("socket=").unwrap().1.into())]
}

/// Made or not made: the caller is told what is true, and what was not made is done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_cut_at_the_commit_is_done_exactly_once() {
    let server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let direct = Db::open(&url).await.unwrap();
    direct.migrate("test", MIGRATIONS).await.unwrap();
    let (commits, cuts) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let (counted, noted) = (commits.clone(), cuts.clone());
    let plan: Plan = Arc::new(move |sql| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let cut = match n % 12 {
            3 => Cut::Before,
            7 => Cut::After,
            11 => Cut::Late,
            _ => return Cut::Never,
        };
        // Who looks what became of a commit may be cut as well.
        let looks = is_decision(sql);
        noted.lock().unwrap().push((looks, cut));
        cut
    });
    let proxy = Proxy::start(target(&url), plan).await;
    let db = through(&proxy, &url, Duration::from_secs(60)).await;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let db = db.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..30 {
                let deed = format!("{writer}-{n}");
                db.write(move |tx| work(tx, &deed)).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // What is late has been sent by now.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (deeds, count, markers) = direct
        .read(|tx| {
            let count = tx.get::<Count, _>("id", "one", "no count")?;
            let markers = tx.select::<Marker>(everything())?;
            Ok((tx.count::<Deed>(everything())?, count.value, markers))
        })
        .await
        .unwrap();
    assert_eq!((deeds, count), (120, 120), "each exactly once");
    let (looks, cuts): (Vec<_>, Vec<_>) = cuts
        .lock()
        .unwrap()
        .iter()
        .copied()
        .partition(|(looks, _)| *looks);
    let cuts: Vec<Cut> = cuts.into_iter().map(|(_, cut)| cut).collect();
    println!(
        "{} cuts, {} of who looked, {} markers are left",
        cuts.len(),
        looks.len(),
        markers.len()
    );
    for kind in [Cut::Before, Cut::After, Cut::Late] {
        assert!(cuts.iter().filter(|c| **c == kind).count() >= 3, "{cuts:?}");
    }
    let stats = db.stats();
    assert_eq!(
        (stats.cut_commits, stats.unknown_commits),
        (cuts.len() as u64, 0)
    );
    let not_made = cuts.iter().filter(|c| **c != Cut::After).count();
    let decided = markers.iter().filter(|m| !m.made).count();
    assert!((not_made..=cuts.len()).contains(&decided), "{markers:?}");
    // They do not grow with the number of commits.
    assert!(markers.len() <= decided + 8, "{markers:?}");
}

/// A database that does not come back: nobody knows, and that is what is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_cut_and_gone_is_unknown() {
    let server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let server = Mutex::new(server);
    let direct = Db::open(&url).await.unwrap();
    direct.migrate("test", MIGRATIONS).await.unwrap();
    direct.close().await;
    let plan: Plan = Arc::new(move |_| {
        server.lock().unwrap().kill();
        Cut::Before
    });
    let proxy = Proxy::start(target(&url), plan).await;
    let db = through(&proxy, &url, Duration::from_millis(500)).await;
    let error = db.write(|tx| work(tx, "deed")).await.unwrap_err();
    assert!(is_commit_unknown(&error), "{error:?}");
    assert_eq!(error.kind(), base::Kind::Unavailable);
    assert_eq!(db.stats().unknown_commits, 1);
}

struct Raw(&'static str);

impl Statement for Raw {
    fn sql(&self, _: Dialect) -> (String, Values) {
        (self.0.into(), Values(Vec::new()))
    }
}

/// A database that was migrated by an older Ferrostack has no markers yet; it works without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_without_markers_works() {
    let server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let db = Db::open(&url).await.unwrap();
    db.migrate("test", MIGRATIONS).await.unwrap();
    let there = |db: Db| async move { db.read(|tx| tx.count::<Marker>(everything())).await };
    db.write(|tx| work(tx, "marked")).await.unwrap();
    assert_eq!(there(db.clone()).await.unwrap(), 1);
    db.write(|tx| {
        tx.execute(Raw("DROP TABLE IF EXISTS commit_markers"))
            .map(drop)
    })
    .await
    .unwrap();
    db.write(|tx| work(tx, "unmarked")).await.unwrap();
    let count = db
        .read(|tx| tx.get::<Count, _>("id", "one", ""))
        .await
        .unwrap();
    assert_eq!(count.value, 2);
    db.migrate("test", MIGRATIONS).await.unwrap();
    db.write(|tx| work(tx, "marked again")).await.unwrap();
    assert_eq!(there(db.clone()).await.unwrap(), 1);
}
