//! The `[glance]` section.

use base::{Error, Result, Secret};
use sdk::WebFilter;
use std::collections::BTreeMap;
use std::path::PathBuf;

oslo_config::section! {
    /// How glance behaves.
    pub struct GlanceConf in "glance" {
        /// Where image files live. Several controllers share one folder (NFS, CephFS, GlusterFS).
        pub filesystem_store_datadir: std::path::PathBuf = "state/images".into(),
        /// Stores and their types: file, http (read only), s3, swift.
        pub enabled_backends: BTreeMap<String, String> = table(&[("file", "file")]),
        /// The store that takes what names none.
        pub default_backend: String = "file".to_string(),
        /// Where this controller keeps copies of images that were downloaded. Without it there is no cache. Each
        /// controller has a folder of its own.
        pub image_cache_dir: Option<PathBuf> = None,
        /// Bytes that the cache may hold; the least recently used images go.
        pub image_cache_max_size: u64 = 10_737_418_240,
        /// Seconds after which a half-made copy in the cache is taken for dead.
        pub image_cache_stall_time: u64 = 86_400,
        /// This controller's address, which /v2/cache/nodes tells of the images that it has cached.
        pub worker_self_reference_url: Option<String> = None,
        /// Object stores, each in a table of its name.
        pub stores: BTreeMap<String, StoreConf> = BTreeMap::new(),
        /// Folders of file stores; otherwise the default one has filesystem_store_datadir, others a folder beside it.
        pub store_datadirs: BTreeMap<String, String> = BTreeMap::new(),
        /// What callers are told of stores.
        pub store_descriptions: BTreeMap<String, String> = BTreeMap::new(),
        /// Of several copies the one in the store of most weight is read.
        pub store_weights: BTreeMap<String, String> = BTreeMap::new(),
        /// Ways to import an image: glance-direct, web-download, copy-image, glance-download.
        pub enabled_import_methods: Vec<String> = words("glance-direct web-download copy-image"),
        /// What is done with imports before they are stored, in this order: image_decompression (gzip, zip),
        /// image_conversion, inject_image_metadata, no_op.
        pub image_import_plugins: Vec<String> = Vec::new(),
        /// What image_conversion makes of disks: raw, qcow2, vmdk.
        pub image_conversion_output_format: String = "raw".to_string(),
        /// Properties that inject_image_metadata sets.
        pub inject_metadata_properties: BTreeMap<String, String> = BTreeMap::new(),
        /// Whose imports inject_image_metadata leaves alone.
        pub inject_metadata_ignore_user_roles: Vec<String> = words("admin"),
        /// Properties that begin so come along with glance-download.
        pub glance_download_extra_properties: Vec<String> = words("hw_ trait: os_distro os_secure_boot os_type"),
        /// Authorities (PEM) that other regions' glances are trusted by, beside the machine's own.
        pub auth_ca_cert: Option<std::path::PathBuf> = None,
        /// Schemes that web-download takes; empty for all but the disallowed ones.
        pub allowed_schemes: Vec<String> = words("http https"),
        /// Schemes that web-download refuses, if none is allowed by name.
        pub disallowed_schemes: Vec<String> = Vec::new(),
        /// Hosts that web-download takes (names, addresses, networks); empty for all but the disallowed ones. Loopback,
        /// link-local and multicast addresses are taken only if they stand here as addresses.
        pub allowed_hosts: Vec<String> = Vec::new(),
        /// Hosts that web-download refuses, if none is allowed by name.
        pub disallowed_hosts: Vec<String> = Vec::new(),
        /// Ports that web-download takes; empty for all but the disallowed ones.
        pub allowed_ports: Vec<String> = words("80 443"),
        /// Ports that web-download refuses, if none is allowed by name.
        pub disallowed_ports: Vec<String> = Vec::new(),
        /// For so many hours a finished task can be looked at.
        pub task_time_to_live: u64 = 48,
        /// The largest image, bytes; and the largest disk that one may unfold to.
        pub image_size_cap: u64 = 1_099_511_627_776,
        /// Whether keystone's unified limits hold: image_size_total, image_stage_total, image_count_total and
        /// image_count_uploading. What is not registered there is 0.
        pub use_keystone_limits: bool = false,
        /// The region whose limits hold, and whose endpoint this is. Empty: the cloud's.
        pub endpoint_region_name: String = String::new(),
        /// What a project may have in stores: 500MB, 2TB; 0 for no quota.
        pub user_storage_quota: String = "0".to_string(),
        /// Members of an image; negative for no limit.
        pub image_member_quota: i64 = 128,
        /// Custom properties of an image; negative for no limit.
        pub image_property_quota: i64 = 128,
        /// Places of an image that callers may name; negative for no limit.
        pub image_location_quota: i64 = 10,
        /// Whether callers see where images are, and may say where they are (PATCH of locations).
        pub show_multiple_locations: bool = false,
        /// Whether callers see the address of an image's first copy.
        pub show_image_direct_url: bool = false,
        /// Whether the data of a location that is added is read for its hashes; otherwise those that are claimed are believed.
        pub do_secure_hash: bool = true,
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

oslo_config::section! {
    /// Where an object store is. One bucket or container belongs to one cloud: what no image knows is removed there.
    pub struct StoreConf in "glance.stores.NAME" {
        /// S3: `https://HOST:PORT` (without a scheme http).
        pub s3_store_host: String = String::new(),
        /// S3: the region that requests are signed for; otherwise the host's, or us-east-1.
        pub s3_store_region_name: String = String::new(),
        /// S3: who we are.
        pub s3_store_access_key: Secret = Secret::default(),
        /// S3: the key that signs.
        pub s3_store_secret_key: Secret = Secret::default(),
        /// S3: the bucket.
        pub s3_store_bucket: String = String::new(),
        /// S3: whether the bucket is made when it is missing.
        pub s3_store_create_bucket_on_put: bool = false,
        /// S3: how a bucket is addressed: path, virtual (in the host's name), auto (virtual at Amazon).
        pub s3_store_bucket_url_format: String = "auto".to_string(),
        /// S3: MiB of one part of an upload, at least 5. What fits into one part is not split.
        pub s3_store_large_object_chunk_size: u64 = 10,
        /// S3: parts of one upload that are sent at once, as far as they fit into 64 MiB.
        pub s3_store_thread_pools: u64 = 4,
        /// S3: authorities that are trusted besides the machine's own.
        pub s3_store_cacert: Option<PathBuf> = None,
        /// Swift: 3 (keystone) or 1 (Swift's TempAuth).
        pub swift_store_auth_version: String = "3".to_string(),
        /// Swift: where to log in, `https://HOST:5000/v3`.
        pub swift_store_auth_address: String = String::new(),
        /// Swift: who we are, PROJECT:USER.
        pub swift_store_user: String = String::new(),
        /// Swift: the password.
        pub swift_store_key: Secret = Secret::default(),
        /// Swift: the user's domain.
        pub swift_store_user_domain_id: String = "default".to_string(),
        /// Swift: the user's domain by name, instead of its id.
        pub swift_store_user_domain_name: String = String::new(),
        /// Swift: the project's domain.
        pub swift_store_project_domain_id: String = "default".to_string(),
        /// Swift: the project's domain by name, instead of its id.
        pub swift_store_project_domain_name: String = String::new(),
        /// Swift: the region of the endpoint; empty for the first one.
        pub swift_store_region: String = String::new(),
        /// Swift: the address of the account, instead of the catalog's.
        pub swift_store_endpoint: String = String::new(),
        /// Swift: which of the catalog's endpoints: publicURL, internalURL, adminURL.
        pub swift_store_endpoint_type: String = "publicURL".to_string(),
        /// Swift: the service in the catalog.
        pub swift_store_service_type: String = "object-store".to_string(),
        /// Swift: the container.
        pub swift_store_container: String = "glance".to_string(),
        /// Swift: whether the container is made when it is missing.
        pub swift_store_create_container_on_put: bool = false,
        /// Swift: MiB; a larger image, and one of unknown size, is split into segments.
        pub swift_store_large_object_size: u64 = 5120,
        /// Swift: MiB of a segment.
        pub swift_store_large_object_chunk_size: u64 = 200,
        /// Swift: authorities that are trusted besides the machine's own.
        pub swift_store_cacert: Option<PathBuf> = None,
        /// Swift: whether any certificate will do.
        pub swift_store_auth_insecure: bool = false,
    }
}

impl GlanceConf {
    /// What may be fetched from the web.
    pub fn web_filter(&self) -> Result<WebFilter> {
        let ports = |list: &[String]| -> Result<Vec<u16>> {
            let port = |text: &String| {
                text.parse()
                    .map_err(|e| Error::bad_request(format!("[glance] ports: {text}: {e}")))
            };
            list.iter().map(port).collect()
        };
        Ok(WebFilter {
            allowed_schemes: self.allowed_schemes.clone(),
            disallowed_schemes: self.disallowed_schemes.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            disallowed_hosts: self.disallowed_hosts.clone(),
            allowed_ports: ports(&self.allowed_ports)?,
            disallowed_ports: ports(&self.disallowed_ports)?,
        })
    }
}

fn table(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    owned.collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}
