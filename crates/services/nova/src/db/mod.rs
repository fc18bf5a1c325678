//! SQL, a table per file.

pub mod actions;
pub mod addresses;
pub mod aggregates;
pub mod block_devices;
pub mod compute_nodes;
pub mod console_tokens;
pub mod flavors;
pub mod generation;
pub mod instances;
pub mod keypairs;
pub mod reservations;
pub mod scheduling;
pub mod server_groups;
pub mod services;
pub mod usage;

use oslo_db::Migration;

/// The schema, oldest first. The shared mechanisms' tables are appended by `lib.rs`.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "2026-11-23-nova",
        sql: include_str!("../../migrations/2026-11-23-initial.sql"),
    },
    Migration {
        id: "2026-11-23-nova-volume-reservations",
        sql: include_str!("../../migrations/2026-11-23-volume-reservations.sql"),
    },
    Migration {
        id: "2026-11-25-nova-volumes-made",
        sql: include_str!("../../migrations/2026-11-25-volumes-made.sql"),
    },
    Migration {
        id: "2026-11-25-nova-addresses",
        sql: include_str!("../../migrations/2026-11-25-addresses.sql"),
    },
    Migration {
        id: "2026-11-25-nova-clock-skew",
        sql: include_str!("../../migrations/2026-11-25-clock-skew.sql"),
    },
    Migration {
        id: "2026-11-25-nova-notification-outbox",
        sql: include_str!("../../migrations/2026-11-25-notification-outbox.sql"),
    },
    Migration {
        id: "2026-11-25-nova-host-generation",
        sql: include_str!("../../migrations/2026-11-25-host-generation.sql"),
    },
];
