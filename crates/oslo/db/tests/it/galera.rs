//! A Galera cluster of three nodes that all take writes. One cluster for all stories: it takes seconds to start.

use crate::outage::{self, Load};
use crate::proxy::{Cut, Proxy, Target};
use crate::suite;
use oslo_db::{Db, Migration, Options, eq, everything, set};
use oslo_testing::db::Galera;
use std::sync::Arc;
use std::time::{Duration, Instant};

oslo_db::table! {
    struct Count in "counts" { id: String, value: i64 }
    struct Claim in "claims" { id: String, count_id: String }
}

const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-01-01-initial",
    sql: "CREATE TABLE counts (id VARCHAR(64) NOT NULL PRIMARY KEY, value BIGINT NOT NULL);\n\
          CREATE TABLE claims (id VARCHAR(64) NOT NULL PRIMARY KEY, count_id VARCHAR(64) NOT NULL);\n\
          INSERT INTO counts (id, value) VALUES ('one', 0);\n",
}];

async fn open(urls: &[String], options: &Options) -> Vec<Db> {
    let mut dbs = Vec::new();
    for url in urls {
        dbs.push(Db::open_with(url, options.clone()).await.unwrap());
    }
    dbs
}

/// A handle on each node, of one new database with the tables above.
async fn ready(galera: &Galera) -> Vec<Db> {
    let urls = galera.database().await.unwrap();
    let dbs = open(&urls, &Options::default()).await;
    dbs[0].migrate("test", MIGRATIONS).await.unwrap();
    dbs
}

fn retries(dbs: &[Db]) -> u64 {
    dbs.iter().map(|db| db.stats().retries).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_galera() {
    let begun = Instant::now();
    let galera = Galera::start(3).await.unwrap();
    println!("three nodes after {:?}", begun.elapsed());
    for (name, story) in suite::STORIES {
        println!("{name}");
        let urls = galera.database().await.unwrap();
        story(urls[1].clone(), Db::open(&urls[1]).await.unwrap()).await;
    }
    println!("start at once on an empty database");
    all_start_at_once(&galera).await;
    println!("count through all nodes");
    counts_through_all_nodes(&galera).await;
    println!("a lock that nothing is written under");
    a_lock_holds_between_nodes(&galera).await;
    println!("a key is taken once");
    a_key_is_taken_once(&galera).await;
    println!("read on another node");
    what_was_written_is_read_elsewhere(&galera).await;
}

/// Three processes, each on a node of its own, make the schema: once.
async fn all_start_at_once(galera: &Galera) {
    for _ in 0..5 {
        let urls = galera.database().await.unwrap();
        let starters: Vec<_> = open(&urls, &Options::default())
            .await
            .into_iter()
            .map(|db| tokio::spawn(async move { db.migrate("test", MIGRATIONS).await }))
            .collect();
        let mut applied = 0;
        for starter in starters {
            applied += starter.await.unwrap().unwrap().len();
        }
        assert_eq!(applied, MIGRATIONS.len(), "each runs once");
        for db in open(&urls, &Options::default()).await {
            let count = db.read(|tx| tx.count::<Count>(everything())).await.unwrap();
            assert_eq!(count, 1, "and its data is made once");
        }
    }
}

async fn counts_through_all_nodes(galera: &Galera) {
    let dbs = ready(galera).await;
    let begun = Instant::now();
    let mut writers = Vec::new();
    for db in dbs.iter().chain(&dbs) {
        let db = db.clone();
        writers.push(tokio::spawn(async move {
            let mut made = 0;
            while made < 40 {
                let counted = db.write(|tx| {
                    let row = tx.find_for_update::<Count>(eq("id", "one"))?;
                    let value = row.map_or(0, |r| r.value) + 1;
                    tx.update::<Count>(eq("id", "one"), &[set("value", value)])
                });
                match counted.await {
                    Ok(_) => made += 1,
                    // Who loses eight times is told, and it was not counted.
                    Err(e) => assert_eq!(e.kind(), base::Kind::Unavailable, "{e:?}"),
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    println!("  240 in {:?}, {} retries", begun.elapsed(), retries(&dbs));
    for db in &dbs {
        let row = db.read(|tx| tx.get::<Count, _>("id", "one", "")).await;
        assert_eq!(row.unwrap().value, 240);
    }
    assert!(retries(&dbs) > 0, "or this shows nothing");
}

/// Who finds nothing under the lock of a row may add one thing; the row itself stays as it is.
async fn a_lock_holds_between_nodes(galera: &Galera) {
    let dbs = ready(galera).await;
    let mut taken = 0;
    for round in 0..40 {
        let count = format!("round {round}");
        let row = Count {
            id: count.clone(),
            value: 0,
        };
        dbs[0].write(move |tx| tx.insert(&row)).await.unwrap();
        let rivals: Vec<_> = dbs
            .iter()
            .map(|db| {
                let (db, count) = (db.clone(), count.clone());
                tokio::spawn(async move {
                    db.write(move |tx| {
                        tx.find_for_update::<Count>(eq("id", &count))?;
                        if tx.exists::<Claim>(eq("count_id", &count))? {
                            return Ok(0);
                        }
                        tx.insert(&Claim {
                            id: base::new_id(),
                            count_id: count.clone(),
                        })?;
                        Ok(1)
                    })
                    .await
                })
            })
            .collect();
        for rival in rivals {
            taken += rival.await.unwrap().unwrap();
        }
        let claims = dbs[2]
            .read(move |tx| tx.count::<Claim>(eq("count_id", &count)))
            .await
            .unwrap();
        assert_eq!(claims, 1, "in round {round}");
    }
    println!("  {} retries", retries(&dbs));
    assert_eq!(taken, 40);
    assert!(retries(&dbs) > 0, "or this shows nothing");
}

async fn a_key_is_taken_once(galera: &Galera) {
    let dbs = ready(galera).await;
    for round in 0..20 {
        let rivals: Vec<_> = dbs
            .iter()
            .map(|db| {
                let (db, id) = (db.clone(), format!("key {round}"));
                let row = Count { id, value: 0 };
                tokio::spawn(async move { db.write(move |tx| tx.insert(&row)).await })
            })
            .collect();
        let mut won = 0;
        for rival in rivals {
            match rival.await.unwrap() {
                Ok(()) => won += 1,
                Err(e) => assert!(oslo_db::is_duplicate(&e), "{e:?}"),
            }
        }
        assert_eq!(won, 1);
    }
}

/// As a token of one controller that is shown to another.
async fn what_was_written_is_read_elsewhere(galera: &Galera) {
    let urls = galera.database().await.unwrap();
    let careful = open(&urls, &Options::default()).await;
    careful[0].migrate("test", MIGRATIONS).await.unwrap();
    // Who reads what is there at once must find the table at least.
    let table = careful[1].read(|tx| tx.count::<Count>(everything()));
    table.await.unwrap();
    let mut stale = Vec::new();
    for wait in [Some(0), None] {
        let options = Options {
            wsrep_sync_wait: wait,
            ..Options::default()
        };
        let dbs = open(&urls, &options).await;
        dbs[1].ping().await.unwrap();
        let (mut missed, mut reading) = (0, Duration::ZERO);
        for n in 0..300 {
            let id = format!("{wait:?} {n}");
            let row = Count {
                id: id.clone(),
                value: 0,
            };
            dbs[0].write(move |tx| tx.insert(&row)).await.unwrap();
            let begun = Instant::now();
            let found = dbs[1].read(move |tx| tx.exists::<Count>(eq("id", &id)));
            missed += usize::from(!found.await.unwrap());
            reading += begun.elapsed();
        }
        println!(
            "  wsrep_sync_wait {wait:?}: {missed} of 300 missed, {:?} a read",
            reading / 300
        );
        stale.push(missed);
    }
    assert_eq!(stale[1], 0);
}

async fn acknowledged(load: &Load, writes: usize) {
    let begun = Instant::now();
    while load.seen.acknowledged() < writes {
        let late = begun.elapsed() > Duration::from_secs(60);
        assert!(!late, "{} of {writes}", load.seen.acknowledged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A node dies under load; what stands before the cluster sends everybody to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_galera_loses_a_node_and_nothing_else() {
    let mut galera = Galera::start(3).await.unwrap();
    let url = galera.database().await.unwrap().remove(0);
    let name = url.rsplit('/').next().unwrap();
    let targets = (0..3).map(|n| Target::Tcp(format!("{}:3306", galera.address(n))));
    let proxy = Proxy::start(targets.collect(), Arc::new(|_| Cut::Never)).await;
    let through = format!("mysql://root@127.0.0.1:{}/{name}", proxy.port);
    let db = Db::open(&through).await.unwrap();
    db.migrate("test", outage::MIGRATIONS).await.unwrap();
    let load = Load::start(&db, 8);
    acknowledged(&load, 20).await;
    let killed = Instant::now();
    galera.kill(0);
    let away = load.seen.written_after(killed).await;
    println!("writes went on {away:?} after node 1 was killed");
    acknowledged(&load, load.seen.acknowledged() + 20).await;
    let seen = load.stop().await;
    seen.check(&db).await;

    // It comes back, and has what was written meanwhile.
    galera.restart(0).await.unwrap();
    let own = Db::open(&url).await.unwrap();
    seen.check(&own).await;

    // One of three alone does not answer, rather than answer with what may be old.
    galera.kill(1);
    galera.kill(2);
    let deadline = Instant::now() + Duration::from_secs(20);
    let patience = Options {
        pool_timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let alone = Db::open_with(&url, patience).await.unwrap();
    let error = loop {
        if let Err(error) = alone.read(|tx| tx.count::<Claim>(everything())).await
            && error.log_message().contains("1047")
        {
            break error;
        }
        assert!(Instant::now() < deadline, "it notices that it is alone");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(error.kind(), base::Kind::Unavailable);

    // All were killed: the one that has the most begins.
    galera.restart_all().await.unwrap();
    seen.check(&own).await;
    seen.check(&db).await;
}
