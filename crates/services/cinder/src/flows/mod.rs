//! Durable work on volumes.

mod create_volume;
mod delete_volume;
mod extend_volume;

pub use create_volume::CreateVolume;
pub use delete_volume::DeleteVolume;
pub use extend_volume::ExtendVolume;
