//! Where the brokers are, in upstream's spelling.

use base::{Error, Result};
use std::time::Duration;

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct RabbitConfig {
    /// Brokers of one cluster, tried in turn: `amqp://user:password@host:port/vhost`. They hold passwords.
    pub urls: Vec<String>,
    /// Whether topics survive a restart of the broker (upstream's `amqp_durable_queues`). All processes that share
    /// a broker must agree.
    pub durable: bool,
    /// How long queues of answers and fan-outs outlive their process (upstream's `rabbit_transient_queues_ttl`).
    pub transient_ttl: Duration,
    /// How long a message waits for a broker that is away.
    pub broker_patience: Duration,
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
            transient_ttl: Duration::from_secs(1800),
            broker_patience: Duration::from_secs(30),
        })
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
