//! Memcached's text protocol, the three commands we need. Keys are hashed (any text becomes a legal key); a key
//! belongs to the server that scores highest with it, so losing one server moves only its own keys.

use base::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// Idle connections kept for each server.
const IDLE: usize = 8;
/// Longer times to live would be read as a date.
const LONGEST_TTL: u64 = 30 * 24 * 3600;

type Stream = BufStream<TcpStream>;

pub(crate) struct Memcached {
    servers: Vec<Server>,
    timeout: Duration,
    dead_time: Duration,
}

struct Server {
    address: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Stream>,
    dead_until: Option<Instant>,
}

impl Server {
    // Nothing panics while holding the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> bool {
        self.state()
            .dead_until
            .is_none_or(|until| Instant::now() >= until)
    }

    fn score(&self, key: &str) -> [u8; 32] {
        Sha256::new()
            .chain_update(&self.address)
            .chain_update([0])
            .chain_update(key)
            .finalize()
            .into()
    }
}

impl Memcached {
    pub(crate) fn new(
        servers: &[String],
        timeout: Duration,
        dead_time: Duration,
    ) -> Result<Memcached> {
        if servers.is_empty() {
            return Err(Error::bad_request(
                "Memcached needs at least one server, host:port.",
            ));
        }
        let server = |s: &String| {
            let address = s.strip_prefix("inet:").unwrap_or(s);
            let address = if address.contains(':') {
                address.to_string()
            } else {
                format!("{address}:11211")
            };
            Server {
                address,
                state: Mutex::default(),
            }
        };
        Ok(Memcached {
            servers: servers.iter().map(server).collect(),
            timeout,
            dead_time,
        })
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let server = self.server(key)?;
        self.ask(server, Ask::Get(&hashed(key))).await.flatten()
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        let Some(server) = self.server(key) else {
            return;
        };
        // Rounded up: zero would mean for ever.
        let seconds = (ttl.as_millis().div_ceil(1000) as u64).clamp(1, LONGEST_TTL);
        self.ask(server, Ask::Set(&hashed(key), value, seconds))
            .await;
    }

    /// From every living server, because a key may lie where it fell while its own server was dead.
    pub(crate) async fn delete(&self, key: &str) {
        let key = hashed(key);
        for server in self.servers.iter().filter(|s| s.alive()) {
            self.ask(server, Ask::Delete(&key)).await;
        }
    }

    fn server(&self, key: &str) -> Option<&Server> {
        self.servers
            .iter()
            .filter(|s| s.alive())
            .max_by_key(|s| s.score(key))
    }

    /// `None` means that the server failed; it is then left alone for a while.
    async fn ask(&self, server: &Server, ask: Ask<'_>) -> Option<Option<Vec<u8>>> {
        match tokio::time::timeout(self.timeout, once(server, &ask)).await {
            Ok(Ok(answer)) => {
                server.state().dead_until = None;
                return Some(answer);
            }
            Ok(Err(e)) => {
                tracing::warn!(server = server.address, error = %e, "a cache server fails; leaving it alone");
            }
            Err(_) => {
                tracing::warn!(
                    server = server.address,
                    "a cache server is too slow; leaving it alone"
                );
            }
        }
        let mut state = server.state();
        state.idle.clear();
        state.dead_until = Some(Instant::now() + self.dead_time);
        None
    }
}

enum Ask<'a> {
    Get(&'a str),
    Set(&'a str, &'a [u8], u64),
    Delete(&'a str),
}

/// A connection that was idle may have been closed meanwhile: then once more on a fresh one. A connection goes
/// back to the pool only after a whole answer, so a half-read one (also of a caller that gave up) is never used.
async fn once(server: &Server, ask: &Ask<'_>) -> io::Result<Option<Vec<u8>>> {
    let idle = server.state().idle.pop();
    if let Some(mut stream) = idle
        && let Ok(answer) = talk(&mut stream, ask).await
    {
        put_back(server, stream);
        return Ok(answer);
    }
    let tcp = TcpStream::connect(&server.address).await?;
    tcp.set_nodelay(true)?;
    let mut stream = BufStream::new(tcp);
    let answer = talk(&mut stream, ask).await?;
    put_back(server, stream);
    Ok(answer)
}

fn put_back(server: &Server, stream: Stream) {
    let mut state = server.state();
    if state.idle.len() < IDLE {
        state.idle.push(stream);
    }
}

async fn talk(stream: &mut Stream, ask: &Ask<'_>) -> io::Result<Option<Vec<u8>>> {
    match ask {
        Ask::Get(key) => {
            stream
                .write_all(format!("get {key}\r\n").as_bytes())
                .await?
        }
        Ask::Set(key, value, seconds) => {
            let head = format!("set {key} 0 {seconds} {}\r\n", value.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(value).await?;
            stream.write_all(b"\r\n").await?;
        }
        Ask::Delete(key) => {
            stream
                .write_all(format!("delete {key}\r\n").as_bytes())
                .await?
        }
    }
    stream.flush().await?;
    let first = line(stream).await?;
    match (ask, first.as_str()) {
        (Ask::Get(_), "END") => Ok(None),
        (Ask::Get(key), value) => {
            // VALUE <key> <flags> <bytes>
            let words: Vec<_> = value.split(' ').collect();
            let ["VALUE", got, _, length] = words[..] else {
                return Err(strange(value));
            };
            let length: usize = length.parse().map_err(|_| strange(value))?;
            if got != *key || length > 2 * crate::MOST_BYTES {
                return Err(strange(value));
            }
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            match line(stream).await?.as_str() {
                "END" => Ok(Some(bytes)),
                other => Err(strange(other)),
            }
        }
        (Ask::Set(..), "STORED") | (Ask::Delete(_), "DELETED" | "NOT_FOUND") => Ok(None),
        // The value is refused (out of memory), but the server is well.
        (Ask::Set(..), refused) if refused.starts_with("SERVER_ERROR") => Ok(None),
        (_, other) => Err(strange(other)),
    }
}

async fn line(stream: &mut Stream) -> io::Result<String> {
    let mut line = String::new();
    (&mut *stream).take(512).read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_string()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn strange(line: &str) -> io::Error {
    let start: String = line.chars().take(60).collect();
    io::Error::new(
        ErrorKind::InvalidData,
        format!("unexpected answer {start:?}"),
    )
}

fn hashed(key: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(key) {
        // Writing into a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
