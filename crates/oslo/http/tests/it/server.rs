//! Sockets: TLS, slow clients, large heads, graceful stop.

use crate::{SLOWED, endpoint};
use futures::future::BoxFuture;
use oslo_http::{Body, Endpoint, Reply, RouteInfo, ServerOptions, bind, serve, tls_config};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

async fn start(options: ServerOptions) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    start_with(endpoint(), options).await
}

async fn start_with(
    endpoint: Arc<dyn Endpoint>,
    options: ServerOptions,
) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let (listener, address) = bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, endpoint, options, stop.clone()));
    (address, stop, task)
}

async fn talk(address: SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // A server that refuses early closes while we still write.
    let _ = socket.write_all(text.as_bytes()).await;
    let mut out = Vec::new();
    let _ = socket.read_to_end(&mut out).await;
    String::from_utf8_lossy(&out).into_owned()
}

#[tokio::test]
async fn answers_over_tcp() {
    let (address, stop, task) = start(ServerOptions::default()).await;
    let reply = talk(
        address,
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 300"), "{reply}");
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_cut_off() {
    let options = ServerOptions {
        header_timeout: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let (address, _stop, _task) = start(options).await;
    let begun = Instant::now();
    let reply = tokio::time::timeout(
        Duration::from_secs(10),
        talk(address, "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "),
    )
    .await
    .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert!(!reply.starts_with("HTTP/1.1 300"), "{reply}");
}

#[tokio::test]
async fn a_client_that_never_ends_its_body_is_cut_off() {
    let options = ServerOptions {
        idle_timeout: Duration::from_secs(1),
        ..ServerOptions::default()
    };
    let (address, _stop, _task) = start(options).await;
    let head = "PUT /v1/file/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nten bytes…";
    let reply = tokio::time::timeout(Duration::from_secs(10), talk(address, head))
        .await
        .unwrap();
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");

    // One that is slow but never silent for so long is served.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head =
        "PUT /v1/file/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        socket.write_all(b"x").await.unwrap();
    }
    let mut out = String::new();
    socket.read_to_string(&mut out).await.unwrap();
    assert!(out.ends_with("{\"bytes\":6}"), "{out}");
}

/// Answers everything with far more than a socket's buffers take.
struct Huge;

impl Endpoint for Huge {
    fn call(&self, _: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async { Reply::text(200, "text/plain", vec![b'x'; 64 << 20]) })
    }
    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }
    fn name(&self) -> &'static str {
        "huge"
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_gives_its_place_to_others() {
    let options = ServerOptions {
        idle_timeout: Duration::from_millis(200),
        max_connections: 1,
        ..ServerOptions::default()
    };
    let (address, _stop, _task) = start_with(Arc::new(Huge), options).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut deaf = TcpStream::connect(address).await.unwrap();
    deaf.write_all(request.as_bytes()).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(20), talk(address, request))
        .await
        .expect("the place is free again");
    assert!(reply.len() > 64 << 20);
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let (address, _stop, _task) = start(ServerOptions {
        max_header_bytes: 16 << 10,
        ..ServerOptions::default()
    })
    .await;
    let reply = talk(
        address,
        &format!(
            "GET / HTTP/1.1\r\nhost: x\r\nx-big: {}\r\n\r\n",
            "a".repeat(100_000)
        ),
    )
    .await;
    assert!(
        reply.starts_with("HTTP/1.1 431") || reply.is_empty(),
        "{reply:.60}"
    );
}

#[tokio::test]
async fn a_thousand_headers_are_refused() {
    let (address, _stop, _task) = start(ServerOptions::default()).await;
    let with = |many: usize| {
        let headers: String = (0..many).map(|n| format!("x-{n}: a\r\n")).collect();
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
    };
    let reply = talk(address, &with(1000)).await;
    assert!(reply.starts_with("HTTP/1.1 431"), "{reply:.60}");
    let reply = talk(address, &with(50)).await;
    assert!(reply.starts_with("HTTP/1.1 300"), "{reply:.60}");
}

#[tokio::test]
async fn a_graceful_stop_lets_running_requests_end() {
    let (address, stop, task) = start(ServerOptions::default()).await;
    let request = tokio::spawn(talk(address, "GET /v1/slow HTTP/1.1\r\nhost: x\r\n\r\n"));
    SLOWED.notified().await;
    stop.cancel();
    task.await.unwrap();
    assert!(request.await.unwrap().contains("\"slept\":true"));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn speaks_tls() {
    let dir = std::env::temp_dir().join(format!("oslo-http-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = ServerOptions {
        tls: Some(tls_config(&cert, &key).unwrap()),
        ..ServerOptions::default()
    };
    let (address, _stop, _task) = start(options).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector
        .connect(name, TcpStream::connect(address).await.unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out).await;
    assert!(out.starts_with(b"HTTP/1.1 300"));
    let _ = std::fs::remove_dir_all(&dir);
}
