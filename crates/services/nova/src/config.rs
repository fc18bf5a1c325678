//! The `[nova]` section.

oslo_config::section! {
    /// Compute: scheduling, quotas, timeouts.
    pub struct Conf in "nova" {
        /// Seconds after its last heartbeat that a service counts as down.
        pub service_down_time: u64 = 60,
        /// How many hosts are tried for one boot before it fails.
        pub max_attempts: u64 = 3,
        /// Where notifications of what happens to servers go: `messagingv2` (the bus, exchange `nova`; somebody must read them
        /// there) or `noop`.
        pub notification_driver: String = "noop".to_string(),
        /// Topics of notifications: `notifications` is the queues `notifications.info` and `notifications.error`. Upstream's
        /// default is `versioned_notifications`, because its `notifications` are unversioned; here all are versioned.
        pub versioned_notifications_topics: Vec<String> = vec!["notifications".to_string()],
        /// Whether notifications name a server's volumes.
        pub bdms_in_notifications: bool = false,
        /// Seconds that a boot waits for a scheduler that answers.
        pub scheduler_wait: u64 = 60,
        /// Filters, in order.
        pub enabled_filters: Vec<String> = [
            "RetryFilter", "AvailabilityZoneFilter", "RamFilter", "DiskFilter", "CoreFilter", "ComputeFilter",
            "ComputeCapabilitiesFilter", "ImagePropertiesFilter", "ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter",
        ].map(String::from).to_vec(),
        /// How many of the hosts that have room placement is asked for.
        pub max_placement_results: u64 = 1000,
        /// Of so many of the best hosts one is taken at random: schedulers side by side get less in each other's way.
        pub host_subset_size: u64 = 1,
        /// Whether one of those that are equally best is taken at random, and not always the same one.
        pub shuffle_best_same_weighed_hosts: bool = false,
        /// Virtual processors per real one.
        pub cpu_allocation_ratio: f64 = 4.0,
        /// Guest memory per real memory.
        pub ram_allocation_ratio: f64 = 1.0,
        /// Guest disk per real disk.
        pub disk_allocation_ratio: f64 = 1.0,
        /// MiB of each host that guests never get.
        pub reserved_host_memory_mb: u64 = 512,
        /// GiB of each host that guests never get.
        pub reserved_host_disk_mb: u64 = 0,
        /// How strongly free memory attracts guests (negative: packs).
        pub ram_weight_multiplier: f64 = 1.0,
        /// How strongly free processors attract guests.
        pub cpu_weight_multiplier: f64 = 1.0,
        /// How strongly free disk attracts guests.
        pub disk_weight_multiplier: f64 = 1.0,
        /// How strongly guests that are being built repel others (negative repels).
        pub io_ops_weight_multiplier: f64 = -1.0,
        /// The zone of hosts that no aggregate puts into one.
        pub default_availability_zone: String = "nova".to_string(),
        /// How often a volume that a server boots with is looked at while it is made.
        pub block_device_allocate_retries: u64 = 60,
        /// Seconds between these looks.
        pub block_device_allocate_retries_interval: u64 = 3,
        /// Seconds that a port may take to become ACTIVE before a boot fails; 0 does not wait.
        pub vif_plugging_timeout: u64 = 300,
        /// Whether a boot fails when its ports do not become ACTIVE in time.
        pub vif_plugging_is_fatal: bool = true,
        /// Seconds between two looks at the ports of all servers: what rows remember is brought in line, and cards whose request died
        /// are carried through. At least 1; upstream's 0 switches it off.
        pub heal_instance_info_cache_interval: u64 = 60,
        /// Seconds a compute host may take for one long request (image download and boot).
        pub long_rpc_timeout: u64 = 1800,
        /// Seconds a guest gets to shut down by itself.
        pub shutdown_timeout: u64 = 60,
        /// Longest list.
        pub max_limit: u64 = 1000,
        /// Secret that the metadata agent signs with; empty: made at bootstrap.
        pub metadata_proxy_shared_secret: base::Secret = base::Secret::default(),
        /// Where browsers reach noVNC.
        pub novncproxy_base_url: String = "http://127.0.0.1:6080/vnc_lite.html".to_string(),
        /// noVNC's pages.
        pub novnc_web: String = "/usr/share/novnc".to_string(),
        /// Seconds a console ticket is good for.
        pub console_token_ttl: u64 = 600,
        /// Instances per project; -1 is no limit. The same for the following.
        pub quota_instances: i64 = 10,
        /// Virtual processors.
        pub quota_cores: i64 = 20,
        /// Memory, MiB.
        pub quota_ram: i64 = 51200,
        /// Metadata items per server.
        pub quota_metadata_items: i64 = 128,
        /// Keypairs per user.
        pub quota_key_pairs: i64 = 100,
        /// Server groups.
        pub quota_server_groups: i64 = 10,
        /// Members of a server group.
        pub quota_server_group_members: i64 = 10,
    }
}
