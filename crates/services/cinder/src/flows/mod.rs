//! Durable work on volumes, snapshots and backups.

mod create_backup;
mod create_snapshot;
mod create_volume;
mod delete_backup;
mod delete_snapshot;
mod delete_volume;
mod extend_volume;
mod import_backup;
mod manage;
mod restore_backup;
mod revert_volume;
mod upload_volume;

pub use create_backup::CreateBackup;
pub use create_snapshot::CreateSnapshot;
pub use create_volume::CreateVolume;
pub use delete_backup::{DeleteBackup, working_on};
pub use delete_snapshot::DeleteSnapshot;
pub use delete_volume::DeleteVolume;
pub use extend_volume::ExtendVolume;
pub use import_backup::ImportBackup;
pub use manage::Manage;
pub use restore_backup::RestoreBackup;
pub use revert_volume::RevertVolume;
pub use upload_volume::UploadVolume;
