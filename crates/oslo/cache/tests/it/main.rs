//! The same promises from memory and from real Memcached servers, and what happens when one of those dies.

use oslo_cache::{Cache, MOST_BYTES};
use oslo_testing::cache::Memcached;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn over(servers: &[&Memcached], dead_time: Duration) -> Cache {
    let addresses: Vec<_> = servers.iter().map(|s| s.address()).collect();
    Cache::memcached(&addresses, Duration::from_secs(2), dead_time).unwrap()
}

async fn suite(cache: Cache) {
    let strange_key = "a key\r\nwith ünïcode \0 and length ".repeat(50);
    for (key, value) in [
        ("plain", b"value".to_vec()),
        (strange_key.as_str(), b"\r\nEND\r\n".to_vec()),
        ("empty", vec![]),
        ("large", (0..MOST_BYTES).map(|n| n as u8).collect()),
    ] {
        assert_eq!(cache.get(key).await, None);
        cache.set(key, &value, LONG).await;
        assert!(cache.get(key).await == Some(value));
        cache.delete(key).await;
        cache.delete(key).await;
        assert_eq!(cache.get(key).await, None);
    }

    cache.set("k", b"old", LONG).await;
    cache.set("k", &vec![0; MOST_BYTES + 1], LONG).await;
    assert_eq!(
        cache.get("k").await,
        None,
        "too large a value never leaves the old one behind"
    );

    cache.set_json("j", &vec![1, 2, 3], LONG).await;
    assert_eq!(cache.get_json::<Vec<u8>>("j").await, Some(vec![1, 2, 3]));
    assert_eq!(cache.get_json::<String>("j").await, None);

    cache.set("short", b"x", Duration::from_millis(300)).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while cache.get("short").await.is_some() {
        assert!(Instant::now() < deadline, "it never expires");
        tokio::task::yield_now().await;
    }

    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let key = format!("many {n}");
                cache.set(&key, key.as_bytes(), LONG).await;
                cache.get(&key).await == Some(key.clone().into_bytes())
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
}

#[tokio::test]
async fn memory() {
    suite(Cache::memory(16 << 20)).await;
    let small = Cache::memory(10_000);
    for n in 0..1000 {
        small.set(&n.to_string(), &[0; 1000], LONG).await;
    }
    let mut kept = 0;
    for n in 0..1000 {
        kept += usize::from(small.get(&n.to_string()).await.is_some());
    }
    assert!(kept < 500, "{kept} kept: the bound does not hold");
}

#[tokio::test]
async fn memcached() {
    let server = Memcached::start().await.unwrap();
    suite(over(&[&server], LONG)).await;
}

#[tokio::test]
async fn several_servers_share_and_one_dies() {
    let (mut one, two) = (
        Memcached::start().await.unwrap(),
        Memcached::start().await.unwrap(),
    );
    let both = over(&[&one, &two], LONG);
    suite(both.clone()).await;
    for n in 0..100 {
        both.set(&n.to_string(), b"x", LONG).await;
    }
    // Another process lists the servers in another order and finds the same.
    let other = over(&[&two, &one], LONG);
    let only_two = over(&[&two], LONG);
    let mut on_two = 0;
    for n in 0..100 {
        assert!(other.get(&n.to_string()).await.is_some());
        on_two += usize::from(only_two.get(&n.to_string()).await.is_some());
    }
    assert!(
        (20..=80).contains(&on_two),
        "{on_two} of 100 on the second server"
    );

    one.kill();
    let mut found = 0;
    for n in 0..100 {
        found += usize::from(both.get(&n.to_string()).await.is_some());
    }
    assert_eq!(found, on_two, "the other server's keys are where they were");
    for n in 0..100 {
        both.set(&n.to_string(), b"y", LONG).await;
        assert_eq!(both.get(&n.to_string()).await.as_deref(), Some(&b"y"[..]));
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let mut server = Memcached::start().await.unwrap();
    let cache = over(&[&server], Duration::from_millis(50));
    cache.set("k", b"v", LONG).await;
    assert!(cache.get("k").await.is_some());
    server.kill();
    assert_eq!(cache.get("k").await, None);
    server.restart().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while cache.get("k").await.is_none() {
        assert!(Instant::now() < deadline, "it is left alone for ever");
        cache.set("k", b"v", LONG).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dead_or_silent_server_costs_one_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let cache = Cache::memcached(&[address], Duration::from_millis(50), LONG).unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        cache.set("k", b"v", LONG).await;
        assert_eq!(cache.get("k").await, None);
        cache.delete("k").await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(Cache::memcached(&[], LONG, LONG).is_err());
}
