//! The seams through which the binary lends us its reader of disk images, and what converts them: services do not touch
//! the host.

use async_trait::async_trait;
use base::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Looks at an image while it streams by.
pub trait ImageInspector: Send + 'static {
    /// The next bytes.
    fn feed(&mut self, bytes: &[u8]);
    /// The judgement on content whose owner calls it a disk of this format in a container of that.
    fn finish(self: Box<Self>, disk_format: &str, container_format: &str) -> Verdict;
}

/// What the bytes turned out to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// `qcow2`; of what is in a container, the container.
    pub format: String,
    /// Whether that is what the owner said.
    pub agrees: bool,
    /// The disk's size as a guest sees it, bytes.
    pub virtual_size: Option<u64>,
    /// Why nobody should open it; empty if all is well.
    pub problems: Vec<String>,
}

/// Makes an inspector for each upload.
pub type Inspectors = Arc<dyn Fn() -> Box<dyn ImageInspector> + Send + Sync>;

/// Makes a disk image of one format into another one's.
#[async_trait]
pub trait ImageConverter: Send + Sync {
    /// `from` is what an inspector found, and found harmless. At most `largest` bytes are written to `target`, which may
    /// be there already.
    async fn convert(
        &self,
        source: &Path,
        target: &Path,
        from: &str,
        to: &str,
        largest: u64,
    ) -> Result<()>;
}

/// What converts images.
pub type Converter = Arc<dyn ImageConverter>;
