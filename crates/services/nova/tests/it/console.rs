//! A browser's way to a guest's screen.

use crate::harness::Cloud;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

async fn screen(cloud: &Cloud) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cloud.screens_at(listener.local_addr().unwrap().port());
    listener
}

async fn connect(
    proxy: SocketAddr,
    token: &str,
    origin: &str,
) -> Result<tokio_tungstenite::WebSocketStream<TcpStream>, u16> {
    let mut request = format!("ws://{proxy}/?token={token}")
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "binary".parse().unwrap());
    if !origin.is_empty() {
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(proxy).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, reply)) => {
            assert_eq!(reply.headers()["sec-websocket-protocol"], "binary");
            Ok(socket)
        }
        Err(WsError::Http(reply)) => Err(reply.status().as_u16()),
        Err(e) => panic!("{e}"),
    }
}

async fn token(cloud: &Cloud, id: &str, novnc_port: u16) -> String {
    let body = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    let answer = cloud
        .post(
            "alice",
            "2.6",
            &format!("/v2.1/servers/{id}/remote-consoles"),
            body,
        )
        .await;
    let url = answer["remote_console"]["url"]
        .as_str()
        .unwrap()
        .to_string();
    let (page, token) = url.split_once("?path=%3Ftoken%3D").unwrap();
    let port = page.strip_prefix("http://127.0.0.1:").unwrap();
    let port = port.strip_suffix("/vnc_lite.html").unwrap();
    assert_eq!(port.parse::<u16>().unwrap(), novnc_port);
    token.to_string()
}

async fn get(proxy: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_ticket_opens_the_screen_until_it_ends() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| {}).await;
    let listener = screen(&cloud).await;
    let stop = CancellationToken::new();
    let proxy = nova::console::serve_novnc(Arc::clone(&cloud.nova), "127.0.0.1:0", stop.clone())
        .await
        .unwrap();
    let ticket = token(&cloud, &server.id, proxy.port()).await;

    let mut browser = connect(proxy, &ticket, &format!("http://{proxy}"))
        .await
        .unwrap();
    let (mut vnc, _) = listener.accept().await.unwrap();
    vnc.write_all(b"RFB 003.008\n").await.unwrap();
    assert_eq!(
        browser.next().await.unwrap().unwrap(),
        Message::binary(b"RFB 003.008\n".to_vec())
    );
    browser
        .send(Message::binary(b"hello".to_vec()))
        .await
        .unwrap();
    let mut heard = [0u8; 5];
    vnc.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    drop(vnc);
    assert!(matches!(
        browser.next().await,
        Some(Ok(Message::Close(_))) | None
    ));

    assert_eq!(connect(proxy, "wrong", "").await.err(), Some(403));
    assert_eq!(
        connect(proxy, &ticket, "http://evil.example").await.err(),
        Some(403)
    );
    // The port now shows somebody else's screen.
    let elsewhere = screen(&cloud).await;
    assert_eq!(connect(proxy, &ticket, "").await.err(), Some(403));
    let fresh = token(&cloud, &server.id, proxy.port()).await;
    assert!(connect(proxy, &fresh, "").await.is_ok());
    drop(elsewhere);
    let connection = cloud
        .get(
            "admin",
            "2.99",
            &format!("/v2.1/os-console-auth-tokens/{fresh}"),
        )
        .await;
    assert_eq!(connection["console"]["instance_uuid"], server.id);
    cloud.clock.advance(Duration::from_secs(601));
    assert_eq!(connect(proxy, &fresh, "").await.err(), Some(403));
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.31",
                "GET",
                &format!("/v2.1/os-console-auth-tokens/{fresh}"),
                None
            )
            .await
            .0,
        404
    );
    stop.cancel();
}

#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| {}).await;
    let path = format!("/v2.1/servers/{}/remote-consoles", server.id);
    let spice = json!({"remote_console": {"protocol": "spice", "type": "spice-html5"}});
    let (status, words) = cloud
        .refused("alice", "2.6", "POST", &path, Some(spice))
        .await;
    assert_eq!(
        (status, words.as_str()),
        (400, "Unavailable console type spice-html5.")
    );
    let vnc = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    assert_eq!(
        cloud
            .refused("bob", "2.6", "POST", &path, Some(vnc.clone()))
            .await
            .0,
        404
    );
    let homeless = cloud.server(|s| s.host = None).await;
    let path = format!("/v2.1/servers/{}/remote-consoles", homeless.id);
    assert_eq!(
        cloud
            .refused("alice", "2.6", "POST", &path, Some(vnc))
            .await
            .0,
        409
    );
    let action = format!("/v2.1/servers/{}/action", server.id);
    let old = cloud
        .post(
            "alice",
            "2.1",
            &action,
            json!({"os-getVNCConsole": {"type": "novnc"}}),
        )
        .await;
    assert!(old["console"]["url"].as_str().unwrap().contains("token"));
}

#[tokio::test]
async fn pages_come_from_one_directory_only() {
    let cloud = Cloud::new().await;
    let proxy = nova::console::serve_novnc(
        Arc::clone(&cloud.nova),
        "127.0.0.1:0",
        CancellationToken::new(),
    )
    .await
    .unwrap();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/core",
        "/nothing.html",
    ] {
        assert!(get(proxy, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(get(proxy, "nonsense\r\n").await.starts_with("HTTP/1.1 4"));
    if std::path::Path::new("/usr/share/novnc/vnc_lite.html").exists() {
        let page = get(proxy, "/vnc_lite.html?path=x").await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("noVNC"));
    }
}
