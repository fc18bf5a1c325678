//! Where images come from.

use async_trait::async_trait;
use base::Result;
use sdk::{Caller, Sdk};

/// Gives the bytes of images.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Writes an image's bytes into a file.
    async fn copy(&self, image_id: &str, file: tokio::fs::File) -> Result<()>;
}

/// From glance, in the service's own name.
#[async_trait]
impl ImageSource for Sdk {
    async fn copy(&self, image_id: &str, file: tokio::fs::File) -> Result<()> {
        let glance = self.glance();
        glance.download_to(Caller::Service, image_id, file).await
    }
}
