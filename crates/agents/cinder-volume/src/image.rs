//! Where images come from.

use async_trait::async_trait;
use base::{Error, Result};
use futures::StreamExt;
use sdk::{Caller, Sdk};
use tokio::io::AsyncWriteExt;

/// Gives the bytes of images.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Writes an image's bytes into a file.
    async fn copy(&self, image_id: &str, file: tokio::fs::File) -> Result<()>;
}

/// From glance, in the service's own name.
#[async_trait]
impl ImageSource for Sdk {
    async fn copy(&self, image_id: &str, mut file: tokio::fs::File) -> Result<()> {
        let path = format!("/v2/images/{}/file", oslo_http::percent_encode(image_id));
        let (headers, body) = self.stream(Caller::Service, "image", &path).await?;
        let promised = headers
            .get("content-length")
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut stream = body.into_stream();
        let mut copied = 0u64;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| {
                Error::unavailable("The image could not be read to its end.").log(e)
            })?;
            copied += piece.len() as u64;
            file.write_all(&piece).await?;
        }
        if promised.is_some_and(|p| p != copied) {
            return Err(Error::unavailable(
                "The image could not be read to its end.",
            ));
        }
        file.flush().await?;
        Ok(())
    }
}
