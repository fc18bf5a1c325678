//! The image service's contract as its neighbours use it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

base::str_enum! {
    /// Where an image is in its life.
    pub enum ImageStatus {
        /// Known, without data.
        Queued = "queued",
        /// Data is arriving.
        Saving = "saving",
        /// Data waits for its import, or is on its way there.
        Uploading = "uploading",
        /// An import is at work.
        Importing = "importing",
        /// Usable.
        Active = "active",
        /// Usable by administrators only.
        Deactivated = "deactivated",
        /// Gone, its data not yet.
        PendingDelete = "pending_delete",
        /// Gone.
        Deleted = "deleted",
    }
}

base::str_enum! {
    /// Who sees an image.
    pub enum Visibility {
        /// Everybody.
        Public = "public",
        /// Its project.
        Private = "private",
        /// Its project and its members.
        Shared = "shared",
        /// Everybody who knows where to look.
        Community = "community",
    }
}

base::str_enum! {
    /// Who sees a namespace of metadata definitions.
    pub enum MetadefVisibility {
        /// Everybody.
        Public = "public",
        /// Its project.
        Private = "private",
    }
}

base::str_enum! {
    /// What a task does.
    pub enum TaskType {
        /// What administrators ask for: a new image from an address.
        Import = "import",
        /// An import into an image.
        ApiImageImport = "api_image_import",
        /// A look at data that stays where it is.
        LocationImport = "location_import",
    }
}

base::str_enum! {
    /// Where a task is.
    pub enum TaskStatus {
        /// Nobody has begun.
        Pending = "pending",
        /// At work.
        Processing = "processing",
        /// Done.
        Success = "success",
        /// Not done, and nothing is left of it.
        Failure = "failure",
    }
}

base::str_enum! {
    /// What a member thinks of an image that was shared with it.
    pub enum MemberStatus {
        /// Nothing yet.
        Pending = "pending",
        /// It is in the member's list.
        Accepted = "accepted",
        /// It is not.
        Rejected = "rejected",
    }
}

/// An image as its neighbours read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its status.
    pub status: ImageStatus,
    /// Who sees it.
    pub visibility: Visibility,
    /// The project it belongs to.
    #[serde(default)]
    pub owner: Option<String>,
    /// Bytes of its file.
    #[serde(default)]
    pub size: Option<u64>,
    /// The disk's size as a guest sees it, bytes.
    #[serde(default)]
    pub virtual_size: Option<u64>,
    /// md5 of its file.
    #[serde(default)]
    pub checksum: Option<String>,
    /// `sha512`.
    #[serde(default)]
    pub os_hash_algo: Option<String>,
    /// That hash of its file.
    #[serde(default)]
    pub os_hash_value: Option<String>,
    /// `qcow2`, `raw`.
    #[serde(default)]
    pub disk_format: Option<String>,
    /// `bare`.
    #[serde(default)]
    pub container_format: Option<String>,
    /// GiB a flavor must have.
    #[serde(default)]
    pub min_disk: u64,
    /// MiB a flavor must have.
    #[serde(default)]
    pub min_ram: u64,
    /// Whether it can be deleted.
    #[serde(default)]
    pub protected: bool,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// ISO 8601.
    #[serde(default)]
    pub created_at: String,
    /// ISO 8601.
    #[serde(default)]
    pub updated_at: String,
    /// Everything else: custom properties (`hw_disk_bus`), and keys of newer versions.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Image {
    /// A custom property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.rest.get(name).and_then(|v| v.as_str())
    }

    /// The custom properties alone.
    pub fn properties(&self) -> BTreeMap<String, String> {
        const OWN: [&str; 5] = ["self", "file", "schema", "os_hidden", "stores"];
        // What glance keeps for itself is nobody's property.
        let own = |name: &str| OWN.contains(&name) || name.starts_with("os_glance_");
        let custom = self.rest.iter().filter(|(name, _)| !own(name));
        custom
            .filter_map(|(name, v)| Some((name.clone(), v.as_str()?.to_string())))
            .collect()
    }
}
