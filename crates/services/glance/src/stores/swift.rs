//! The Swift store: a container with one object per image. An image whose size is known and small enough is one object;
//! others go up in segments (`<name>-00001`), and a static large object that lists them is made when the image is kept.

use super::store::{Incoming, Store, UnderWay, full, missing};
use super::swift_auth::{Auth, Session};
use crate::config::StoreConf;
use async_trait::async_trait;
use base::{Error, Kind, Result, Timestamp};
use oslo_http::{Body, Bytes, Reply, percent_encode};
use sdk::Outside;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{OnceCell, OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;

const MIB: u64 = 1024 * 1024;
/// Segments that Swift takes in one manifest, and rows in one page of a list.
const SEGMENTS: u64 = 1000;
const PAGE: usize = 1000;

#[derive(Clone)]
pub struct Container(Arc<Inner>);

struct Inner {
    /// The store's own name, which stands in locations.
    id: String,
    outside: Outside,
    auth: Auth,
    container: String,
    large: u64,
    chunk: u64,
    create: bool,
    created: OnceCell<()>,
    under_way: UnderWay,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    name: String,
    #[serde(default)]
    last_modified: String,
}

/// Of `<name>-00001` the name; others are their own.
fn owner(object: &str) -> &str {
    match object.rsplit_once('-') {
        Some((name, number)) if number.len() >= 5 && number.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => object,
    }
}

/// Bytes of the `number`th segment of something that has no end in sight.
fn growing(chunk: u64, number: u64) -> u64 {
    // No object is larger than 5 GiB.
    (chunk << (number * 4 / SEGMENTS).min(16)).min(5 * 1024 * MIB)
}

impl Container {
    pub fn open(id: &str, conf: &StoreConf) -> Result<Container> {
        let (large, chunk) = (
            conf.swift_store_large_object_size * MIB,
            conf.swift_store_large_object_chunk_size * MIB,
        );
        if conf.swift_store_container.is_empty() || chunk == 0 || chunk > 5 * 1024 * MIB {
            return Err(Error::bad_request(
                "swift_store_container has a name, swift_store_large_object_chunk_size is 1 to 5120",
            ));
        }
        let outside = Outside::new(
            conf.swift_store_cacert.as_deref(),
            conf.swift_store_auth_insecure,
        )?;
        Ok(Container(Arc::new(Inner {
            id: id.to_string(),
            auth: Auth::open(conf, outside.clone())?,
            outside,
            container: conf.swift_store_container.clone(),
            large,
            chunk,
            create: conf.swift_store_create_container_on_put,
            created: OnceCell::new(),
            under_way: UnderWay::default(),
        })))
    }

    async fn send(
        &self,
        session: &Session,
        method: &str,
        name: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Reply> {
        let container = percent_encode(&self.0.container);
        let mut url = format!("{}/{container}", session.storage_url);
        if !name.is_empty() {
            url = format!("{url}/{}", percent_encode(name));
        }
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        let mut request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("x-auth-token", session.token.expose());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(Error::internal)?;
        self.0.outside.send(request).await
    }

    /// A request whose body is small; a token that has ended is renewed once.
    async fn ask(
        &self,
        method: &str,
        name: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply> {
        let session = self.0.auth.session(None).await?;
        let body = || Body::from(body.to_string());
        let reply = self.send(&session, method, name, query, headers, body());
        let reply = reply.await?;
        if reply.status.as_u16() != 401 {
            return Ok(reply);
        }
        let session = self.0.auth.session(Some(&session)).await?;
        self.send(&session, method, name, query, headers, body())
            .await
    }

    /// The same, and the answer must be good.
    async fn get(
        &self,
        method: &str,
        name: &str,
        query: &str,
        body: &str,
    ) -> Result<(http::HeaderMap, Bytes)> {
        let reply = self.ask(method, name, query, &[], body).await?;
        self.good(reply).await
    }

    async fn good(&self, reply: Reply) -> Result<(http::HeaderMap, Bytes)> {
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let bytes = reply.body.collect(16 << 20).await?;
        match status {
            200..300 => Ok((headers, bytes)),
            _ => Err(self.fault(status, &bytes)),
        }
    }

    fn fault(&self, status: u16, body: &[u8]) -> Error {
        let said = String::from_utf8_lossy(&body[..body.len().min(300)]);
        let words = format!("swift container {}: {status} {said}", self.0.container);
        match status {
            413 | 507 => full().log(words),
            404 => Error::not_found("No such object.").log(words),
            400..500 => Error::internal(words),
            _ => Error::unavailable("The image storage has a problem.").log(words),
        }
    }

    async fn ensure(&self) -> Result<()> {
        if !self.0.create {
            return Ok(());
        }
        let ensure = async || self.get("PUT", "", "", "").await.map(drop);
        self.0.created.get_or_try_init(ensure).await.map(drop)
    }

    /// Objects whose names begin so.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let marker = all.last().map(|l| l.name.clone()).unwrap_or_default();
            let query = format!(
                "format=json&limit={PAGE}&prefix={}&marker={}",
                percent_encode(prefix),
                percent_encode(&marker)
            );
            let (_, page) = match self.get("GET", "", &query, "").await {
                // A container that is made with the first image is empty before it.
                Err(e) if e.is_not_found() && self.0.create => return Ok(all),
                page => page?,
            };
            let page: Vec<Listed> = match page.is_empty() {
                true => Vec::new(),
                false => serde_json::from_slice(&page)?,
            };
            let ended = page.len() < PAGE;
            all.extend(page);
            if ended {
                return Ok(all);
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.get("DELETE", name, "", "").await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Container {
    async fn begin(&self, name: &str, size: Option<u64>) -> Result<Box<dyn Incoming>> {
        self.ensure().await?;
        let held = self.0.under_way.hold(name).await;
        let needed = size.unwrap_or_default().div_ceil(SEGMENTS).div_ceil(MIB) * MIB;
        Ok(Box::new(Arriving {
            container: self.clone(),
            name: name.to_string(),
            known: size,
            whole: size.filter(|size| *size <= self.0.large),
            chunk: self.0.chunk.max(needed),
            sending: None,
            segments: Vec::new(),
            size: 0,
            held: Some(held),
        }))
    }

    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Body> {
        if length == 0 {
            return Ok(Body::Empty);
        }
        let range = format!("bytes={from}-{}", from + length - 1);
        let reply = self.ask("GET", name, "", &[("range", &range)], "").await?;
        let status = reply.status.as_u16();
        match (status, reply.body.length()) {
            (206, Some(n)) if n == length => Ok(reply.body),
            (200, Some(n)) if n == length && from == 0 => Ok(reply.body),
            (200..300, stored) => Err(missing(
                name,
                &format!("{stored:?} bytes instead of {length}"),
            )),
            (404, _) => Err(missing(name, "no such object")),
            _ => {
                let words = reply.body.collect(1 << 20).await?;
                Err(self.fault(status, &words))
            }
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let _held = self.0.under_way.hold(name).await;
        self.delete(name).await?;
        for segment in self.list(&format!("{name}-")).await? {
            self.delete(&segment.name).await?;
        }
        Ok(())
    }

    async fn names(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>> {
        let mut names: Vec<(String, Timestamp)> = Vec::new();
        for object in self.list(prefix).await? {
            let (name, at) = (
                owner(&object.name),
                Timestamp::parse(&object.last_modified)?,
            );
            // Segments follow each other; the youngest says how old the whole is.
            match names.last_mut() {
                Some((last, when)) if last == name => *when = at.max(*when),
                _ => names.push((name.to_string(), at)),
            }
        }
        Ok(names)
    }

    fn url(&self, name: &str) -> String {
        format!("swift+config://{}/{}/{name}", self.0.id, self.0.container)
    }

    fn properties(&self) -> Value {
        json!({
            "container": self.0.container,
            "large_object_size": self.0.large / MIB,
            "large_object_chunk_size": self.0.chunk / MIB,
        })
    }
}

/// An object under way.
struct Sending {
    /// Nothing stands for the end: a sender that is dropped breaks the object off.
    pieces: mpsc::Sender<Option<Bytes>>,
    answer: JoinHandle<Result<String>>,
    name: String,
    left: u64,
    bytes: u64,
}

struct Segment {
    name: String,
    etag: String,
    bytes: u64,
}

struct Arriving {
    container: Container,
    name: String,
    known: Option<u64>,
    /// Its size, if it is one object.
    whole: Option<u64>,
    chunk: u64,
    sending: Option<Sending>,
    segments: Vec<Segment>,
    size: u64,
    /// The name; nothing is removed under it meanwhile.
    held: Option<OwnedMutexGuard<()>>,
}

impl Arriving {
    async fn open(&mut self) -> Result<Sending> {
        let number = self.segments.len() as u64;
        if number == SEGMENTS {
            return Err(full().log("a large object has no more segments"));
        }
        let (name, length, left) = match (self.whole, self.known) {
            (Some(size), _) => (self.name.clone(), Some(size), size),
            (None, Some(size)) => {
                let left = self.chunk.min(size - self.size.min(size));
                (format!("{}-{:05}", self.name, number + 1), Some(left), left)
            }
            (None, None) => {
                let left = growing(self.chunk, number);
                (format!("{}-{:05}", self.name, number + 1), None, left)
            }
        };
        let (pieces, taken) = mpsc::channel::<Option<Bytes>>(4);
        let body = futures::stream::unfold(Some(taken), |taken| async move {
            let mut taken = taken?;
            match taken.recv().await {
                Some(Some(bytes)) => Some((Ok(bytes), Some(taken))),
                Some(None) => None,
                None => Some((Err(std::io::Error::other("the upload broke off")), None)),
            }
        });
        let body = match length {
            Some(0) => Body::Empty,
            length => Body::stream(body, length),
        };
        let (container, object) = (self.container.clone(), name.clone());
        let session = container.0.auth.session(None).await?;
        let answer = tokio::spawn(async move {
            let kind = [("content-type", "application/octet-stream")];
            let reply = container
                .send(&session, "PUT", &object, "", &kind, body)
                .await?;
            if reply.status.as_u16() == 401 {
                // The next one gets a new token; these bytes are gone.
                let _ = container.0.auth.session(Some(&session)).await;
            }
            let (headers, _) = container.good(reply).await?;
            let etag = headers.get("etag").and_then(|v| v.to_str().ok());
            Ok(etag.unwrap_or_default().trim_matches('"').to_string())
        });
        Ok(Sending {
            pieces,
            answer,
            name,
            left,
            bytes: 0,
        })
    }

    /// Ends the object under way and hears what the server says of it.
    async fn close(&mut self) -> Result<()> {
        let Some(sending) = self.sending.take() else {
            return Ok(());
        };
        // A server that has refused already takes no end.
        let _ = sending.pieces.send(None).await;
        let etag = sending.answer.await.map_err(Error::internal)??;
        self.segments.push(Segment {
            name: sending.name,
            etag,
            bytes: sending.bytes,
        });
        Ok(())
    }

    async fn refused(&mut self) -> Error {
        match self.close().await {
            Err(e) => e,
            Ok(()) => Error::unavailable("The image storage ended an upload too soon."),
        }
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            if self.sending.is_none() {
                self.sending = Some(self.open().await?);
            }
            let Some(sending) = &mut self.sending else {
                return Err(Error::internal("no object is under way"));
            };
            let piece = bytes.split_to(bytes.len().min(sending.left as usize));
            if piece.is_empty() {
                return Err(Error::new(Kind::BadRequest, "More data than was promised."));
            }
            let length = piece.len() as u64;
            sending.left -= length;
            sending.bytes += length;
            self.size += length;
            let (ended, sent) = (sending.left == 0, sending.pieces.send(Some(piece)).await);
            if sent.is_err() {
                return Err(self.refused().await);
            }
            if ended && self.whole.is_none() {
                self.close().await?;
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        if self.size == 0 && self.segments.is_empty() && self.sending.is_none() {
            self.whole = Some(0);
            self.sending = Some(self.open().await?);
        }
        self.close().await
    }

    async fn keep(self: Box<Self>, md5: Option<&str>) -> Result<()> {
        if self.whole.is_some() {
            // The server's own reckoning of what it has.
            let etag = self.segments.first().map(|s| s.etag.as_str());
            return match (etag, md5) {
                (Some(etag), Some(md5)) if etag != md5 => {
                    Err(Error::unavailable("The image storage has a problem.")
                        .log(format!("{}: stored {etag}, sent {md5}", self.name)))
                }
                _ => Ok(()),
            };
        }
        // The server refuses a manifest whose segments it does not have with these sizes and tags.
        let segment = |s: &Segment| {
            let path = format!("/{}/{}", self.container.0.container, s.name);
            json!({"path": path, "etag": s.etag, "size_bytes": s.bytes})
        };
        let manifest: Vec<Value> = self.segments.iter().map(segment).collect();
        let manifest = serde_json::to_string(&manifest)?;
        // To its end, whoever stops waiting.
        let put = async move {
            let put = self
                .container
                .get("PUT", &self.name, "multipart-manifest=put", &manifest);
            put.await.map(drop)
        };
        tokio::spawn(put).await.map_err(Error::internal)?
    }

    async fn forget(mut self: Box<Self>) {
        if let Some(sending) = self.sending.take() {
            drop(sending.pieces);
            // It breaks off; how is no news.
            let _ = sending.answer.await;
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if let (Some(sending), held) = (self.sending.take(), self.held.take()) {
            drop(sending.pieces);
            runtime.spawn(async move {
                let _ = sending.answer.await;
                drop(held);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_belong_to_their_image() {
        assert_eq!(owner("a.b-00001"), "a.b");
        assert_eq!(owner("a-b.c"), "a-b.c");
        assert_eq!(owner("0f-12345.x"), "0f-12345.x");
    }

    #[test]
    fn segments_grow_to_hold_a_tebibyte() {
        let all: u64 = (0..SEGMENTS).map(|n| growing(400 * MIB, n)).sum();
        assert!(all > 1 << 40, "{all}");
        assert_eq!(growing(200 * MIB, 0), 200 * MIB);
        assert_eq!(growing(200 * MIB, 250), 400 * MIB);
    }
}
