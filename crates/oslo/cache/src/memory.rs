//! The cache in memory: bounded by bytes, each entry with its own time to live.

use moka::Expiry;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone)]
struct Entry {
    bytes: Arc<[u8]>,
    ttl: Duration,
}

struct Ttl;

impl Expiry<String, Entry> for Ttl {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

pub(crate) struct Memory(Cache<String, Entry>);

impl Memory {
    pub(crate) fn new(capacity: u64) -> Memory {
        let weigh = |key: &String, entry: &Entry| {
            u32::try_from(key.len() + entry.bytes.len() + 64).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(weigh)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .expire_after(Ttl)
            .build();
        Memory(cache)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.get(key).map(|entry| entry.bytes.to_vec())
    }

    pub(crate) fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        self.0.insert(
            key.to_string(),
            Entry {
                bytes: value.into(),
                ttl,
            },
        );
    }

    pub(crate) fn delete(&self, key: &str) {
        self.0.invalidate(key);
    }
}
