//! The metadata agent: listens where guests look, asks neutron whose address it is, and passes the request on to nova.
//!
//! Nova believes the headers because they are signed with a secret that guests do not have; so whatever a guest sends
//! under those names is thrown away.

use crate::config::Settings;
use base::{Error, Kind, Result};
use hmac::{Hmac, Mac};
use host_netns::{Namespace, ns};
use neutron_types::rpc::{MetadataOwner, MetadataSource, PluginClient};
use oslo_context::RequestContext;
use sha2::Sha256;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LONGEST_HEAD: usize = 16 * 1024;
const LONGEST_BODY: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 64;

/// All listeners of this host.
pub struct Metadata {
    proxy: Arc<Proxy>,
    /// The namespace's inode tells a namespace made anew from the one listened in.
    listeners: HashMap<Namespace, (u64, JoinHandle<()>)>,
}

struct Proxy {
    plugin: PluginClient,
    settings: Settings,
}

impl Metadata {
    /// None yet.
    pub fn new(plugin: PluginClient, settings: Settings) -> Metadata {
        Metadata {
            proxy: Arc::new(Proxy { plugin, settings }),
            listeners: HashMap::new(),
        }
    }

    /// Listens in exactly these namespaces. Whether it does: where an address is not there yet, it cannot.
    pub async fn ensure(&mut self, wanted: &[(Namespace, MetadataSource)]) -> bool {
        let mut complete = true;
        self.listeners.retain(|namespace, (inode, task)| {
            let keep = !task.is_finished()
                && inode_of(namespace) == Some(*inode)
                && wanted.iter().any(|(n, _)| n == namespace);
            if !keep {
                task.abort();
            }
            keep
        });
        for (namespace, source) in wanted {
            if self.listeners.contains_key(namespace) {
                continue;
            }
            match self.listen(namespace, source).await {
                Ok(listener) => drop(self.listeners.insert(namespace.clone(), listener)),
                Err(e) => {
                    tracing::warn!(namespace = %namespace, "no metadata for now: {e}");
                    complete = false;
                }
            }
        }
        complete
    }

    async fn listen(
        &self,
        namespace: &Namespace,
        source: &MetadataSource,
    ) -> Result<(u64, JoinHandle<()>)> {
        let inode = inode_of(namespace)
            .ok_or_else(|| Error::internal(format!("{namespace} is not there")))?;
        let listener = ns::inside(namespace, || {
            let listener = std::net::TcpListener::bind((crate::plan::METADATA, 80))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .await?;
        let listener = TcpListener::from_std(listener)?;
        let (proxy, source) = (self.proxy.clone(), source.clone());
        Ok((
            inode,
            tokio::spawn(async move { proxy.accept(listener, source).await }),
        ))
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        for (_, task) in self.listeners.values() {
            task.abort();
        }
    }
}

fn inode_of(namespace: &Namespace) -> Option<u64> {
    std::fs::metadata(ns::path(namespace)).ok().map(|m| m.ino())
}

impl Proxy {
    async fn accept(self: Arc<Self>, listener: TcpListener, source: MetadataSource) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(e) => {
                    tracing::warn!("metadata listener: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (proxy, source) = (self.clone(), source.clone());
            tokio::spawn(async move {
                let _ = timeout(PATIENCE, proxy.serve(stream, peer, source)).await;
                drop(place);
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream, peer: SocketAddr, source: MetadataSource) {
        if let Err(e) = self.exchange(&mut stream, peer.ip(), source).await {
            let (status, words) = match e.kind() {
                Kind::NotFound => (404, "Not Found"),
                Kind::BadRequest => (400, "Bad Request"),
                Kind::TooLarge => (413, "Request Entity Too Large"),
                _ => {
                    tracing::warn!(peer = %peer.ip(), "metadata: {e}");
                    (502, "Bad Gateway")
                }
            };
            let reply = format!(
                "HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(reply.as_bytes()).await;
        }
        let _ = stream.shutdown().await;
    }

    async fn exchange(
        &self,
        stream: &mut TcpStream,
        peer: IpAddr,
        source: MetadataSource,
    ) -> Result<()> {
        let (head, mut body) = read_head(stream).await?;
        let request = Request::parse(&head)?;
        while body.len() < request.length {
            let mut more = vec![0; request.length - body.len()];
            let count = stream.read(&mut more).await?;
            if count == 0 {
                return Err(Error::bad_request("the body ended early"));
            }
            body.extend(&more[..count]);
        }
        body.truncate(request.length);
        let owner = self
            .plugin
            .metadata_lookup(&RequestContext::internal(), source, peer)
            .await?;
        let owner = owner.ok_or_else(|| Error::not_found("nobody's address"))?;
        let settings = &self.settings;
        let sent = request.passed_on(
            &owner,
            peer,
            settings.metadata_secret.expose().as_bytes(),
            &settings.nova.address,
        );
        let mut nova = settings.nova.connect().await?;
        nova.write_all(sent.as_bytes()).await?;
        nova.write_all(&body).await?;
        tokio::io::copy(&mut nova, stream).await?;
        Ok(())
    }
}

async fn read_head(stream: &mut TcpStream) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut buffer = Vec::new();
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let body = buffer.split_off(end + 4);
            return Ok((buffer, body));
        }
        if buffer.len() > LONGEST_HEAD {
            return Err(Error::new(Kind::TooLarge, "the head is too long"));
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await? {
            0 => return Err(Error::bad_request("the head ended early")),
            count => buffer.extend(&part[..count]),
        }
    }
}

/// What of a request is passed on.
#[derive(Debug, PartialEq)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    length: usize,
}

impl Request {
    fn parse(head: &[u8]) -> Result<Request> {
        let bad = || Error::bad_request("not a request");
        let text = std::str::from_utf8(head).map_err(|_| bad())?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
        let [method, target, version] = words[..] else {
            return Err(bad());
        };
        let clean = |t: &str| !t.bytes().any(|b| b.is_ascii_control());
        if !method.bytes().all(|b| b.is_ascii_uppercase())
            || !target.starts_with('/')
            || !clean(target)
            || !version.starts_with("HTTP/1.")
        {
            return Err(bad());
        }
        let mut headers = Vec::new();
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let value = value.trim();
            let token = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !token || !clean(value) {
                return Err(bad());
            }
            match name.to_ascii_lowercase().replace('_', "-").as_str() {
                "content-length" if length.is_some() => return Err(bad()),
                "content-length" => length = Some(value.parse().map_err(|_| bad())?),
                // One way of saying how long a body is, or two servers read two requests.
                "transfer-encoding" => return Err(bad()),
                "host" | "connection" | "keep-alive" | "upgrade" | "te" | "trailer" | "expect" => {}
                dropped
                    if dropped.starts_with("x-")
                        || dropped.starts_with("proxy-")
                        || dropped == "forwarded" => {}
                _ => headers.push((name.to_string(), value.to_string())),
            }
        }
        let length = length.unwrap_or(0);
        if length > LONGEST_BODY {
            return Err(Error::new(Kind::TooLarge, "the body is too long"));
        }
        Ok(Request {
            method: method.into(),
            target: target.into(),
            headers,
            length,
        })
    }

    fn passed_on(&self, owner: &MetadataOwner, peer: IpAddr, secret: &[u8], host: &str) -> String {
        let mut out = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.length > 0 || self.method == "POST" || self.method == "PUT" {
            out.push_str(&format!("Content-Length: {}\r\n", self.length));
        }
        out.push_str(&format!(
            "X-Forwarded-For: {peer}\r\nX-Instance-ID: {}\r\nX-Tenant-ID: {}\r\nX-Instance-ID-Signature: {}\r\n\r\n",
            owner.instance_id,
            owner.project_id,
            signature(secret, &owner.instance_id)
        ));
        out
    }
}

fn signature(secret: &[u8], instance: &str) -> String {
    // HMAC takes keys of any length, so this has no other branch.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(instance.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_of_itself_is_dropped() {
        let head = b"GET /openstack HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Instance-ID: victim\r\nx_tenant_id: t\r\nX-Forwarded-For: 10.0.0.9\r\nAccept: */*\r\n\r\n";
        let request = Request::parse(head).unwrap();
        assert_eq!(request.headers, [("Accept".to_string(), "*/*".to_string())]);
        let owner = MetadataOwner {
            instance_id: "i".into(),
            project_id: "p".into(),
        };
        let sent = request.passed_on(&owner, "10.0.0.5".parse().unwrap(), b"secret", "nova:8775");
        assert!(!sent.contains("victim") && !sent.contains("10.0.0.9"));
        assert!(
            sent.contains("X-Instance-ID: i\r\n") && sent.contains("X-Forwarded-For: 10.0.0.5\r\n")
        );
        assert!(sent.ends_with("\r\n\r\n"));
    }

    #[test]
    fn signs_as_upstream() {
        // echo -n i | openssl dgst -sha256 -hmac secret
        let known = signature(b"key", "The quick brown fox jumps over the lazy dog");
        assert_eq!(
            known,
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
    }

    #[test]
    fn smuggling_is_refused() {
        for head in [
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rX-Instance-ID: c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\nX-Instance-ID: c\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        ] {
            assert!(Request::parse(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
