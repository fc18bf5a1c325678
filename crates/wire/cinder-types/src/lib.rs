//! What cinder and its volume agents say to each other.

mod backup;
mod rpc;

pub use backup::{BackupApi, BackupClient, BackupInfo, BackupRef, BackupSpec};
pub use rpc::{
    BackendReport, ImageRef, Manageable, Noun, PoolReport, SchedulerApi, SchedulerClient,
    SnapshotSpec, SourceRef, VolumeApi, VolumeClient, VolumeInfo, VolumeSpec,
};
