//! The file store: a folder with one file per image. A file under its final name is complete and on disk; what is still
//! arriving ends in `.part`.

use base::{Error, Result};
use oslo_http::Bytes;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn open(folder: &Path) -> Result<Store> {
        std::fs::create_dir_all(folder)?;
        Ok(Store {
            folder: folder.to_path_buf(),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.part"))
    }

    /// Makes a complete part the image's file, durably.
    pub fn keep(&self, name: &str) -> Result<()> {
        std::fs::rename(self.part(name), self.path(name))?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// Makes a copy of `source` the file of this name, durably. Where the folders share a disk nothing is copied.
    pub fn take(&self, source: &Path, name: &str) -> Result<()> {
        let part = self.part(name);
        match std::fs::remove_file(&part) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        if std::fs::hard_link(source, &part).is_err() {
            std::fs::copy(source, &part).map_err(|e| match e.kind() {
                ErrorKind::StorageFull => {
                    Error::new(base::Kind::TooLarge, "Image storage media is full.").log(e)
                }
                _ => e.into(),
            })?;
            std::fs::File::open(&part)?.sync_all()?;
        }
        self.keep(name)
    }

    /// Removes a file and its part; missing ones are fine.
    pub fn remove(&self, name: &str) -> Result<()> {
        for path in [self.path(name), self.part(name)] {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The names of all files, parts without their ending, and when each was last written.
    pub fn names(&self) -> Result<Vec<(String, std::time::SystemTime)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                let name = name.strip_suffix(".part").unwrap_or(&name).to_string();
                found.push((name, meta.modified()?));
            }
        }
        Ok(found)
    }

    /// Bytes `from .. from + length` of a file, piece by piece.
    pub async fn read(
        &self,
        name: &str,
        from: u64,
        length: u64,
    ) -> Result<impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static> {
        let path = self.path(name);
        let open = move || -> std::io::Result<std::fs::File> {
            let mut file = std::fs::File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let file = opened
            .map_err(Error::internal)?
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => {
                    tracing::error!(
                        file = name,
                        "an image's file is not in this store: controllers must share the folder"
                    );
                    Error::unavailable("The image's data cannot be reached from this controller.")
                }
                _ => e.into(),
            })?;
        let file = tokio::fs::File::from_std(file);
        let reader = tokio::io::AsyncReadExt::take(file, length);
        Ok(tokio_util::io::ReaderStream::with_capacity(
            reader,
            256 * 1024,
        ))
    }
}
