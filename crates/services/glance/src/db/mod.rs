//! The tables.

pub mod cache;
pub mod images;
pub mod metadefs;
pub mod usage;
pub mod visible;

use base::Timestamp;
use glance_types::{ImageStatus, MemberStatus, TaskStatus, TaskType, Visibility};
use oslo_db::Migration;

pub const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "2026-11-23-initial",
        sql: include_str!("../../migrations/2026-11-23-initial.sql"),
    },
    Migration {
        id: "2026-11-25-metadefs",
        sql: include_str!("../../migrations/2026-11-25-metadefs.sql"),
    },
    Migration {
        id: "2026-11-25-stores",
        sql: include_str!("../../migrations/2026-11-25-stores.sql"),
    },
    Migration {
        id: "2026-11-25-cache",
        sql: include_str!("../../migrations/2026-11-25-cache.sql"),
    },
    Migration {
        id: "2026-11-25-location-metadata",
        sql: include_str!("../../migrations/2026-11-25-location-metadata.sql"),
    },
    Migration {
        id: oslo_taskflow::MIGRATIONS[0].id,
        sql: oslo_taskflow::MIGRATIONS[0].sql,
    },
    Migration {
        id: oslo_taskflow::MIGRATIONS[1].id,
        sql: oslo_taskflow::MIGRATIONS[1].sql,
    },
];

base::str_enum! {
    /// Whether a copy may be read.
    pub enum LocationStatus {
        Active = "active",
        /// Its file is to be removed.
        PendingDelete = "pending_delete",
    }
}

oslo_db::table! {
    pub struct ImageRow in "images" {
        pub id: String, pub name: Option<String>, pub status: ImageStatus, pub visibility: Visibility,
        pub owner: Option<String>, pub checksum: Option<String>, pub os_hash_algo: Option<String>,
        pub os_hash_value: Option<String>, pub size: Option<i64>, pub virtual_size: Option<i64>,
        pub container_format: Option<String>, pub disk_format: Option<String>, pub min_disk: i64,
        pub min_ram: i64, pub protected: bool, pub os_hidden: bool,
        /// The upload in progress, the process that receives it, and until when it is believed to live.
        pub upload: Option<String>, pub upload_owner: Option<String>, pub upload_lease: Option<Timestamp>,
        /// The file that waits for its import, and what was learnt of it (JSON).
        pub staged: Option<String>, pub staged_facts: Option<String>,
        pub created_at: Timestamp, pub updated_at: Timestamp, pub deleted_at: Option<Timestamp>,
    }

    /// A copy of an image's data.
    pub struct LocationRow in "image_locations" {
        pub id: String, pub image: String,
        /// Empty for the default store, in rows that are older than names.
        pub store: String,
        /// In a folder.
        pub file: Option<String>,
        /// On the web.
        pub url: Option<String>,
        /// What a caller says of it (JSON).
        pub metadata: Option<String>,
        pub status: LocationStatus, pub created_at: Timestamp,
    }

    pub struct TaskRow in "tasks" {
        pub id: String, pub r#type: TaskType, pub status: TaskStatus, pub owner: String,
        /// Input and result are JSON.
        pub input: String, pub result: Option<String>, pub message: String, pub image_id: Option<String>,
        pub request_id: Option<String>, pub user_id: Option<String>, pub expires_at: Option<Timestamp>,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }

    pub struct PropertyRow in "image_properties" { pub image: String, pub name: String, pub value: String }

    pub struct TagRow in "image_tags" { pub image: String, pub tag: String }

    pub struct MemberRow in "image_members" {
        pub image: String, pub member: String, pub status: MemberStatus,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }
}
