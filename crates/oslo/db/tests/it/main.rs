//! What both databases promise, told once and run on each.

mod cut;
mod galera;
mod outage;
mod proxy;
mod suite;

use oslo_db::{Db, Options};
use oslo_testing::db::{MariaDb, Scratch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_file() {
    let scratch = Scratch::new().unwrap();
    for (name, story) in suite::STORIES {
        println!("{name}");
        let url = scratch.sqlite(name);
        story(url.clone(), Db::open(&url).await.unwrap()).await;
    }
}

#[tokio::test]
async fn sqlite_memory() {
    for (name, story) in suite::STORIES
        .iter()
        .filter(|(name, _)| !name.contains("several"))
    {
        println!("{name}");
        let url = "sqlite::memory:";
        story(url.into(), Db::open(url).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    let mut server = MariaDb::start().await.unwrap();
    for (name, story) in suite::STORIES {
        println!("{name}");
        let url = server.database().await.unwrap();
        story(url.clone(), Db::open(&url).await.unwrap()).await;
    }
    println!("deadlocks are tried again");
    let url = server.database().await.unwrap();
    suite::deadlock(Db::open(&url).await.unwrap()).await;

    println!("what does not fit is the caller's mistake");
    let url = server.database().await.unwrap();
    suite::too_long(Db::open(&url).await.unwrap()).await;

    println!("a dead server is unavailable, not a hang or a crash");
    let options = Options {
        pool_timeout: std::time::Duration::from_millis(200),
        ..Options::default()
    };
    let db = Db::open_with(&url, options).await.unwrap();
    db.ping().await.unwrap();
    server.kill();
    assert_eq!(db.ping().await.unwrap_err().kind(), base::Kind::Unavailable);
}

#[tokio::test]
async fn a_closed_handle_is_unavailable() {
    let db = Db::open("sqlite::memory:").await.unwrap();
    db.close().await;
    assert_eq!(db.ping().await.unwrap_err().kind(), base::Kind::Unavailable);
}

#[tokio::test]
async fn urls_are_checked() {
    for url in ["postgresql://a/b", "nonsense", "sqlite://"] {
        assert!(Db::open(url).await.is_err(), "{url}");
    }
}

/// As several processes on a laptop do when they start together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_one_new_file() {
    let scratch = Scratch::new().unwrap();
    for round in 0..20 {
        let url = scratch.sqlite(&format!("new-{round}"));
        let openers: Vec<_> = (0..8)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { Db::open(&url).await?.ping().await })
            })
            .collect();
        for opener in openers {
            opener.await.unwrap().unwrap();
        }
    }
}

/// A write whose caller went away before it began is not begun; what was begun is finished.
#[tokio::test]
async fn callers_may_go_away() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Barrier};
    let db = Db::open("sqlite::memory:").await.unwrap();
    let (gate, begun) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let started = Arc::new(tokio::sync::Notify::new());
    let (held, first, starting) = (gate.clone(), db.clone(), started.clone());
    let hold = move |_: &mut oslo_db::Tx| {
        starting.notify_one();
        held.wait();
        Ok(())
    };
    let first = tokio::spawn(async move { first.write(hold).await });
    started.notified().await;
    let (second, flag) = (db.clone(), begun.clone());
    let mark = move |_: &mut oslo_db::Tx| {
        flag.store(true, Ordering::SeqCst);
        Ok(())
    };
    let second = tokio::spawn(async move { second.write(mark).await });
    while db.stats().queued == 0 {
        tokio::task::yield_now().await;
    }
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    gate.wait();
    first.await.unwrap().unwrap();
    db.ping().await.unwrap();
    assert!(!begun.load(Ordering::SeqCst));
}
