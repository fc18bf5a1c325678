//! The head of an HTTP/1.1 request, as far as static pages and WebSocket upgrades need it.

use base::{Error, Result};
use oslo_http::{Query, percent_decode};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Heads larger than this are refused.
const MAX_HEAD: usize = 16 << 10;

/// A request's first line and headers, and what came after them.
pub(super) struct Head {
    pub method: String,
    pub path: String,
    pub query: Query,
    headers: Vec<(String, String)>,
    /// Bytes that were read beyond the head: the start of the WebSocket's frames.
    pub rest: Vec<u8>,
}

impl Head {
    /// The value of a header; names are lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Whether a comma-separated header has `word`.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        self.header(name)
            .is_some_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    }
}

/// Reads a head; `None` when the other side closes before it is complete.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Head>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            return parse(&bytes[..end], bytes[end + 4..].to_vec()).map(Some);
        }
        if bytes.len() > MAX_HEAD {
            return Err(Error::bad_request("The request's head is too large."));
        }
        let mut chunk = [0u8; 2048];
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn parse(head: &[u8], rest: Vec<u8>) -> Result<Head> {
    let bad = || Error::bad_request("The request is malformed.");
    let text = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next().ok_or_else(bad)?.split(' ');
    let (method, target, version) = (first.next(), first.next(), first.next());
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) = (method, target, version)
    else {
        return Err(bad());
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    Ok(Head {
        method: method.to_string(),
        path: percent_decode(path, false)?,
        query: Query::decode(query)?,
        headers,
        rest,
    })
}
