//! The `[cinder]` section.

use std::path::PathBuf;

oslo_config::section! {
    /// How cinder behaves.
    pub struct CinderConf in "cinder" {
        /// Name of this process among those of the cloud; flows it left behind are resumed by the same name.
        pub host: String = "localhost".to_string(),
        /// The type of volumes for which none is asked for.
        pub default_volume_type: String = "__DEFAULT__".to_string(),
        /// The group type that is shown as the default one.
        pub default_group_type: String = String::new(),
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
        /// Which backends can take a volume: upstream's filters, by name.
        pub scheduler_default_filters: Vec<String> = vec!["AvailabilityZoneFilter".into(), "CapacityFilter".into(), "CapabilitiesFilter".into()],
        /// Which of them is the best: upstream's weighers, by name.
        pub scheduler_default_weighers: Vec<String> = vec!["CapacityWeigher".into()],
        /// On how many backends a volume is tried; more than one only with RetryFilter.
        pub scheduler_max_attempts: u32 = 3,
        /// How much free space counts; negative numbers fill one backend after the other.
        pub capacity_weight_multiplier: f64 = 1.0,
        /// How much promised space counts; positive numbers fill one backend after the other.
        pub allocated_capacity_weight_multiplier: f64 = -1.0,
        /// How much the number of volumes counts; positive numbers fill one backend after the other.
        pub volume_number_multiplier: f64 = -1.0,
        /// Seconds that an agent may take to fill a volume from an image.
        pub image_copy_timeout: u64 = 3600,
        /// Seconds that messages to users are kept.
        pub message_ttl: u64 = 2_592_000,
        /// Seconds between removals of messages that were kept long enough.
        pub message_reap_interval: u64 = 86_400,
        /// Whether volumes that servers have can be uploaded to images by force.
        pub enable_force_upload: bool = false,
        /// Seconds that an agent may take to keep a volume as a backup, or to restore one.
        pub backup_timeout: u64 = 86400,
        /// The identity service's public address, for WWW-Authenticate.
        pub www_authenticate_uri: String = "http://127.0.0.1:5000/".to_string(),
        /// A JSON file that says which filters users may put into lists, by resource.
        pub resource_query_filters_file: Option<PathBuf> = None,
        /// The operator's policy file.
        pub policy_file: Option<PathBuf> = None,
    }
}
