//! Takes every guest of this host off it, and the daemons with them; disks stay.

use crate::config::ComputeConf;
use crate::driver::VirtDriver;
use crate::{ImageSource, LibvirtDriver};
use async_trait::async_trait;
use base::{Error, Result};
use host_privsep::Privsep;
use std::path::Path;
use std::sync::Arc;

struct NoImages;

#[async_trait]
impl ImageSource for NoImages {
    async fn download(&self, _: &str, _: &Path) -> Result<()> {
        Err(Error::unavailable("The cloud is being taken down."))
    }
}

/// Destroys the guests that a cloud of this configuration left running, removes their taps and ends its libvirtd.
pub async fn teardown(conf: &ComputeConf) -> Result<()> {
    if conf.compute_driver == "fake.FakeDriver" || !conf.libvirt_path.join("run").exists() {
        return Ok(());
    }
    let driver = LibvirtDriver::start(conf, Privsep::new(), Arc::new(NoImages)).await?;
    for (uuid, _) in driver.list().await? {
        driver.destroy(&uuid, false).await?;
    }
    driver.hypervisor().daemon().stop().await;
    Ok(())
}

/// Whether this host's KVM runs a guest at full speed.
pub async fn kvm_usable() -> bool {
    tokio::task::spawn_blocking(|| host_libvirt::probe_kvm().is_ok())
        .await
        .unwrap_or(false)
}
