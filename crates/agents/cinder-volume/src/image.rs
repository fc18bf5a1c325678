//! Where images come from.

use async_trait::async_trait;
use base::Result;
use oslo_http::{Body, Bytes};
use sdk::{Caller, Sdk};
use tokio::io::AsyncReadExt;

const PIECE: usize = 1 << 20;

/// Gives the bytes of images, and takes them.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Writes an image's bytes into a file.
    async fn copy(&self, image_id: &str, file: tokio::fs::File) -> Result<()>;

    /// Gives an image that waits for its data all that is in a file.
    async fn send(&self, image_id: &str, file: tokio::fs::File) -> Result<()>;
}

/// From glance, in the service's own name.
#[async_trait]
impl ImageSource for Sdk {
    async fn copy(&self, image_id: &str, file: tokio::fs::File) -> Result<()> {
        let glance = self.glance();
        glance.download_to(Caller::Service, image_id, file).await
    }

    async fn send(&self, image_id: &str, file: tokio::fs::File) -> Result<()> {
        let length = file.metadata().await?.len();
        let pieces = futures::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let n = file.read(&mut piece).await?;
            piece.truncate(n);
            Ok((n > 0).then(|| (Bytes::from(piece), file)))
        });
        let body = Body::stream(pieces, Some(length));
        self.glance().upload(Caller::Service, image_id, body).await
    }
}
