//! What both databases promise, told once and run on each.

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
async fn a_killed_caller_and_a_closed_handle() {
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
