//! What cinder and its volume agents say to each other.

mod rpc;

pub use rpc::{
    BackendReport, ImageRef, Manageable, Noun, PoolReport, SchedulerApi, SchedulerClient,
    SnapshotSpec, SourceRef, VolumeApi, VolumeClient, VolumeInfo, VolumeSpec,
};
