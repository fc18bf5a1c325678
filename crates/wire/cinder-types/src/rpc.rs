//! The RPC contract. Every call names a wanted state by volume id, so it may be repeated after a crash: creating
//! what is there, deleting what is gone and extending what is large enough are successes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A volume that shall exist.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// The volume's id.
    pub id: String,
    /// Its owner.
    pub project_id: String,
    /// Its size in GiB.
    pub size: i64,
    /// The image whose bytes it begins with.
    pub image: Option<ImageRef>,
    /// The snapshot whose bytes it begins with.
    pub snapshot_id: Option<String>,
    /// The volume of the same backend whose bytes it begins with.
    pub source: Option<SourceRef>,
}

/// A volume that is copied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRef {
    /// The volume's id.
    pub id: String,
    /// Whether somebody may be writing to it.
    pub in_use: bool,
}

/// A snapshot that shall exist.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotSpec {
    /// The snapshot's id.
    pub id: String,
    /// What it is of.
    pub volume: SourceRef,
}

/// An image, as far as the agent looks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRef {
    /// The image's id.
    pub id: String,
    /// What its owner says it is: `raw`, `qcow2`, …
    pub disk_format: String,
}

/// What a backend keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noun {
    /// Volumes.
    Volume,
    /// Snapshots.
    Snapshot,
}

/// Something that is on a backend, whether cinder knows it or not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manageable {
    /// The driver's name for it (`source-name`).
    pub name: String,
    /// GiB, rounded up.
    pub size: i64,
    /// What it is named as by cinder's own work.
    pub id: Option<String>,
    /// Why it cannot be managed.
    pub reason: Option<String>,
}

/// What an agent made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeInfo {
    /// The driver's name for it.
    pub provider_id: Option<String>,
    /// Where it is, in the driver's words.
    pub provider_location: Option<String>,
}

/// What a backend says of itself, every few seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendReport {
    /// `host@backend`: the name its agent serves under.
    pub host: String,
    /// The pool inside; volumes live on `host@backend#pool`.
    pub pool: String,
    /// The cluster that its host belongs to; none if empty.
    pub cluster: String,
    /// Where it is.
    pub availability_zone: String,
    /// GiB.
    pub total_capacity_gb: f64,
    /// GiB.
    pub free_capacity_gb: f64,
    /// Per cent that is never given away.
    pub reserved_percentage: i64,
    /// Whether volumes take space only as they are written.
    pub thin: bool,
    /// What else the driver can, for extra specs (`volume_backend_name`, `storage_protocol`, …).
    pub capabilities: Map<String, Value>,
    /// What keeps backups beside it, by upstream's name; nothing if this agent makes none.
    pub backup_service: Option<String>,
    /// The pools inside, of a backend that has several; what is said above of one is then not looked at.
    pub pools: Vec<PoolReport>,
}

/// One of several pools of a backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolReport {
    /// Its name.
    pub name: String,
    /// GiB.
    pub total_capacity_gb: f64,
    /// GiB.
    pub free_capacity_gb: f64,
    /// Per cent that is never given away.
    pub reserved_percentage: i64,
    /// Whether volumes take space only as they are written.
    pub thin: bool,
    /// What it can beyond what the backend can, or differently.
    pub capabilities: Map<String, Value>,
}

impl BackendReport {
    /// One report for each pool.
    pub fn each_pool(self) -> Vec<BackendReport> {
        if self.pools.is_empty() {
            return vec![self];
        }
        let one = |pool: &PoolReport| {
            let mut capabilities = self.capabilities.clone();
            capabilities.extend(pool.capabilities.clone());
            BackendReport {
                host: self.host.clone(),
                pool: pool.name.clone(),
                cluster: self.cluster.clone(),
                availability_zone: self.availability_zone.clone(),
                total_capacity_gb: pool.total_capacity_gb,
                free_capacity_gb: pool.free_capacity_gb,
                reserved_percentage: pool.reserved_percentage,
                thin: pool.thin,
                capabilities,
                backup_service: self.backup_service.clone(),
                pools: Vec::new(),
            }
        };
        self.pools.iter().map(one).collect()
    }
}

oslo_messaging::interface! {
    /// What a volume agent does; addressed by `host@backend`.
    pub trait VolumeApi, client VolumeClient, topic "cinder-volume", exchange "cinder", version "3.19" {
        /// Makes the volume, empty or with the bytes of an image, a snapshot or another volume.
        call fn create_volume(&self, spec: VolumeSpec) -> VolumeInfo;
        /// Removes it.
        call fn delete_volume(&self, volume_id: String);
        /// Grows it to so many GiB.
        call fn extend_volume(&self, volume_id: String, new_size: i64);
        /// Keeps what the volume holds now.
        call fn create_snapshot(&self, spec: SnapshotSpec) -> VolumeInfo;
        /// Removes a snapshot.
        call fn delete_snapshot(&self, snapshot_id: String);
        /// Gives a volume that nobody has the bytes of one of its snapshots again.
        call fn revert_to_snapshot(&self, volume_id: String, snapshot_id: String);
        /// What there is, ours and others'.
        call fn manageable(&self, noun: Noun) -> Vec<Manageable>;
        /// The GiB of something that is not ours yet.
        call fn measure(&self, noun: Noun, reference: Value) -> i64;
        /// Makes it the volume or snapshot of that id.
        call fn manage(&self, noun: Noun, id: String, reference: Value);
        /// Leaves it where it is, but as nobody's.
        call fn unmanage(&self, noun: Noun, id: String);
        /// Gives an image that waits for its data the volume's bytes, as `disk_format`.
        call fn upload_volume(&self, volume: SourceRef, size: i64, image_id: String, disk_format: String);
        /// Says how the host of `connector` reaches it: `{driver_volume_type, data}`. The older way to attach has no
        /// attachment.
        call fn initialize_connection(&self, volume_id: String, attachment_id: Option<String>, connector: Value, read_only: bool) -> Value;
        /// Undoes that.
        call fn terminate_connection(&self, volume_id: String, attachment_id: Option<String>, connector: Value);
    }
}

oslo_messaging::interface! {
    /// What agents tell cinder.
    pub trait SchedulerApi, client SchedulerClient, topic "cinder-scheduler", exchange "cinder", version "3.12" {
        /// A sign of life with capacities.
        call fn report_backend(&self, report: BackendReport);
        /// Which of these volumes of a backend cinder does not know.
        call fn unknown_volumes(&self, host: String, volume_ids: Vec<String>) -> Vec<String>;
        /// Which of these snapshots of a backend cinder does not know.
        call fn unknown_snapshots(&self, host: String, snapshot_ids: Vec<String>) -> Vec<String>;
        /// Which of these attachments, for which a backend serves volumes, cinder does not know.
        call fn unknown_attachments(&self, host: String, attachment_ids: Vec<String>) -> Vec<String>;
        /// There are new flows to run.
        cast fn wake(&self);
    }
}
