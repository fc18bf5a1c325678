//! The `[cinder_volume]` section.

use std::path::PathBuf;

base::str_enum! {
    /// Which driver keeps the volumes.
    pub enum DriverKind {
        /// Sparse files in a folder.
        File = "file",
        /// Nothing but records; for tests and demonstrations.
        Fake = "fake",
    }
}
oslo_config::choice!(DriverKind);

oslo_config::section! {
    /// How a volume agent behaves.
    pub struct VolumeConf in "cinder_volume" {
        /// Name of this host.
        pub host: String = "localhost".to_string(),
        /// Name of the backend; volumes live on `host@backend#backend`.
        pub volume_backend_name: String = "file".to_string(),
        /// What keeps the volumes.
        pub driver: DriverKind = DriverKind::File,
        /// The folder of the volumes' files, or of the fake driver's records.
        pub volumes_dir: PathBuf = "volumes".into(),
        /// The address at which this host's volumes are served to guests of other hosts, over NBD with TLS. Empty: only
        /// this host's guests get volumes, or those that see `volumes_dir` under the same path.
        pub my_ip: String = String::new(),
        /// The first of the ports at which volumes are served to other hosts.
        pub nbd_first_port: u16 = 10810,
        /// How many such ports there are: one per attachment.
        pub nbd_ports: u16 = 2000,
        /// The cluster of hosts that serve the same storage, if this is one of them.
        pub cluster: String = String::new(),
        /// The availability zone of the backend.
        pub storage_availability_zone: String = "nova".to_string(),
        /// Per cent of the capacity that is never given away.
        pub reserved_percentage: i64 = 0,
        /// The expression by which this backend says which volumes it takes (`volume.size < 100`); all if empty.
        pub filter_function: String = String::new(),
        /// The expression by which it says how well a volume would be here, from 0 to 100.
        pub goodness_function: String = String::new(),
        /// How many times its capacity it may promise; empty leaves that to the scheduler.
        pub max_over_subscription_ratio: String = String::new(),
        /// Seconds between reports to the scheduler.
        pub report_interval: u64 = 10,
        /// Seconds between searches for files that belong to no volume.
        pub orphan_interval: u64 = 300,
        /// Milliseconds that the fake driver takes for everything.
        pub fake_delay_ms: u64 = 5,
        /// GiB that the fake driver claims to have.
        pub fake_capacity_gb: u64 = 10000,
    }
}
