//! A cache that never fails its caller: in this process's memory, or in Memcached, shared by many. What cannot
//! be read is a miss, what cannot be written is forgotten; the log says so.

mod config;
mod memcached;
mod memory;

pub use config::CacheConf;

use base::Result;
use memcached::Memcached;
use memory::Memory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Values above this size are not cached anywhere (Memcached's own limit is a little above).
pub const MOST_BYTES: usize = 1_000_000;

/// A cache. Clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Store>);

enum Store {
    Memory(Memory),
    Memcached(Memcached),
}

impl Cache {
    /// A cache in memory that holds some `capacity` bytes, least recently used out first.
    pub fn memory(capacity: u64) -> Cache {
        Cache(Arc::new(Store::Memory(Memory::new(capacity))))
    }

    /// A cache in the Memcached servers `host:port`. Nothing is connected before it is used. `timeout` bounds
    /// every single operation, connecting included; a server that fails is left alone for `dead_time`.
    pub fn memcached(servers: &[String], timeout: Duration, dead_time: Duration) -> Result<Cache> {
        let client = Memcached::new(servers, timeout, dead_time)?;
        Ok(Cache(Arc::new(Store::Memcached(client))))
    }

    /// The value, if it is there and has not expired.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match &*self.0 {
            Store::Memory(memory) => memory.get(key),
            Store::Memcached(client) => client.get(key).await,
        }
    }

    /// Keeps a value for `ttl` at most. Too large a value only drops what was there before.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        if value.len() > MOST_BYTES || ttl.is_zero() {
            return self.delete(key).await;
        }
        match &*self.0 {
            Store::Memory(memory) => memory.set(key, value, ttl),
            Store::Memcached(client) => client.set(key, value, ttl).await,
        }
    }

    /// Forgets a value.
    pub async fn delete(&self, key: &str) {
        match &*self.0 {
            Store::Memory(memory) => memory.delete(key),
            Store::Memcached(client) => client.delete(key).await,
        }
    }

    /// Like [`Cache::get`]; a value of another shape is a miss.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = self.get(key).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(e) => {
                tracing::debug!(error = %e, "a cached value has another shape");
                None
            }
        }
    }

    /// Like [`Cache::set`].
    pub async fn set_json<T: Serialize>(&self, key: &str, value: &T, ttl: Duration) {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.set(key, &bytes, ttl).await,
            Err(e) => tracing::warn!(error = %e, "a value cannot be cached"),
        }
    }
}
