//! `[cache]`, by upstream's names.

use crate::Cache;
use base::{Error, Result};
use std::time::Duration;

oslo_config::section! {
    /// What processes remember for each other. Each has a memory of its own beside it, and everything works, slower,
    /// without any server.
    pub struct CacheConf in "cache" {
        /// Whether the Memcached servers are used.
        pub enabled: bool = true,
        /// Memcached servers, `host:port`, the same for all processes of a cloud. None: nothing is shared.
        pub memcache_servers: Vec<String> = vec![],
        /// How long an operation on a server may take, connecting included, in seconds.
        pub memcache_socket_timeout: f64 = 1.0,
        /// How long a server that failed is left alone, in seconds.
        pub memcache_dead_retry: u64 = 30,
        /// How long a token's meaning is remembered if nobody says that anything changed, in seconds. Also how long a
        /// revoked token may be believed while the identity service is out of reach.
        pub expiration_time: u64 = 300,
    }
}

impl CacheConf {
    /// The shared cache, if there is one.
    pub fn open(&self) -> Result<Option<Cache>> {
        if !self.enabled || self.memcache_servers.is_empty() {
            return Ok(None);
        }
        let timeout = Duration::try_from_secs_f64(self.memcache_socket_timeout)
            .ok()
            .filter(|t| !t.is_zero())
            .ok_or_else(|| {
                Error::bad_request("[cache] memcache_socket_timeout must be above 0.")
            })?;
        let dead = Duration::from_secs(self.memcache_dead_retry);
        Cache::memcached(&self.memcache_servers, timeout, dead).map(Some)
    }

    /// How long a token's meaning is remembered.
    pub fn expiration(&self) -> Duration {
        Duration::from_secs(self.expiration_time)
    }
}
