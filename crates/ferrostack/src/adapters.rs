//! Small bridges between crates that may not know each other.

use async_trait::async_trait;
use base::{Error, Result};
use futures::StreamExt;
use glance::inspect::{ImageInspector, Inspectors, Verdict};
use host_imagefmt::Inspector;
use sdk::{Caller, Sdk};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

struct Judge(Inspector);

impl ImageInspector for Judge {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn finish(self: Box<Self>, disk_format: &str) -> Verdict {
        let found = self.0.finish();
        Verdict {
            format: found.format.to_string(),
            agrees: found.format.agrees_with(disk_format),
            virtual_size: Some(found.virtual_size),
            problems: found.safety.err().unwrap_or_default(),
        }
    }
}

/// glance's view of `host/imagefmt`.
pub fn inspectors() -> Inspectors {
    Arc::new(|| Box::new(Judge(Inspector::new())))
}

/// Images for hosts, by way of glance.
pub struct Images(pub Sdk);

impl Images {
    async fn fetch(&self, image_id: &str, mut file: tokio::fs::File) -> Result<()> {
        let request = format!("/v2/images/{}/file", oslo_http::percent_encode(image_id));
        let (_, body) = self.0.stream(Caller::Service, "image", &request).await?;
        let mut pieces = body.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| {
                Error::unavailable(format!("The image {image_id} broke off.")).log(e)
            })?;
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        Ok(())
    }
}

#[async_trait]
impl nova_compute::ImageSource for Images {
    async fn download(&self, image_id: &str, path: &Path) -> Result<()> {
        self.fetch(image_id, tokio::fs::File::create(path).await?)
            .await
    }
}
