//! A web server that imports fetch from.

use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub struct Web {
    pub port: u16,
    /// Lets a `/slow` answer end.
    pub go: Arc<Notify>,
}

impl Web {
    /// `/image` is `data`, `/slow` too but stops half way, `/short` breaks off, `/to?…` redirects, all else is missing.
    pub async fn start(data: Vec<u8>) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let go = Arc::new(Notify::new());
        let (gate, data) = (Arc::clone(&go), Arc::new(data));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (gate, data) = (Arc::clone(&gate), Arc::clone(&data));
                tokio::spawn(async move {
                    let mut head = vec![0; 8192];
                    let n = socket.read(&mut head).await.unwrap_or_default();
                    let head = String::from_utf8_lossy(&head[..n]).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_string();
                    let found = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        data.len()
                    );
                    let half = data.len() / 2;
                    match path.split_once('?').unwrap_or((&path, "")) {
                        ("/to", target) => {
                            let moved = format!(
                                "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                            );
                            let _ = socket.write_all(moved.as_bytes()).await;
                        }
                        ("/image", _) => {
                            let _ = socket.write_all(found.as_bytes()).await;
                            let _ = socket.write_all(&data).await;
                        }
                        ("/slow", _) => {
                            let _ = socket.write_all(found.as_bytes()).await;
                            let _ = socket.write_all(&data[..half]).await;
                            gate.notified().await;
                            let _ = socket.write_all(&data[half..]).await;
                        }
                        ("/short", _) => {
                            let _ = socket.write_all(found.as_bytes()).await;
                            let _ = socket.write_all(&data[..half]).await;
                        }
                        _ => {
                            let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                            let _ = socket.write_all(missing.as_bytes()).await;
                        }
                    }
                });
            }
        });
        Web { port, go }
    }

    pub fn uri(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
