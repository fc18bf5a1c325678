//! Where the brokers are, in upstream's spelling.

use base::{Error, Result};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What RabbitMQ 4 takes for quorum queues.
const DELIVERY_LIMIT: u32 = 20;

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct RabbitConfig {
    /// Brokers of one cluster, tried in turn: `amqp://user:password@host:port/vhost`. They hold passwords.
    pub urls: Vec<String>,
    /// Whether topics survive a restart of the broker (upstream's `amqp_durable_queues`). All processes that share
    /// a broker must agree.
    pub durable: bool,
    /// Whether topics are quorum queues, which every broker of a cluster keeps (upstream's `rabbit_quorum_queue`). They
    /// are durable. All processes that share a broker must agree.
    pub quorum: bool,
    /// Whether queues of answers and fan-outs are quorum queues, too (upstream's `rabbit_transient_quorum_queue`).
    pub transient_quorum: bool,
    /// How often the broker gives one message of a quorum queue to servers that die with it; 0 leaves it to the broker
    /// (upstream's `rabbit_quorum_delivery_limit`).
    pub quorum_delivery_limit: u32,
    /// How many messages of a quorum queue are kept in memory; 0 is all (upstream's `rabbit_quorum_max_memory_length`).
    pub quorum_max_memory_length: u32,
    /// How many bytes of them (upstream's `rabbit_quorum_max_memory_bytes`).
    pub quorum_max_memory_bytes: u32,
    /// After so many servers died with a message in hand it is a dead letter, on queues of every kind; 0 is never.
    pub delivery_limit: u32,
    /// A broker that says nothing for so long is gone (upstream's `heartbeat_timeout_threshold`); 0 waits for ever.
    pub heartbeat: Duration,
    /// How long queues of answers and fan-outs outlive their process (upstream's `rabbit_transient_queues_ttl`).
    pub transient_ttl: Duration,
    /// How long a message waits for a broker that is away.
    pub broker_patience: Duration,
    /// How long an answer waits for the queue of a caller who has lost it (upstream's
    /// `kombu_missing_consumer_retry_timeout`).
    pub caller_patience: Duration,
    tls: OwnedTLSConfig,
}

impl RabbitConfig {
    /// From a `transport_url`: `rabbit://user:pw@host1:5672,user:pw@host2:5672/vhost`; without vhost it is `/`.
    pub fn parse(transport_url: &str) -> Result<RabbitConfig> {
        let bad =
            || Error::internal("transport_url is not rabbit://user:password@host:port[,…]/vhost");
        let (scheme, rest) = transport_url.split_once("://").ok_or_else(bad)?;
        let scheme = match scheme {
            "rabbit" | "amqp" => "amqp",
            "rabbits" | "amqps" => "amqps",
            _ => return Err(bad()),
        };
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (hosts, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.is_empty() {
            return Err(bad());
        }
        let vhost = if vhost.is_empty() { "%2f" } else { vhost };
        let url = |host: &str| format!("{scheme}://{host}/{vhost}");
        Ok(RabbitConfig {
            urls: hosts.split(',').map(url).collect(),
            durable: false,
            quorum: false,
            transient_quorum: false,
            quorum_delivery_limit: 0,
            quorum_max_memory_length: 0,
            quorum_max_memory_bytes: 0,
            delivery_limit: DELIVERY_LIMIT,
            heartbeat: Duration::from_secs(60),
            transient_ttl: Duration::from_secs(1800),
            broker_patience: Duration::from_secs(30),
            caller_patience: Duration::from_secs(10),
            tls: OwnedTLSConfig::default(),
        })
    }

    /// What `rabbits://` trusts besides the machine's own authorities, and how it shows who it is; PEM files
    /// (upstream's `ssl_ca_file`, `ssl_cert_file`, `ssl_key_file`).
    pub fn with_tls(
        mut self,
        ca: Option<&PathBuf>,
        cert: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<RabbitConfig> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| Error::bad_request(format!("{}: {e}", path.display())))
        };
        if let Some(ca) = ca {
            let text = String::from_utf8(read(ca)?)
                .map_err(|_| Error::bad_request(format!("{} is not PEM", ca.display())))?;
            self.tls.cert_chain = Some(text);
        }
        self.tls.identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 {
                pem: read(cert)?,
                key: read(key)?,
            }),
            (None, None) => None,
            _ => {
                return Err(Error::bad_request(
                    "[oslo_messaging_rabbit] ssl_cert_file and ssl_key_file go together.",
                ));
            }
        };
        Ok(self)
    }

    /// After how many deliveries a message is a dead letter: before the broker throws it away.
    pub(super) fn most_deliveries(&self) -> Option<u32> {
        let limits = [self.delivery_limit, self.quorum_delivery_limit];
        let quorum = self.quorum || self.transient_quorum;
        let count = if quorum { 2 } else { 1 };
        limits.into_iter().take(count).filter(|n| *n > 0).min()
    }

    /// The urls with what is asked of the brokers.
    pub(super) fn ways(&self) -> impl Iterator<Item = String> {
        let seconds = self.heartbeat.as_secs();
        let urls = self.urls.iter();
        urls.map(move |url| format!("{url}?heartbeat={seconds}"))
    }

    /// Whether what is declared is to survive the broker.
    pub(super) fn lasting(&self) -> bool {
        self.durable || self.quorum
    }

    pub(super) fn tls(&self) -> OwnedTLSConfig {
        self.tls.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries() {
        let mut config = RabbitConfig::parse("rabbit://h/").unwrap();
        assert_eq!(config.most_deliveries(), Some(20));
        config.quorum_delivery_limit = 5;
        assert_eq!(config.most_deliveries(), Some(20), "no quorum queues");
        config.quorum = true;
        assert_eq!(config.most_deliveries(), Some(5));
        config.delivery_limit = 0;
        assert_eq!(config.most_deliveries(), Some(5));
        config.quorum_delivery_limit = 0;
        assert_eq!(config.most_deliveries(), None);
    }

    #[test]
    fn transport_urls() {
        let config = RabbitConfig::parse("rabbit://u:p@h1:5672,u:p@h2:5673/").unwrap();
        assert_eq!(
            config.urls,
            ["amqp://u:p@h1:5672/%2f", "amqp://u:p@h2:5673/%2f"]
        );
        let ways: Vec<String> = config.ways().collect();
        assert_eq!(ways[1], "amqp://u:p@h2:5673/%2f?heartbeat=60");
        let config = RabbitConfig::parse("rabbit://u:p@h/cloud?ssl=0").unwrap();
        assert_eq!(config.urls, ["amqp://u:p@h/cloud"]);
        for bad in ["fake://", "rabbit:///", "host:5672"] {
            assert!(RabbitConfig::parse(bad).is_err(), "{bad}");
        }
    }
}
