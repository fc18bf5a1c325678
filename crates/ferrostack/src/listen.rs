//! The addresses of the APIs: those this process listens on, and those where the others are found.

use crate::config::{ApiConf, Settings};
use crate::parts::{Part, Parts};
use base::{Error, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Every API: service type, the part that serves it, its port.
fn apis(api: &ApiConf) -> [(&'static str, Part, u16); 7] {
    [
        ("identity", Part::Keystone, api.identity_port),
        ("image", Part::Glance, api.image_port),
        ("placement", Part::Placement, api.placement_port),
        ("network", Part::NeutronServer, api.network_port),
        ("compute", Part::NovaApi, api.compute_port),
        ("metadata", Part::NovaMetadata, api.metadata_port),
        ("volumev3", Part::CinderApi, api.volume_port),
    ]
}

/// The ports of this process, taken.
pub struct Ports {
    /// Service type to its socket and address.
    pub bound: BTreeMap<&'static str, (TcpListener, SocketAddr)>,
}

impl Ports {
    /// Every address is taken before anything else happens: a port that is in use must not leave half a cloud.
    pub async fn bind(settings: &Settings, parts: &Parts) -> Result<Ports> {
        let mut bound = BTreeMap::new();
        for (service, part, port) in apis(&settings.api) {
            if !parts.has(part) {
                continue;
            }
            let address = format!("{}:{port}", settings.api.bind_host);
            let listener = oslo_http::bind(&address).await.map_err(|e| {
                let words = format!(
                    "{}; is another cloud running? Choose another port under [api] or stop it.",
                    e.log_message()
                );
                Error::new(base::Kind::Conflict, words)
            })?;
            bound.insert(service, listener);
        }
        Ok(Ports { bound })
    }

    /// Service type to URL, without path: what clients are told, and where processes of other hosts look.
    pub fn urls(&self, settings: &Settings) -> BTreeMap<&'static str, String> {
        let api = &settings.api;
        let host = match api.public_host.as_str() {
            "" => &api.bind_host,
            public => public,
        };
        let scheme = settings.public_scheme();
        let port = |service: &str, configured: u16| {
            self.bound
                .get(service)
                .map_or(configured, |(_, a)| a.port())
        };
        apis(api)
            .into_iter()
            .map(|(service, _, p)| (service, format!("{scheme}://{host}:{}", port(service, p))))
            .collect()
    }
}
