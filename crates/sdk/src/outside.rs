//! Servers outside the cloud that the operator names: object stores. Whom we speak with is the operator's word, not a
//! stranger's (that is [`crate::fetch`]); a redirection is an answer like any other.

use base::{Error, Result};
use futures::StreamExt;
use http::Method;
use oslo_http::{Body, Reply};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long a server may take nothing, or say nothing, before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of such servers. Cheap to clone.
#[derive(Clone)]
pub struct Outside {
    client: reqwest::Client,
}

/// How a request's body gets on.
struct Progress {
    last: Mutex<Instant>,
    /// The server waits for us, not we for it.
    ours: AtomicBool,
}

impl Progress {
    fn new() -> Arc<Progress> {
        Arc::new(Progress {
            last: Mutex::new(Instant::now()),
            ours: AtomicBool::new(false),
        })
    }

    fn moved(&self, ours: bool) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.ours.store(ours, Ordering::Relaxed);
    }

    fn stalled(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        !self.ours.load(Ordering::Relaxed) && last.elapsed() >= PATIENCE
    }
}

/// The same body, with its progress written down.
fn watched(body: Body, progress: &Arc<Progress>) -> Body {
    let length = body.length();
    let mut pieces = body.into_stream();
    let progress = Arc::clone(progress);
    let watched = futures::stream::poll_fn(move |cx| {
        let polled = pieces.poll_next_unpin(cx);
        progress.moved(polled.is_pending());
        polled
    });
    Body::stream(watched, length)
}

impl Outside {
    /// `ca`: authorities (PEM) that are trusted besides the machine's own. `insecure`: any certificate will do.
    pub fn new(ca: Option<&Path>, insecure: bool) -> Result<Outside> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = ca {
            let bad =
                |e: &dyn std::fmt::Display| Error::bad_request(format!("{}: {e}", ca.display()));
            let text = std::fs::read(ca).map_err(|e| bad(&e))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&text);
            client = client.tls_certs_merge(authorities.map_err(|e| bad(&e))?);
        }
        if insecure {
            client = client.tls_danger_accept_invalid_certs(true);
        }
        let client = client.build().map_err(Error::internal)?;
        Ok(Outside { client })
    }

    /// One request to an absolute address. Whatever the answer is, it is returned; a server that does not answer, or
    /// stalls, is [`base::Kind::Unavailable`].
    pub async fn send(&self, request: http::Request<Body>) -> Result<Reply> {
        let (parts, body) = request.into_parts();
        let server = parts.uri.authority().map(|a| a.host().to_string());
        let server = server.unwrap_or_default();
        let down = |e: &dyn std::fmt::Display| {
            Error::unavailable(format!("The storage at {server} does not answer."))
                .log(e.to_string())
        };
        let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(Error::internal)?;
        let sends = matches!(parts.method, Method::PUT | Method::POST);
        let mut out = self
            .client
            .request(parts.method, url)
            .headers(parts.headers);
        let progress = Progress::new();
        out = match body {
            // Some servers want a length of nothing, too.
            Body::Empty if sends => out.header("content-length", "0"),
            Body::Empty => out,
            Body::Bytes(bytes) => out.body(bytes),
            stream => out.body(reqwest::Body::wrap(watched(stream, &progress))),
        };
        let mut answer = Box::pin(out.send());
        let mut tick = tokio::time::interval(PATIENCE / 4);
        let response = loop {
            tokio::select! {
                response = &mut answer => break response.map_err(|e| down(&e))?,
                _ = tick.tick() => {
                    if progress.stalled() {
                        return Err(down(&"it stalls"));
                    }
                }
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let length = response.content_length();
        let pieces = Box::pin(response.bytes_stream());
        let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
            let piece = match tokio::time::timeout(PATIENCE, pieces.next()).await {
                Ok(piece) => piece?.map_err(std::io::Error::other),
                Err(_) => Err(std::io::Error::other("the storage stalls")),
            };
            Some((piece, pieces))
        });
        Ok(Reply {
            status,
            headers,
            body: Body::stream(pieces, length),
        })
    }
}
