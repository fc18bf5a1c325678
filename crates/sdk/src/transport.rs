//! How a request reaches a neighbour: its router in this process, or HTTP.

use base::{Error, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use oslo_http::{Body, Endpoint, Reply};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Carries requests. `service` is the catalog's type (`identity`, `network`, …); the path is the service's own.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request; a neighbour that cannot be reached is [`base::Kind::Unavailable`].
    fn send<'a>(
        &'a self,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<Reply>>;
}

/// Neighbours of the same process, called without a socket; if told so, the others by another way.
#[derive(Clone)]
pub struct InProcess {
    endpoints: Arc<RwLock<HashMap<String, Arc<dyn Endpoint>>>>,
    complete: Arc<watch::Sender<bool>>,
    elsewhere: Option<Arc<dyn Transport>>,
}

impl Default for InProcess {
    fn default() -> InProcess {
        InProcess {
            endpoints: Arc::default(),
            complete: Arc::new(watch::Sender::new(true)),
            elsewhere: None,
        }
    }
}

impl InProcess {
    /// For a process that starts: its services come one by one, and whoever asks for one that is not there yet (a flow
    /// that a crash interrupted) waits until [`InProcess::completed`].
    pub fn starting() -> InProcess {
        let neighbours = InProcess::default();
        neighbours.complete.send_replace(false);
        neighbours
    }

    /// Neighbours that this process does not have are reached this way.
    pub fn or(self, elsewhere: Arc<dyn Transport>) -> InProcess {
        InProcess {
            elsewhere: Some(elsewhere),
            ..self
        }
    }

    /// All services are there.
    pub fn completed(&self) {
        self.complete.send_replace(true);
    }

    fn find(&self, service: &str) -> Option<Arc<dyn Endpoint>> {
        self.endpoints.read().ok()?.get(service).cloned()
    }

    /// Makes a service reachable.
    pub fn register(&self, service: &str, endpoint: Arc<dyn Endpoint>) {
        if let Ok(mut map) = self.endpoints.write() {
            map.insert(service.to_string(), endpoint);
        }
    }
}

impl Transport for InProcess {
    fn send<'a>(
        &'a self,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<Reply>> {
        Box::pin(async move {
            let mut endpoint = self.find(service);
            if endpoint.is_none() {
                // The sender lives as long as we do: this ends with the start.
                let _ = self.complete.subscribe().wait_for(|all| *all).await;
                endpoint = self.find(service);
            }
            match (endpoint, &self.elsewhere) {
                (Some(endpoint), _) => Ok(endpoint.call(request).await),
                (None, Some(elsewhere)) => elsewhere.send(service, request).await,
                (None, None) => Err(Error::unavailable(format!(
                    "The {service} service is not running."
                ))),
            }
        })
    }
}

/// Neighbours on other hosts.
pub struct Http {
    client: reqwest::Client,
    urls: HashMap<String, String>,
}

impl Http {
    /// `urls`: service type to `http://host:port`, without a path.
    pub fn new(urls: HashMap<String, String>) -> Result<Http> {
        Http::trusting(urls, None)
    }

    /// The same; the authorities of this file (PEM) are trusted besides the machine's own.
    pub fn trusting(urls: HashMap<String, String>, ca: Option<&Path>) -> Result<Http> {
        // One cryptographic provider for the whole house; an error says that the process has it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = ca {
            let bad =
                |e: &dyn std::fmt::Display| Error::bad_request(format!("{}: {e}", ca.display()));
            let text = std::fs::read(ca).map_err(|e| bad(&e))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&text);
            client = client.tls_certs_merge(authorities.map_err(|e| bad(&e))?);
        }
        let client = client.build().map_err(Error::internal)?;
        Ok(Http { client, urls })
    }
}

impl Transport for Http {
    fn send<'a>(
        &'a self,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<Reply>> {
        Box::pin(async move {
            let url = self.urls.get(service).ok_or_else(|| {
                Error::unavailable(format!("No endpoint of the {service} service is known."))
            })?;
            let (mut parts, body) = request.into_parts();
            parts.headers.remove("host");
            let length = body.length();
            let mut out = self
                .client
                .request(
                    parts.method,
                    format!("{}{}", url.trim_end_matches('/'), parts.uri),
                )
                .headers(parts.headers);
            if length != Some(0) {
                out = out.body(reqwest::Body::wrap_stream(body.into_stream()));
            }
            let down = |e: reqwest::Error| {
                Error::unavailable(format!("The {service} service does not answer.")).log(e)
            };
            let response = out.send().await.map_err(down)?;
            let (status, headers, length) = (
                response.status(),
                response.headers().clone(),
                response.content_length(),
            );
            let stream = response
                .bytes_stream()
                .map(|piece| piece.map_err(std::io::Error::other));
            Ok(Reply {
                status,
                headers,
                body: Body::stream(stream, length),
            })
        })
    }
}
