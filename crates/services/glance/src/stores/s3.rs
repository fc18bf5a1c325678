//! The S3 store: a bucket with one object per image. What arrives goes up in parts of an upload that is completed when the
//! image is kept; whatever fits into one part is one object.
//!
//! A server's listings and answers are hints; that an image is whole is known from its size, asked for at the end.

use super::sign::{Key, Unsigned};
use super::store::{Incoming, Store, UnderWay, full, missing};
use crate::config::StoreConf;
use async_trait::async_trait;
use base::{Error, Result, Timestamp};
use base64::Engine;
use md5::{Digest, Md5};
use oslo_http::{Body, Bytes, Reply, percent_encode};
use sdk::Outside;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{OnceCell, OwnedMutexGuard};
use tokio::task::{JoinHandle, JoinSet};

const MIB: u64 = 1024 * 1024;
/// What S3 takes: parts of an upload, and the smallest that is not the last.
const PARTS: u64 = 10_000;
const SMALLEST: u64 = 5 * MIB;
/// Parts under way hold no more memory than this, or one part.
const MEMORY: u64 = 64 * MIB;
/// A part whose sending failed for a reason that may pass is sent again.
const TRIES: usize = 3;

#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    outside: Outside,
    key: Key,
    /// Address of the server, with the bucket in the name or not.
    server: String,
    /// `/bucket`, or nothing if it is in the name.
    root: String,
    bucket: String,
    /// As it stands in locations.
    shown: String,
    chunk: u64,
    parallel: u64,
    create: bool,
    created: OnceCell<()>,
    under_way: UnderWay,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fault {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
    last_modified: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Objects {
    #[serde(default)]
    contents: Vec<Object>,
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default)]
    upload: Vec<Upload>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

fn xml<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = String::from_utf8_lossy(bytes);
    quick_xml::de::from_str(&text)
        .map_err(|e| Error::unavailable("The storage answers what S3 does not say.").log(e))
}

fn region_of(host: &str) -> String {
    let aws = host.strip_suffix(".amazonaws.com").unwrap_or_default();
    let region = aws.strip_prefix("s3.").or_else(|| aws.strip_prefix("s3-"));
    region.unwrap_or("us-east-1").to_string()
}

impl Bucket {
    pub fn open(conf: &StoreConf) -> Result<Bucket> {
        for (name, empty) in [
            ("s3_store_host", conf.s3_store_host.is_empty()),
            ("s3_store_access_key", conf.s3_store_access_key.is_empty()),
            ("s3_store_secret_key", conf.s3_store_secret_key.is_empty()),
            ("s3_store_bucket", conf.s3_store_bucket.is_empty()),
        ] {
            if empty {
                return Err(Error::bad_request(format!("{name} is missing")));
            }
        }
        let chunk = conf.s3_store_large_object_chunk_size * MIB;
        if chunk < SMALLEST || conf.s3_store_thread_pools == 0 {
            return Err(Error::bad_request(
                "s3_store_large_object_chunk_size is at least 5, s3_store_thread_pools at least 1",
            ));
        }
        let named = conf.s3_store_host.trim_end_matches('/');
        let (scheme, host) = named.split_once("://").unwrap_or(("http", named));
        let bucket = conf.s3_store_bucket.clone();
        let name = host.split(':').next().unwrap_or_default();
        let in_name = match conf.s3_store_bucket_url_format.as_str() {
            "auto" => name.ends_with(".amazonaws.com") && !bucket.contains('.'),
            "virtual" => true,
            "path" => false,
            other => {
                return Err(Error::bad_request(format!(
                    "s3_store_bucket_url_format: {other} is none of auto, virtual, path"
                )));
            }
        };
        let region = match conf.s3_store_region_name.as_str() {
            "" => region_of(name),
            region => region.to_string(),
        };
        let plain = if scheme == "https" { "s3+https" } else { "s3" };
        let shown = format!("{plain}://{host}/{bucket}");
        let (server, root) = match in_name {
            true => (format!("{scheme}://{bucket}.{host}"), String::new()),
            false => (
                format!("{scheme}://{host}"),
                format!("/{}", percent_encode(&bucket)),
            ),
        };
        Ok(Bucket(Arc::new(Inner {
            outside: Outside::new(conf.s3_store_cacert.as_deref(), false)?,
            key: Key {
                access: conf.s3_store_access_key.clone(),
                secret: conf.s3_store_secret_key.clone(),
                region,
            },
            server,
            root,
            bucket,
            shown,
            chunk,
            parallel: conf.s3_store_thread_pools,
            create: conf.s3_store_create_bucket_on_put,
            created: OnceCell::new(),
            under_way: UnderWay::default(),
        })))
    }

    /// One request; `name` is an object, or nothing for the bucket itself.
    async fn ask(
        &self,
        method: &str,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Reply> {
        let path = match name {
            "" => format!("{}/", self.0.root),
            name => format!("{}/{}", self.0.root, percent_encode(name)),
        };
        let unsigned = Unsigned {
            method,
            server: &self.0.server,
            path: &path,
            query,
            headers,
        };
        let request = self.0.key.sign(&unsigned, body, Timestamp::now())?;
        self.0.outside.send(request).await
    }

    /// The same, with a small answer that must be good.
    async fn get(
        &self,
        method: &str,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<(http::HeaderMap, Bytes)> {
        let reply = self.ask(method, name, query, headers, body).await?;
        let status = reply.status.as_u16();
        let headers = reply.headers;
        let bytes = reply.body.collect(16 << 20).await?;
        match status {
            200..300 => Ok((headers, bytes)),
            _ => Err(self.fault(status, &bytes)),
        }
    }

    fn fault(&self, status: u16, body: &[u8]) -> Error {
        let fault = xml::<Fault>(body).unwrap_or(Fault {
            code: String::new(),
            message: String::new(),
        });
        let words = format!(
            "s3 bucket {}: {status} {} {}",
            self.0.bucket, fault.code, fault.message
        );
        match (status, fault.code.as_str()) {
            (507, _) | (_, "QuotaExceeded" | "EntityTooLarge" | "XMinioStorageFull") => {
                full().log(words)
            }
            (404, "NoSuchBucket") | (401 | 403, _) | (400, _) => Error::internal(words),
            (404, _) => Error::not_found("No such object.").log(words),
            _ => Error::unavailable("The image storage has a problem.").log(words),
        }
    }

    async fn ensure(&self) -> Result<()> {
        if !self.0.create {
            return Ok(());
        }
        let ensure = async || {
            let there = self.ask("HEAD", "", &[], &[], Body::Empty).await?;
            if there.status.as_u16() != 404 {
                return Ok(());
            }
            let region = &self.0.key.region;
            let body = match region.as_str() {
                "us-east-1" => String::new(),
                region => format!(
                    "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
                ),
            };
            let made = self.ask("PUT", "", &[], &[], body.into()).await?;
            let status = made.status.as_u16();
            let words = made.body.collect(1 << 20).await?;
            match status {
                200..300 | 409 => Ok(()),
                _ => Err(self.fault(status, &words)),
            }
        };
        self.0.created.get_or_try_init(ensure).await.map(drop)
    }

    /// Uploads that were begun and not ended, of names that begin so.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>> {
        let mut all = Vec::new();
        let (mut key, mut id) = (String::new(), String::new());
        loop {
            let mut query = vec![("uploads", "")];
            for (name, value) in [
                ("prefix", prefix),
                ("key-marker", &key),
                ("upload-id-marker", &id),
            ] {
                if !value.is_empty() {
                    query.push((name, value));
                }
            }
            let (_, page) = self.get("GET", "", &query, &[], Body::Empty).await?;
            let page: Uploads = xml(&page)?;
            all.extend(page.upload);
            match (page.is_truncated, page.next_key_marker) {
                (true, Some(next)) if !next.is_empty() => {
                    key = next;
                    id = page.next_upload_id_marker.unwrap_or_default();
                }
                _ => return Ok(all),
            }
        }
    }

    async fn cancel(&self, name: &str, upload: &str) -> Result<()> {
        let query = [("uploadId", upload)];
        let gone = self.get("DELETE", name, &query, &[], Body::Empty).await;
        match gone {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Sends a whole object, or a part of one, and gives its entity tag.
    async fn put(&self, name: &str, query: &[(&str, &str)], pieces: Vec<Bytes>) -> Result<String> {
        let pieces = Arc::new(pieces);
        let hashed = Arc::clone(&pieces);
        let md5 = move || {
            let mut md5 = Md5::new();
            hashed.iter().for_each(|piece| md5.update(piece));
            base64::engine::general_purpose::STANDARD.encode(md5.finalize())
        };
        let md5 = tokio::task::spawn_blocking(md5)
            .await
            .map_err(Error::internal)?;
        let length = pieces.iter().map(|p| p.len() as u64).sum();
        let headers = [("content-md5", md5.as_str())];
        let mut tries = 0;
        loop {
            let again: Vec<_> = pieces.iter().cloned().map(Ok).collect();
            let body = match length {
                0 => Body::Empty,
                _ => Body::stream(futures::stream::iter(again), Some(length)),
            };
            tries += 1;
            match self.get("PUT", name, query, &headers, body).await {
                Ok((headers, _)) => {
                    let tag = headers.get("etag").and_then(|tag| tag.to_str().ok());
                    return Ok(tag.unwrap_or_default().to_string());
                }
                Err(e) if tries < TRIES && e.kind() == base::Kind::Unavailable => {
                    tracing::warn!(file = name, "a part is sent again: {e:?}");
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn check_size(&self, name: &str, size: u64) -> Result<()> {
        let (headers, _) = self.get("HEAD", name, &[], &[], Body::Empty).await?;
        let stored = headers.get("content-length").and_then(|v| v.to_str().ok());
        let stored = stored.and_then(|v| v.parse::<u64>().ok());
        match stored == Some(size) {
            true => Ok(()),
            false => Err(Error::unavailable("The image storage has a problem.")
                .log(format!("{name}: {stored:?} bytes are stored of {size}"))),
        }
    }
}

#[async_trait]
impl Store for Bucket {
    async fn begin(&self, name: &str, size: Option<u64>) -> Result<Box<dyn Incoming>> {
        self.ensure().await?;
        let held = self.0.under_way.hold(name).await;
        // As many parts as S3 takes, of a whole number of mebibytes.
        let needed = size.unwrap_or_default().div_ceil(PARTS).div_ceil(MIB) * MIB;
        Ok(Box::new(Arriving {
            bucket: self.clone(),
            name: name.to_string(),
            chunk: self.0.chunk.max(needed),
            known: size.is_some(),
            waiting: Vec::new(),
            bytes: 0,
            size: 0,
            beginning: None,
            upload: None,
            sending: JoinSet::new(),
            held: Some(held),
            ending: false,
            begun: 0,
            tags: Vec::new(),
        }))
    }

    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Body> {
        if length == 0 {
            return Ok(Body::Empty);
        }
        let range = format!("bytes={from}-{}", from + length - 1);
        let headers = [("range", range.as_str())];
        let reply = self.ask("GET", name, &[], &headers, Body::Empty).await?;
        let status = reply.status.as_u16();
        match (status, reply.body.length()) {
            (206, Some(n)) if n == length => Ok(reply.body),
            (200, Some(n)) if n == length && from == 0 => Ok(reply.body),
            (200..300, stored) => Err(missing(
                name,
                &format!("{stored:?} bytes instead of {length}"),
            )),
            _ => {
                let words = reply.body.collect(1 << 20).await?;
                match self.fault(status, &words) {
                    e if e.is_not_found() => Err(missing(name, "no such object")),
                    e => Err(e),
                }
            }
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let _held = self.0.under_way.hold(name).await;
        for upload in self.uploads(name).await? {
            if upload.key == name {
                self.cancel(name, &upload.upload_id).await?;
            }
        }
        match self.get("DELETE", name, &[], &[], Body::Empty).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    async fn names(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>> {
        let mut names = Vec::new();
        for upload in self.uploads(prefix).await? {
            names.push((upload.key, Timestamp::parse(&upload.initiated)?));
        }
        let mut next: Option<String> = None;
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            if let Some(next) = &next {
                query.push(("continuation-token", next));
            }
            let (_, page) = self.get("GET", "", &query, &[], Body::Empty).await?;
            let page: Objects = xml(&page)?;
            for object in page.contents {
                names.push((object.key, Timestamp::parse(&object.last_modified)?));
            }
            match (page.is_truncated, page.next_continuation_token) {
                (true, Some(token)) => next = Some(token),
                _ => return Ok(names),
            }
        }
    }

    fn url(&self, name: &str) -> String {
        // COMPAT: upstream has the keys in it; nobody needs them there.
        format!("{}/{name}", self.0.shown)
    }

    fn properties(&self) -> Value {
        json!({"s3_store_large_object_chunk_size": self.0.chunk / MIB, "s3_store_thread_pools": self.0.parallel})
    }
}

struct Arriving {
    bucket: Bucket,
    name: String,
    chunk: u64,
    /// Whether the size was known, and the chunk chosen by it.
    known: bool,
    waiting: Vec<Bytes>,
    bytes: u64,
    size: u64,
    beginning: Option<JoinHandle<Result<String>>>,
    upload: Option<String>,
    sending: JoinSet<Result<(u64, String)>>,
    /// Parts that were begun.
    begun: u64,
    tags: Vec<(u64, String)>,
    /// The name; nothing is removed under it meanwhile.
    held: Option<OwnedMutexGuard<()>>,
    /// It is what is left of another one, and nobody looks after it but itself.
    ending: bool,
}

impl Arriving {
    /// The upload whose parts these are. It is begun on a task of its own, so that it is known whoever stops waiting.
    async fn upload(&mut self) -> Result<String> {
        if let Some(upload) = &self.upload {
            return Ok(upload.clone());
        }
        let (bucket, name) = (self.bucket.clone(), self.name.clone());
        let begin = async move {
            let query = [("uploads", "")];
            let begun = bucket.get("POST", &name, &query, &[], Body::Empty).await?;
            Ok(xml::<Begun>(&begun.1)?.upload_id)
        };
        let beginning = self.beginning.insert(tokio::spawn(begin));
        let begun = beginning.await;
        self.beginning = None;
        Ok(self.upload.insert(begun.map_err(Error::internal)??).clone())
    }

    /// Waits for what was sent, then ends the upload.
    async fn cancel(&mut self) {
        if let Some(beginning) = self.beginning.take()
            && let Ok(Ok(upload)) = beginning.await
        {
            self.upload = Some(upload);
        }
        while self.sending.join_next().await.is_some() {}
        if let Some(upload) = self.upload.take()
            && let Err(e) = self.bucket.cancel(&self.name, &upload).await
        {
            tracing::warn!(file = self.name, "an upload could not be ended yet: {e:?}");
        }
    }

    /// Waits for one part of those under way.
    async fn one(&mut self) -> Result<bool> {
        match self.sending.join_next().await {
            Some(sent) => {
                self.tags.push(sent.map_err(Error::internal)??);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn send(&mut self) -> Result<()> {
        let upload = self.upload().await?;
        if self.begun == PARTS {
            return Err(full().log("an object of S3 has no more parts"));
        }
        let most = (MEMORY / self.chunk).clamp(1, self.bucket.0.parallel);
        while self.sending.len() as u64 >= most {
            self.one().await?;
        }
        self.begun += 1;
        let (number, bucket, name) = (self.begun, self.bucket.clone(), self.name.clone());
        let pieces = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        self.sending.spawn(async move {
            let part = number.to_string();
            let query = [("partNumber", part.as_str()), ("uploadId", &upload)];
            Ok((number, bucket.put(&name, &query, pieces).await?))
        });
        // Of what has no end in sight the parts grow, so that they suffice.
        if !self.known && self.begun.is_multiple_of(PARTS / 10) {
            self.chunk *= 2;
        }
        Ok(())
    }

    async fn complete(&mut self, upload: &str) -> Result<()> {
        self.tags.sort();
        let part = |(number, tag): &(u64, String)| {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let parts: String = self.tags.iter().map(part).collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let query = [("uploadId", upload)];
        let headers = [("content-type", "application/xml")];
        let completed = self
            .bucket
            .get("POST", &self.name, &query, &headers, body.into());
        let (_, said) = completed.await?;
        // An error may come after a 200 was sent.
        match String::from_utf8_lossy(&said).contains("<Error>") {
            true => Err(self.bucket.fault(500, &said)),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        // Parts are exact: some servers want all but the last to be alike.
        while self.bytes + bytes.len() as u64 >= self.chunk {
            let piece = bytes.split_to((self.chunk - self.bytes) as usize);
            self.bytes += piece.len() as u64;
            self.waiting.push(piece);
            self.send().await?;
        }
        if !bytes.is_empty() {
            self.bytes += bytes.len() as u64;
            self.waiting.push(bytes);
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        if self.upload.is_some() && !self.waiting.is_empty() {
            self.send().await?;
        }
        while self.one().await? {}
        Ok(())
    }

    async fn keep(mut self: Box<Self>, _md5: Option<&str>) -> Result<()> {
        // To its end, whoever stops waiting.
        let keep = async move {
            match self.upload.clone() {
                Some(upload) => {
                    self.complete(&upload).await?;
                    self.upload = None;
                }
                None => {
                    let pieces = std::mem::take(&mut self.waiting);
                    self.bucket.put(&self.name, &[], pieces).await?;
                }
            }
            self.bucket.check_size(&self.name, self.size).await
        };
        tokio::spawn(keep).await.map_err(Error::internal)?
    }

    async fn forget(mut self: Box<Self>) {
        self.cancel().await;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let open = self.beginning.is_some() || self.upload.is_some() || !self.sending.is_empty();
        let open = open && !self.ending;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if open {
            let mut left = Arriving {
                bucket: self.bucket.clone(),
                name: std::mem::take(&mut self.name),
                chunk: 0,
                known: false,
                waiting: Vec::new(),
                bytes: 0,
                size: 0,
                beginning: self.beginning.take(),
                upload: self.upload.take(),
                sending: std::mem::take(&mut self.sending),
                begun: 0,
                tags: Vec::new(),
                held: self.held.take(),
                ending: true,
            };
            runtime.spawn(async move { left.cancel().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        assert_eq!(region_of("s3.eu-west-1.amazonaws.com"), "eu-west-1");
        assert_eq!(region_of("s3-eu-west-1.amazonaws.com"), "eu-west-1");
        assert_eq!(region_of("s3.amazonaws.com"), "us-east-1");
        assert_eq!(region_of("storage.example"), "us-east-1");
    }

    #[test]
    fn answers() {
        let page = "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Name>b</Name><IsTruncated>false</IsTruncated><Contents><Key>a</Key><LastModified>2026-11-25T10:00:00.000Z</LastModified><Size>3</Size></Contents><Contents><Key>b</Key><LastModified>2026-11-25T10:00:00.000Z</LastModified></Contents></ListBucketResult>";
        let page: Objects = xml(page.as_bytes()).unwrap();
        assert_eq!(page.contents.len(), 2);
        let none: Uploads = xml(b"<ListMultipartUploadsResult/>").unwrap();
        assert!(none.upload.is_empty() && !none.is_truncated);
        let begun: Begun = xml(b"<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>u1</UploadId></InitiateMultipartUploadResult>").unwrap();
        assert_eq!(begun.upload_id, "u1");
    }
}
