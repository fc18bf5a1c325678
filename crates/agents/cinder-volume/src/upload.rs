//! A volume's bytes on their way to an image. They are raw whatever header a guest wrote into them: nothing here looks at
//! what they seem to be, and `qemu-img` is told (OSSA-2026-002).

use crate::driver::{GIB, VolumeDriver};
use crate::image::ImageSource;
use base::{Error, Result, id::named_id};
use cinder_types::SourceRef;
use host_imagefmt::Format;
use host_privsep::Privsep;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::fs::{File, OpenOptions};

/// What an upload needs.
pub struct Upload<'a> {
    pub driver: &'a dyn VolumeDriver,
    pub privsep: &'a Privsep,
    pub images: &'a dyn ImageSource,
}

impl Upload<'_> {
    /// Sends a volume as `disk_format`. What somebody writes to is copied first.
    pub async fn run(
        &self,
        volume: &SourceRef,
        size: i64,
        image_id: &str,
        disk_format: &str,
    ) -> Result<()> {
        let wrong = |_| Error::bad_request(format!("A volume cannot become {disk_format}."));
        let format = Format::parse(disk_format).map_err(wrong)?;
        if !volume.in_use {
            return self.send(&volume.id, image_id, format).await;
        }
        let copy = named_id(&format!("cinder upload copy {image_id}"));
        // What an earlier try left may be half a copy.
        self.driver.delete(&copy).await?;
        let sent = match self.driver.create_from_volume(&copy, size, volume).await {
            Ok(_) => self.send(&copy, image_id, format).await,
            Err(error) => Err(error),
        };
        self.driver.delete(&copy).await?;
        sent
    }

    async fn path_of(&self, volume_id: &str) -> Result<PathBuf> {
        let connection = self.driver.connection(volume_id, true).await?;
        let path = connection["data"]["path"].as_str().map(PathBuf::from);
        let path = path.filter(|_| self.driver.protocol() == "local");
        path.ok_or_else(|| Error::conflict("The volume's driver has no bytes to read."))
    }

    async fn send(&self, volume_id: &str, image_id: &str, format: Format) -> Result<()> {
        let path = self.path_of(volume_id).await?;
        if format == Format::Raw {
            return self.images.send(image_id, File::open(path).await?).await;
        }
        // Named like a volume in the making, so that the next start removes what a crash leaves.
        let made = path.with_file_name(format!("volume-{image_id}.partial"));
        let sent = self.convert(&path, &made, image_id, format).await;
        match tokio::fs::remove_file(&made).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => sent,
        }
    }

    async fn convert(&self, from: &Path, to: &Path, image_id: &str, format: Format) -> Result<()> {
        let length = tokio::fs::metadata(from).await?.len();
        // Made first, so that the bytes are never readable by others.
        let mut private = OpenOptions::new();
        private.write(true).create(true).truncate(true).mode(0o600);
        drop(private.open(to).await?);
        let largest = length + length / 8 + GIB;
        let privsep = self.privsep;
        host_imagefmt::convert_within(privsep, from, to, Format::Raw, format, largest).await?;
        self.images.send(image_id, File::open(to).await?).await
    }
}
