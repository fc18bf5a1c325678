//! What a store can do. Names are ours (`<image>.<upload>`), bytes are an image's.

use async_trait::async_trait;
use base::{Error, Kind, Result, Timestamp};
use futures::StreamExt;
use oslo_http::{Body, Bytes};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

base::str_enum! {
    /// Types of stores, as operators name them.
    pub enum StoreType {
        /// A folder.
        File = "file",
        /// Addresses that images name; nothing is ever written.
        Http = "http",
        /// A bucket of a server that speaks S3.
        S3 = "s3",
        /// A container of an object store.
        Swift = "swift",
    }
}

/// Where bytes are kept. What has been kept under a name is complete and durable, and never changes.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes what arrives under a name. `size`, where known, helps to choose how.
    async fn begin(&self, name: &str, size: Option<u64>) -> Result<Box<dyn Incoming>>;

    /// Bytes `from .. from + length`, piece by piece.
    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Body>;

    /// Removes what is kept under a name, and what of it is half there. Nothing there is fine.
    async fn remove(&self, name: &str) -> Result<()>;

    /// The names that begin so, of all that is kept or half there, and when each was last written.
    async fn names(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>>;

    /// Where it is, for services; without secrets.
    fn url(&self, name: &str) -> String;

    /// What administrators are told of the store.
    fn properties(&self) -> Value;

    /// Its path, where it is a file of this machine.
    fn path(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    /// Keeps a file of this machine under a name without copying it; false if that cannot be.
    async fn link(&self, _source: PathBuf, _name: &str) -> Result<bool> {
        Ok(false)
    }
}

/// Bytes on their way into a store. Nobody sees them under their name before they are kept. Dropped, they leave nothing
/// but what [`Store::remove`] finds.
#[async_trait]
pub trait Incoming: Send {
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// There is no more; what has come is as durable as it can be without being kept.
    async fn end(&mut self) -> Result<()>;

    /// Makes it what the name means. `md5`, where known, is what the bytes must have.
    async fn keep(self: Box<Self>, md5: Option<&str>) -> Result<()>;

    /// Ends without keeping anything: when this returns, nothing more arrives.
    async fn forget(self: Box<Self>);
}

/// Names under which something arrives in this process. What is removed waits until all that was sent has an answer: a
/// request that nobody waits for any more may still do what it says.
#[derive(Default)]
pub struct UnderWay(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl UnderWay {
    /// Waits for a name, and has it until the guard is dropped.
    pub async fn hold(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.retain(|_, lock| lock.strong_count() > 0);
            let known = names.get(name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                names.insert(name.to_string(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

/// Copies what is kept under a name in one store into another one, under the same name.
pub async fn copy(
    from: &dyn Store,
    source: &str,
    to: &dyn Store,
    name: &str,
    size: u64,
    md5: Option<&str>,
) -> Result<()> {
    if let Some(path) = from.path(source)
        && tokio::fs::metadata(&path)
            .await
            .is_ok_and(|file| file.len() == size)
        && to.link(path, name).await?
    {
        return Ok(());
    }
    let body = from.read(source, 0, size).await?;
    let mut incoming = to.begin(name, Some(size)).await?;
    match pump(body, &mut *incoming, size).await {
        Ok(()) => incoming.keep(md5).await,
        Err(e) => {
            incoming.forget().await;
            Err(e)
        }
    }
}

/// Brings exactly `size` bytes in.
pub async fn pump(body: Body, incoming: &mut dyn Incoming, size: u64) -> Result<()> {
    let mut pieces = body.into_stream();
    let mut copied = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| broke_off().log(e))?;
        copied += piece.len() as u64;
        incoming.write(piece).await?;
    }
    if copied != size {
        return Err(broke_off().log(format!("{copied} of {size} bytes")));
    }
    incoming.end().await
}

fn broke_off() -> Error {
    Error::unavailable("The image's data broke off.")
}

pub fn full() -> Error {
    Error::new(Kind::TooLarge, "Image storage media is full.")
}

/// The data of an image that should be there and is not.
pub fn missing(name: &str, why: &str) -> Error {
    tracing::error!(file = name, "an image's data is not in this store: {why}");
    Error::unavailable("The image's data cannot be reached from this controller.")
}
