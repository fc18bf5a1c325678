//! What cinder and its volume agents say to each other.

mod rpc;

pub use rpc::{
    BackendReport, ImageRef, SchedulerApi, SchedulerClient, VolumeApi, VolumeClient, VolumeInfo,
    VolumeSpec,
};
