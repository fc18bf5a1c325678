//! The listening side: HTTP/1.1 over TCP or TLS, slow clients bounded, stopped gracefully.

use crate::patience::Patient;
use crate::{Body, Endpoint};
use base::{Error, Result};
use futures::{StreamExt, stream};
use http_body_util::BodyStream;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bounds of a server.
#[derive(Clone)]
pub struct ServerOptions {
    /// Connections served at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// A request's head must be complete by then.
    pub header_timeout: Duration,
    /// The longest silence in the middle of a request's body, and the longest time a client may take nothing of a
    /// reply.
    pub idle_timeout: Duration,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// How long running requests may take to finish when the server stops.
    pub grace: Duration,
    /// TLS, if it is to be spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_connections: 1024,
            header_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            max_header_bytes: 64 << 10,
            grace: Duration::from_secs(10),
            tls: None,
        }
    }
}

/// Reads a certificate chain and key in PEM.
pub fn tls_config(cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let bad = |what: &Path, e: &dyn std::fmt::Display| {
        Error::internal(format!("{}: {e}", what.display()))
    };
    let certs = CertificateDer::pem_file_iter(cert)
        .map_err(|e| bad(cert, &e))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(cert, &e))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| bad(key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?;
    builder
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map(Arc::new)
        .map_err(Error::internal)
}

/// Binds an address; port 0 picks a free one.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| Error::internal(format!("cannot listen on {address}: {e}")))?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Serves `endpoint` until `stop`; then lets running requests finish within the grace time.
pub async fn serve(
    listener: TcpListener,
    endpoint: Arc<dyn Endpoint>,
    options: ServerOptions,
    stop: CancellationToken,
) {
    let tracker = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let tls = options.tls.clone().map(tokio_rustls::TlsAcceptor::from);
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, _) = match accepted {
            Ok(pair) => pair,
            Err(e) => {
                // Out of file descriptors: give running connections a moment instead of spinning.
                tracing::warn!("accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let (endpoint, options, stop, tls) = (
            Arc::clone(&endpoint),
            options.clone(),
            stop.clone(),
            tls.clone(),
        );
        tracker.spawn(async move {
            let _slot = slot;
            match tls {
                None => connection(TokioIo::new(socket), endpoint, &options, stop).await,
                Some(tls) => {
                    match tokio::time::timeout(options.header_timeout, tls.accept(socket)).await {
                        Ok(Ok(stream)) => {
                            connection(TokioIo::new(stream), endpoint, &options, stop).await
                        }
                        _ => tracing::debug!("a TLS handshake failed"),
                    }
                }
            }
        });
    }
    tracker.close();
    if tokio::time::timeout(options.grace, tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!("{} connections did not finish in time", tracker.len());
    }
}

async fn connection<I>(
    io: I,
    endpoint: Arc<dyn Endpoint>,
    options: &ServerOptions,
    stop: CancellationToken,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let idle = options.idle_timeout;
    let io = Patient::new(io, idle);
    let service =
        hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let endpoint = Arc::clone(&endpoint);
            async move {
                let request = request.map(|body| incoming(body, idle));
                let reply = endpoint.call(request).await;
                let mut response = http::Response::new(reply.body);
                *response.status_mut() = reply.status;
                *response.headers_mut() = reply.headers;
                Ok::<_, Infallible>(response)
            }
        });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.max_header_bytes.max(8192))
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("connection: {e}");
    }
}

fn incoming(body: hyper::body::Incoming, idle: Duration) -> Body {
    use http_body::Body as _;
    if body.is_end_stream() {
        return Body::Empty;
    }
    let length = body.size_hint().exact();
    let frames = stream::unfold(Some(BodyStream::new(body)), move |body| async move {
        let mut body = body?;
        loop {
            return match tokio::time::timeout(idle, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Some((Ok(data), Some(body))),
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
                Ok(Some(Err(e))) => Some((Err(std::io::Error::other(e)), None)),
                Err(_) => {
                    let words = "the client sent nothing for too long";
                    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, words);
                    Some((Err(error), None))
                }
            };
        }
    });
    Body::stream(frames, length)
}
