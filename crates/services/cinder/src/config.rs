//! The `[cinder]` section.

use std::path::PathBuf;

oslo_config::section! {
    /// How cinder behaves.
    pub struct CinderConf in "cinder" {
        /// Name of this process among those of the cloud; flows it left behind are resumed by the same name.
        pub host: String = "localhost".to_string(),
        /// The type of volumes for which none is asked for.
        pub default_volume_type: String = "__DEFAULT__".to_string(),
        /// The availability zone of volumes for which none is asked for.
        pub storage_availability_zone: String = "nova".to_string(),
        /// Volumes that a project may have; -1 is unlimited.
        pub quota_volumes: i64 = 10,
        /// Snapshots that a project may have.
        pub quota_snapshots: i64 = 10,
        /// Leave snapshots out of `gigabytes`.
        pub no_snapshot_gb_quota: bool = false,
        /// GiB that a project's volumes, and snapshots, may have together.
        pub quota_gigabytes: i64 = 1000,
        /// Backups that a project may have.
        pub quota_backups: i64 = 10,
        /// GiB that a project's backups may have together.
        pub quota_backup_gigabytes: i64 = 1000,
        /// Groups that a project may have.
        pub quota_groups: i64 = 10,
        /// GiB that one volume may have.
        pub per_volume_size_limit: i64 = -1,
        /// Seconds after which a silent service counts as down.
        pub service_down_time: u64 = 60,
        /// How many times its capacity a thin backend may promise.
        pub max_over_subscription_ratio: f64 = 20.0,
        /// Seconds that an agent may take to fill a volume from an image.
        pub image_copy_timeout: u64 = 3600,
        /// The identity service's public address, for WWW-Authenticate.
        pub www_authenticate_uri: String = "http://127.0.0.1:5000/".to_string(),
        /// The operator's policy file.
        pub policy_file: Option<PathBuf> = None,
    }
}
