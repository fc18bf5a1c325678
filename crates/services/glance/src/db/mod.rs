//! The tables.

pub mod images;
pub mod metadefs;
pub mod visible;

use base::Timestamp;
use glance_types::{ImageStatus, MemberStatus, Visibility};
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
];

oslo_db::table! {
    pub struct ImageRow in "images" {
        pub id: String, pub name: Option<String>, pub status: ImageStatus, pub visibility: Visibility,
        pub owner: Option<String>, pub checksum: Option<String>, pub os_hash_algo: Option<String>,
        pub os_hash_value: Option<String>, pub size: Option<i64>, pub virtual_size: Option<i64>,
        pub container_format: Option<String>, pub disk_format: Option<String>, pub min_disk: i64,
        pub min_ram: i64, pub protected: bool, pub os_hidden: bool,
        /// The file of an active image, and of a deleted one until it is removed.
        pub file: Option<String>,
        /// The upload in progress, the process that receives it, and until when it is believed to live.
        pub upload: Option<String>, pub upload_owner: Option<String>, pub upload_lease: Option<Timestamp>,
        pub created_at: Timestamp, pub updated_at: Timestamp, pub deleted_at: Option<Timestamp>,
    }

    pub struct PropertyRow in "image_properties" { pub image: String, pub name: String, pub value: String }

    pub struct TagRow in "image_tags" { pub image: String, pub tag: String }

    pub struct MemberRow in "image_members" {
        pub image: String, pub member: String, pub status: MemberStatus,
        pub created_at: Timestamp, pub updated_at: Timestamp,
    }
}
