//! Cinder's tables. Volumes that are deleted are gone: their rows are removed by the last step of the flow.

pub mod attachments;
pub mod services;
pub mod snapshots;
pub mod type_limits;
pub mod types;
pub mod volumes;

pub use attachments::AttachmentRow;
pub use services::ServiceRow;
pub use snapshots::SnapshotRow;
pub use types::{TypeAccessRow, TypeRow};
pub use volumes::VolumeRow;

use oslo_db::Migration;

pub fn migrations() -> Vec<Migration> {
    let own = Migration {
        id: "2026-11-23-initial",
        sql: include_str!("../../migrations/2026-11-23-initial.sql"),
    };
    let mut all = vec![own];
    all.extend_from_slice(oslo_limit::MIGRATIONS);
    all.extend_from_slice(oslo_taskflow::MIGRATIONS);
    all.extend_from_slice(oslo_service::MIGRATIONS);
    all.push(Migration {
        id: "2026-11-25-type-limits",
        sql: include_str!("../../migrations/2026-11-25-type-limits.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-snapshots",
        sql: include_str!("../../migrations/2026-11-25-snapshots.sql"),
    });
    all
}
