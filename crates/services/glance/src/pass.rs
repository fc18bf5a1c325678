//! One pass over an image's bytes: two hashes and the inspector, each on a thread of its own, while a store takes them.

use crate::inspect::{ImageInspector, Verdict};
use crate::signature::HashMethod;
use crate::upload::{Facts, hex};
use base::{Error, Result};
use md5::Md5;
use oslo_http::Bytes;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// So much is handed to the threads at once: waking them costs more than looking at a small piece.
const BATCH: usize = 1024 * 1024;

type Batch = Arc<Vec<Bytes>>;

struct Worker<T> {
    batches: mpsc::Sender<Batch>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(work: impl FnOnce(mpsc::Receiver<Batch>) -> T + Send + 'static) -> Worker<T> {
        let (batches, taken) = mpsc::channel(8);
        Worker {
            batches,
            thread: tokio::task::spawn_blocking(move || work(taken)),
        }
    }

    async fn take(&self, batch: &Batch) -> Result<()> {
        let ended = |_| Error::internal("a thread of an upload ended early");
        self.batches.send(Arc::clone(batch)).await.map_err(ended)
    }

    async fn finish(self) -> Result<T> {
        drop(self.batches);
        self.thread.await.map_err(Error::internal)
    }
}

fn hash<D: Digest>(mut batches: mpsc::Receiver<Batch>) -> String {
    let mut hash = D::new();
    while let Some(batch) = batches.blocking_recv() {
        batch.iter().for_each(|bytes| hash.update(bytes));
    }
    hex(&hash.finalize())
}

pub struct Pass {
    md5: Worker<String>,
    sha512: Worker<String>,
    signed: Option<Worker<String>>,
    inspector: Worker<Verdict>,
    waiting: Vec<Bytes>,
    bytes: usize,
    size: u64,
}

impl Pass {
    /// The formats of disk and container are what the bytes are said to have; if they are said to be signed, then by such a hash.
    pub fn begin(
        mut inspector: Box<dyn ImageInspector>,
        disk: String,
        container: String,
        signed: Option<HashMethod>,
    ) -> Pass {
        let inspect = move |mut batches: mpsc::Receiver<Batch>| {
            while let Some(batch) = batches.blocking_recv() {
                batch.iter().for_each(|bytes| inspector.feed(bytes));
            }
            inspector.finish(&disk, &container)
        };
        Pass {
            md5: Worker::start(hash::<Md5>),
            sha512: Worker::start(hash::<Sha512>),
            signed: signed.map(|method| match method {
                HashMethod::Sha224 => Worker::start(hash::<Sha224>),
                HashMethod::Sha256 => Worker::start(hash::<Sha256>),
                HashMethod::Sha384 => Worker::start(hash::<Sha384>),
                HashMethod::Sha512 => Worker::start(hash::<Sha512>),
            }),
            inspector: Worker::start(inspect),
            waiting: Vec::new(),
            bytes: 0,
            size: 0,
        }
    }

    pub async fn feed(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len();
        self.size += bytes.len() as u64;
        self.waiting.push(bytes);
        match self.bytes < BATCH {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let batch = Arc::new(std::mem::take(&mut self.waiting));
        self.md5.take(&batch).await?;
        self.sha512.take(&batch).await?;
        if let Some(signed) = &self.signed {
            signed.take(&batch).await?;
        }
        self.inspector.take(&batch).await
    }

    pub async fn finish(mut self) -> Result<Facts> {
        self.flush().await?;
        let signed = match self.signed.take() {
            Some(signed) => Some(signed.finish().await?),
            None => None,
        };
        Ok(Facts {
            signed,
            size: self.size,
            checksum: self.md5.finish().await?,
            algo: "sha512".to_string(),
            hash: self.sha512.finish().await?,
            verdict: Some(self.inspector.finish().await?),
        })
    }
}
