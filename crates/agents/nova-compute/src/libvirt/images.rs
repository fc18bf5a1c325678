//! Base images: each is downloaded once, judged by its bytes, and never written again (mode 0444; a guest's disk
//! is an overlay).

use crate::ImageSource;
use crate::config::ComputeConf;
use crate::locks::Locks;
use base::{Error, Result};
use host_imagefmt::{Format, convert, inspect_file};
use host_privsep::Privsep;
use nova_types::rpc::ImageSpec;
use sha2::{Digest, Sha512};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::fs;

/// Images of this host.
pub(super) struct ImageCache {
    folder: PathBuf,
    force_raw: bool,
    keep: Duration,
    privsep: Privsep,
    source: Arc<dyn ImageSource>,
    locks: Locks,
}

/// A base image.
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) virtual_size: u64,
}

impl ImageCache {
    pub(super) fn new(
        conf: &ComputeConf,
        privsep: Privsep,
        source: Arc<dyn ImageSource>,
    ) -> Result<ImageCache> {
        let folder = conf.instances_path.join("_base");
        std::fs::create_dir_all(&folder)?;
        Ok(ImageCache {
            folder,
            force_raw: conf.force_raw_images,
            keep: Duration::from_secs(conf.remove_unused_original_minimum_age_seconds),
            privsep,
            source,
            locks: Locks::default(),
        })
    }

    /// The image, downloaded if it is not here yet.
    /// `room` is the size of the disk that it shall fit into, if there is one: a larger image is refused before it is
    /// written out.
    pub(super) async fn get(&self, image: &ImageSpec, room: Option<u64>) -> Result<Base> {
        if image.id.is_empty() || image.id.contains(['/', '.']) {
            return Err(Error::bad_request(format!("'{}' is no image id", image.id)));
        }
        let _turn = self.locks.hold(&image.id).await;
        let path = self.folder.join(&image.id);
        if !path.exists() {
            self.fetch(image, &path, room).await?;
        }
        // Its age counts from the last use.
        let now = std::fs::File::open(&path).and_then(|f| f.set_modified(SystemTime::now()));
        if let Err(e) = now {
            tracing::warn!(image.id = image.id, "cannot touch the base image: {e}");
        }
        // Judged again at each use: the file could have been changed behind our back.
        let seen = inspect_file(&path).await?;
        seen.require_safe()?;
        let format = if seen.format == Format::Qcow2 {
            Format::Qcow2
        } else {
            Format::Raw
        };
        Ok(Base {
            path,
            format,
            virtual_size: seen.virtual_size,
        })
    }

    async fn fetch(&self, image: &ImageSpec, path: &Path, room: Option<u64>) -> Result<()> {
        let (part, converted) = (
            self.folder.join(format!("{}.part", image.id)),
            self.folder.join(format!("{}.converted", image.id)),
        );
        for left in [&part, &converted] {
            let _ = fs::remove_file(left).await;
        }
        let outcome = self.fetch_into(image, &part, &converted, path, room).await;
        for left in [&part, &converted] {
            let _ = fs::remove_file(left).await;
        }
        outcome
    }

    async fn fetch_into(
        &self,
        image: &ImageSpec,
        part: &Path,
        converted: &Path,
        path: &Path,
        room: Option<u64>,
    ) -> Result<()> {
        self.source.download(&image.id, part).await?;
        if let Some(wanted) = image.sha512.clone() {
            let file = part.to_path_buf();
            let found = tokio::task::spawn_blocking(move || sha512(&file))
                .await
                .map_err(Error::internal)??;
            if !found.eq_ignore_ascii_case(&wanted) {
                return Err(Error::internal(format!(
                    "image {}: the checksum is wrong",
                    image.id
                )));
            }
        }
        let seen = inspect_file(part).await?;
        seen.require_safe()?;
        if !seen.format.agrees_with(&image.disk_format) {
            let words = format!(
                "Image {} is unacceptable: Image content does not match disk_format {} (it is {})",
                image.id, image.disk_format, seen.format
            );
            return Err(Error::bad_request(words).class("ImageUnacceptable"));
        }
        fits(seen.virtual_size, room)?;
        let raw = matches!(seen.format, Format::Raw | Format::Gpt | Format::Iso);
        let ready = match (raw, seen.format, self.force_raw) {
            (true, ..) | (_, Format::Qcow2, false) => part,
            _ => {
                convert(&self.privsep, part, converted, seen.format, Format::Raw).await?;
                converted
            }
        };
        fs::set_permissions(ready, PermissionsExt::from_mode(0o444)).await?;
        fs::rename(ready, path).await?;
        tracing::info!(
            image.id = image.id,
            format = seen.format.as_str(),
            "image is in the cache"
        );
        Ok(())
    }

    /// Removes what no instance uses and nobody asked for in a while.
    pub(super) async fn remove_unused(&self, used: &BTreeSet<String>) -> Result<()> {
        if self.keep.is_zero() {
            return Ok(());
        }
        let mut entries = fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let age = entry
                .metadata()
                .await?
                .modified()?
                .elapsed()
                .unwrap_or_default();
            if used.contains(&name) || age < self.keep || self.locks.busy(&name) {
                continue;
            }
            tracing::info!(image.id = name, "removed an image that nobody uses");
            fs::remove_file(entry.path()).await?;
        }
        Ok(())
    }
}

/// Refuses an image that is larger than the disk it is for.
pub(super) fn fits(virtual_size: u64, room: Option<u64>) -> Result<()> {
    let Some(room) = room.filter(|room| *room < virtual_size) else {
        return Ok(());
    };
    let words = format!(
        "Flavor's disk is too small for requested image. Flavor disk is {room} bytes, image is {virtual_size} bytes."
    );
    Err(Error::bad_request(words).class("FlavorDiskSmallerThanImage"))
}

fn sha512(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    /// A glance whose only image is sparse and huge.
    struct Huge(Privsep);

    #[async_trait]
    impl ImageSource for Huge {
        async fn download(&self, _: &str, path: &Path) -> Result<()> {
            host_imagefmt::create(&self.0, path, Format::Qcow2, 2 << 40, None).await
        }
    }

    #[tokio::test]
    async fn an_image_too_large_for_its_disk_is_refused_before_it_is_written_out() {
        let privsep = Privsep::new();
        if !privsep.has(host_privsep::Program::QemuImg) {
            println!("skipped: needs qemu-img");
            return;
        }
        let name = format!("nova-compute-images-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let conf = ComputeConf {
            instances_path: folder.clone(),
            ..ComputeConf::default()
        };
        // The recorder does nothing: a conversion would show in what it heard.
        let (recorder, heard) = Privsep::recorder();
        let source = Arc::new(Huge(privsep));
        let cache = ImageCache::new(&conf, recorder, source).unwrap();
        let image = ImageSpec {
            id: "image-1".into(),
            disk_format: "qcow2".into(),
            ..ImageSpec::default()
        };
        let refused = cache.get(&image, Some(1 << 30)).await.err().unwrap();
        assert_eq!(refused.error_class(), Some("FlavorDiskSmallerThanImage"));
        assert!(heard.calls().is_empty());
        let left = std::fs::read_dir(folder.join("_base")).unwrap().count();
        assert_eq!(left, 0, "nothing stays in the cache");
        // Where the disk is large enough, the conversion is what comes next.
        let _ = cache.get(&image, Some(4 << 40)).await;
        assert_eq!(heard.calls().len(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
