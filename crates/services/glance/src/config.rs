//! The `[glance]` section.

use base::{Error, Result};
use sdk::WebFilter;
use std::collections::BTreeMap;

oslo_config::section! {
    /// How glance behaves.
    pub struct GlanceConf in "glance" {
        /// Where image files live. Several controllers share one folder (NFS, CephFS, GlusterFS).
        pub filesystem_store_datadir: std::path::PathBuf = "state/images".into(),
        /// Stores and their types: file, http (read only).
        pub enabled_backends: BTreeMap<String, String> = table(&[("file", "file")]),
        /// The store that takes what names none.
        pub default_backend: String = "file".to_string(),
        /// Folders of file stores; otherwise the default one has filesystem_store_datadir, others a folder beside it.
        pub store_datadirs: BTreeMap<String, String> = BTreeMap::new(),
        /// What callers are told of stores.
        pub store_descriptions: BTreeMap<String, String> = BTreeMap::new(),
        /// Of several copies the one in the store of most weight is read.
        pub store_weights: BTreeMap<String, String> = BTreeMap::new(),
        /// Ways to import an image: glance-direct, web-download, copy-image.
        pub enabled_import_methods: Vec<String> = words("glance-direct web-download copy-image"),
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
