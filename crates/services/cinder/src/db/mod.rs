//! Cinder's tables. Volumes that are deleted are gone: their rows are removed by the last step of the flow.

pub mod attachments;
pub mod backups;
pub mod clusters;
pub mod default_types;
pub mod encryptions;
pub mod group_types;
pub mod messages;
pub mod qos_specs;
pub mod services;
pub mod snapshots;
pub mod transfers;
pub mod type_limits;
pub mod types;
pub mod usage;
pub mod volumes;

pub use attachments::AttachmentRow;
pub use backups::BackupRow;
pub use qos_specs::QosRow;
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
    all.push(Migration {
        id: "2026-11-25-qos-encryption-defaults",
        sql: include_str!("../../migrations/2026-11-25-qos-encryption-defaults.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-transfers-messages",
        sql: include_str!("../../migrations/2026-11-25-transfers-messages.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-group-types",
        sql: include_str!("../../migrations/2026-11-25-group-types.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-clusters",
        sql: include_str!("../../migrations/2026-11-25-clusters.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-volumes-host",
        sql: include_str!("../../migrations/2026-11-25-volumes-host.sql"),
    });
    all.push(Migration {
        id: "2026-11-25-backups",
        sql: include_str!("../../migrations/2026-11-25-backups.sql"),
    });
    all
}
