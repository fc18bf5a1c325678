//! The smallest HTTP client that can load a server: one kept connection, one request at a time.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to one service.
pub struct Client {
    address: String,
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

/// A request's text, made once and sent often.
pub fn request(
    method: &str,
    path: &str,
    token: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Vec<u8> {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n");
    if !token.is_empty() {
        text.push_str(&format!("x-auth-token: {token}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    match body {
        Some(body) => {
            let body = body.to_string();
            text.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
        None => text.push_str("\r\n"),
    }
    text.into_bytes()
}

impl Client {
    /// `url` is `http://host:port`.
    pub async fn connect(url: &str) -> Result<Client> {
        let address = url.trim_start_matches("http://").to_string();
        let socket = TcpStream::connect(&address)
            .await
            .with_context(|| address.clone())?;
        socket.set_nodelay(true)?;
        Ok(Client {
            address,
            socket,
            buffer: Vec::with_capacity(64 << 10),
        })
    }

    /// Sends and waits for the whole answer.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer> {
        self.socket.write_all(request).await?;
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .context("a status line")?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if answer.header("transfer-encoding").is_some() {
            bail!("{}: chunked answers are not expected here", self.address);
        }
        let length: usize = answer
            .header("content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        while self.buffer.len() < head_end + length {
            self.more().await?;
        }
        answer.body = self.buffer[head_end..head_end + length].to_vec();
        self.buffer.drain(..head_end + length);
        Ok(answer)
    }

    async fn more(&mut self) -> Result<()> {
        let n = self.socket.read_buf(&mut self.buffer).await?;
        if n == 0 {
            bail!("{} closed the connection", self.address);
        }
        Ok(())
    }
}
