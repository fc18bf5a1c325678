//! The `[glance]` section.

oslo_config::section! {
    /// How glance behaves.
    pub struct GlanceConf in "glance" {
        /// Where image files live. Several controllers share one folder (NFS, CephFS, GlusterFS).
        pub filesystem_store_datadir: std::path::PathBuf = "state/images".into(),
        /// The largest image, bytes; and the largest disk that one may unfold to.
        pub image_size_cap: u64 = 1_099_511_627_776,
        /// Members of an image; negative for no limit.
        pub image_member_quota: i64 = 128,
        /// Custom properties of an image; negative for no limit.
        pub image_property_quota: i64 = 128,
        /// Tags of an image; negative for no limit.
        pub image_tag_quota: i64 = 128,
        /// Rows of a list that names no limit.
        pub limit_param_default: u64 = 25,
        /// Most rows of a list.
        pub api_limit_max: u64 = 1000,
        /// Whether content must be what disk_format says, and harmless.
        pub require_image_format_match: bool = true,
        /// Container formats that are taken.
        pub container_formats: Vec<String> = words("ami ari aki bare ovf ova docker compressed"),
        /// Disk formats that are taken.
        pub disk_formats: Vec<String> = words("ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop"),
        /// The identity service's public address, for WWW-Authenticate.
        pub www_authenticate_uri: String = "http://127.0.0.1:5000/".to_string(),
        /// The operator's policy file.
        pub policy_file: Option<std::path::PathBuf> = None,
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}
