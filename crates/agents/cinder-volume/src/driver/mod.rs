//! What keeps volumes. Every verb may be repeated.

mod copy;
mod fake;
mod file;
mod manage;

pub use fake::FakeDriver;
pub use file::FileDriver;

use crate::image::ImageSource;
use async_trait::async_trait;
use base::Result;
use cinder_types::{ImageRef, Manageable, Noun, SourceRef, VolumeInfo};
use serde_json::Value;

/// GiB, in bytes.
pub const GIB: u64 = 1 << 30;

/// How much there is, in GiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// All.
    pub total: f64,
    /// What is left.
    pub free: f64,
}

/// A backend's driver.
#[async_trait]
pub trait VolumeDriver: Send + Sync + 'static {
    /// What it calls its way of storage (`storage_protocol`).
    fn protocol(&self) -> &'static str;
    /// Makes an empty volume of so many GiB; success if it is there.
    async fn create(&self, id: &str, size: i64) -> Result<VolumeInfo>;
    /// Makes a volume with an image's bytes; success if it is there.
    async fn create_from_image(
        &self,
        id: &str,
        size: i64,
        image: &ImageRef,
        source: &dyn ImageSource,
    ) -> Result<VolumeInfo>;
    /// Makes a volume, at least as large, with a snapshot's bytes; success if it is there.
    async fn create_from_snapshot(
        &self,
        id: &str,
        size: i64,
        snapshot_id: &str,
    ) -> Result<VolumeInfo>;
    /// Makes a volume, at least as large, with another one's bytes as they are at one moment; success if it is there.
    async fn create_from_volume(
        &self,
        id: &str,
        size: i64,
        source: &SourceRef,
    ) -> Result<VolumeInfo>;
    /// Keeps a volume's bytes as they are at one moment; success if it is there. A driver that cannot do that while
    /// the volume is written to refuses, saying why.
    async fn create_snapshot(&self, id: &str, volume: &SourceRef) -> Result<VolumeInfo>;
    /// Removes a snapshot; success if it is gone. Volumes made of it stay whole.
    async fn delete_snapshot(&self, id: &str) -> Result<()>;
    /// Gives a volume that nobody has open the bytes of a snapshot, and its length.
    async fn revert_to_snapshot(&self, volume_id: &str, snapshot_id: &str) -> Result<()>;
    /// Removes a volume; success if it is gone.
    async fn delete(&self, id: &str) -> Result<()>;
    /// Grows it; success if it is large enough.
    async fn extend(&self, id: &str, size: i64) -> Result<()>;
    /// What there is, ours and others'.
    async fn manageable(&self, noun: Noun) -> Result<Vec<Manageable>>;
    /// The GiB of what a reference (`{"source-name": …}`) names, if it can be managed.
    async fn measure(&self, noun: Noun, reference: &Value) -> Result<i64>;
    /// Makes what a reference names ours; success if it is.
    async fn manage(&self, noun: Noun, id: &str, reference: &Value) -> Result<()>;
    /// Makes it nobody's, under a name that is not ours; success if it is gone.
    async fn unmanage(&self, noun: Noun, id: &str) -> Result<()>;
    /// `{driver_volume_type, data}`.
    async fn connection(&self, id: &str, read_only: bool) -> Result<Value>;
    /// How much there is.
    async fn capacity(&self) -> Result<Capacity>;
    /// The ids of all volumes that are here.
    async fn list(&self) -> Result<Vec<String>>;
    /// The ids of all snapshots that are here.
    async fn list_snapshots(&self) -> Result<Vec<String>>;
    /// Removes what half-done work left behind; called before the first request.
    async fn clean(&self) -> Result<()>;
}
