//! Where the brokers are, in upstream's spelling.

use base::{Error, Result};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// How often a quorum queue gives one message to servers that die with it; 0 is without end (upstream's
    /// `rabbit_quorum_delivery_limit`).
    pub delivery_limit: u32,
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
        let url = |host: &str| format!("{scheme}://{host}/{vhost}?heartbeat=60");
        Ok(RabbitConfig {
            urls: hosts.split(',').map(url).collect(),
            durable: false,
            quorum: false,
            delivery_limit: 0,
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
    fn transport_urls() {
        let config = RabbitConfig::parse("rabbit://u:p@h1:5672,u:p@h2:5673/").unwrap();
        assert_eq!(
            config.urls,
            [
                "amqp://u:p@h1:5672/%2f?heartbeat=60",
                "amqp://u:p@h2:5673/%2f?heartbeat=60"
            ]
        );
        let config = RabbitConfig::parse("rabbit://u:p@h/cloud?ssl=0").unwrap();
        assert_eq!(config.urls, ["amqp://u:p@h/cloud?heartbeat=60"]);
        for bad in ["fake://", "rabbit:///", "host:5672"] {
            assert!(RabbitConfig::parse(bad).is_err(), "{bad}");
        }
    }
}
