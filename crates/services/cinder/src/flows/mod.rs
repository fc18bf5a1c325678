//! Durable work on volumes and snapshots.

mod create_snapshot;
mod create_volume;
mod delete_snapshot;
mod delete_volume;
mod extend_volume;
mod manage;
mod revert_volume;

pub use create_snapshot::CreateSnapshot;
pub use create_volume::CreateVolume;
pub use delete_snapshot::DeleteSnapshot;
pub use delete_volume::DeleteVolume;
pub use extend_volume::ExtendVolume;
pub use manage::Manage;
pub use revert_volume::RevertVolume;
