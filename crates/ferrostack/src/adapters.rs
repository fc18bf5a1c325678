//! Small bridges between crates that may not know each other.

use async_trait::async_trait;
use base::Result;
use glance::inspect::{Converter, ImageConverter, ImageInspector, Inspectors, Verdict};
use host_imagefmt::{Format, Inspector, convert_within};
use host_privsep::Privsep;
use sdk::{Caller, Sdk};
use std::path::Path;
use std::sync::Arc;

struct Judge(Inspector);

impl ImageInspector for Judge {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn finish(self: Box<Self>, disk_format: &str, container_format: &str) -> Verdict {
        let judged = self.0.finish().against(disk_format, container_format);
        Verdict {
            format: judged.found,
            agrees: judged.agrees,
            virtual_size: judged.virtual_size,
            problems: judged.problems,
        }
    }
}

/// glance's view of `host/imagefmt`.
pub fn inspectors() -> Inspectors {
    Arc::new(|| Box::new(Judge(Inspector::new())))
}

struct QemuImg(Privsep);

#[async_trait]
impl ImageConverter for QemuImg {
    async fn convert(
        &self,
        source: &Path,
        target: &Path,
        from: &str,
        to: &str,
        largest: u64,
    ) -> Result<()> {
        let (from, to) = (Format::parse(from)?, Format::parse(to)?);
        convert_within(&self.0, source, target, from, to, largest).await
    }
}

/// What converts glance's imports.
pub fn converter() -> Converter {
    Arc::new(QemuImg(Privsep::new()))
}

/// Images for hosts, by way of glance.
pub struct Images(pub Sdk);

#[async_trait]
impl nova_compute::ImageSource for Images {
    async fn download(&self, image_id: &str, path: &Path) -> Result<()> {
        let file = tokio::fs::File::create(path).await?;
        let glance = self.0.glance();
        glance.download_to(Caller::Service, image_id, file).await
    }
}
