//! The file store: a folder with one file per image. A file under its final name is complete and on disk; what is still
//! arriving ends in `.part`.

use super::store::{Incoming, Store, full, missing};
use async_trait::async_trait;
use base::{Error, Result, Timestamp};
use oslo_http::{Body, Bytes};
use serde_json::{Value, json};
use std::io::{ErrorKind, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Clone)]
pub struct Folder {
    folder: PathBuf,
}

fn broken(e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::StorageFull => full().log(e),
        _ => e.into(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

impl Folder {
    pub fn open(folder: &Path) -> Result<Folder> {
        std::fs::create_dir_all(folder)?;
        Ok(Folder {
            folder: folder.to_path_buf(),
        })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.part"))
    }

    /// Makes a complete part the image's file, durably.
    fn keep(&self, name: &str) -> Result<()> {
        std::fs::rename(self.part(name), self.file(name))?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    fn take(&self, source: &Path, name: &str) -> Result<bool> {
        let part = self.part(name);
        match std::fs::remove_file(&part) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        if std::fs::hard_link(source, &part).is_err() {
            return Ok(false);
        }
        self.keep(name).map(|()| true)
    }

    /// Removes a file and its part; missing ones are fine.
    pub fn erase(&self, name: &str) -> Result<()> {
        for path in [self.file(name), self.part(name)] {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The names of all files that begin so, parts without their ending, and when each was last written. Others are not looked at.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
                continue;
            }
            let meta = match entry.metadata() {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if let (true, Ok(name)) = (meta.is_file(), name.into_string()) {
                let name = name.strip_suffix(".part").unwrap_or(&name).to_string();
                let age = meta.modified()?.duration_since(UNIX_EPOCH);
                let age = age.unwrap_or_default();
                found.push((name, Timestamp(age.as_micros() as i64)));
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Store for Folder {
    async fn begin(&self, name: &str, _size: Option<u64>) -> Result<Box<dyn Incoming>> {
        let (pieces, taken) = mpsc::channel(8);
        let path = self.part(name);
        let writer = tokio::task::spawn_blocking(move || write(&path, taken));
        Ok(Box::new(Arriving {
            folder: self.clone(),
            name: name.to_string(),
            waiting: Vec::new(),
            bytes: 0,
            pieces: Some(pieces),
            writer: Some(writer),
        }))
    }

    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Body> {
        let path = self.file(name);
        let open = move || -> std::io::Result<std::fs::File> {
            let mut file = std::fs::File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let file = opened
            .map_err(Error::internal)?
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => missing(name, "controllers must share the folder"),
                _ => e.into(),
            })?;
        let file = tokio::fs::File::from_std(file);
        let reader = tokio::io::AsyncReadExt::take(file, length);
        let pieces = tokio_util::io::ReaderStream::with_capacity(reader, CHUNK);
        Ok(Body::stream(pieces, Some(length)))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let (folder, name) = (self.clone(), name.to_string());
        blocking(move || folder.erase(&name)).await
    }

    async fn names(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>> {
        let (folder, prefix) = (self.clone(), prefix.to_string());
        blocking(move || folder.list(&prefix)).await
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.file(name).display())
    }

    fn properties(&self) -> Value {
        json!({"datadir": self.folder, "chunk_size": CHUNK, "thin_provisioning": false})
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.file(name))
    }

    /// Folders on one disk share files; copies are then names, not bytes.
    async fn link(&self, source: PathBuf, name: &str) -> Result<bool> {
        let (folder, name) = (self.clone(), name.to_string());
        blocking(move || folder.take(&source, &name)).await
    }
}

enum Piece {
    Data(Vec<Bytes>),
    End,
}

/// So much is handed to the writing thread at once.
const BATCH: usize = 1024 * 1024;

struct Arriving {
    folder: Folder,
    name: String,
    waiting: Vec<Bytes>,
    bytes: usize,
    pieces: Option<mpsc::Sender<Piece>>,
    writer: Option<JoinHandle<Result<()>>>,
}

impl Arriving {
    /// What the writer says, which has ended.
    async fn ended(&mut self) -> Result<()> {
        self.pieces = None;
        match self.writer.take() {
            Some(writer) => writer.await.map_err(Error::internal)?,
            None => Err(Error::internal("a file's writer has ended before")),
        }
    }

    async fn hand_over(&mut self, piece: Piece) -> Result<()> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        match sent {
            true => Ok(()),
            false => self.ended().await,
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        match std::mem::take(&mut self.waiting) {
            nothing if nothing.is_empty() => Ok(()),
            waiting => self.hand_over(Piece::Data(waiting)).await,
        }
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len();
        self.waiting.push(bytes);
        match self.bytes < BATCH {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn end(&mut self) -> Result<()> {
        self.flush().await?;
        self.hand_over(Piece::End).await?;
        self.ended().await
    }

    async fn keep(self: Box<Self>, _md5: Option<&str>) -> Result<()> {
        if self.writer.is_some() {
            return Err(Error::internal("a file is kept before its end"));
        }
        let (folder, name) = (self.folder.clone(), self.name.clone());
        blocking(move || folder.keep(&name)).await
    }

    async fn forget(mut self: Box<Self>) {
        // The writer removes its part; what it says of that is no news.
        let _ = self.ended().await;
    }
}

/// Runs on a thread of its own. Without a [`Piece::End`] the sender is gone, and so is the part.
fn write(path: &Path, mut pieces: mpsc::Receiver<Piece>) -> Result<()> {
    let mut file = std::fs::File::create(path).map_err(broken)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(bytes)) => write_all(&mut file, &bytes).map_err(broken)?,
            Some(Piece::End) => break,
            None => {
                drop(file);
                std::fs::remove_file(path)?;
                return Err(Error::bad_request("The upload broke off before its end."));
            }
        }
    }
    file.sync_all().map_err(broken)
}

fn write_all(file: &mut std::fs::File, pieces: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|b| IoSlice::new(b)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
