//! What nova's conductor asks of a scheduler.

use crate::rpc::FlavorSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a boot wants of a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestSpec {
    /// The instance.
    pub instance_id: String,
    /// Its project.
    pub project_id: String,
    /// Its user.
    pub user_id: String,
    /// Its size.
    pub flavor: FlavorSpec,
    /// Whether the root disk lives on the host (not on a volume).
    pub local_root: bool,
    /// Image properties.
    pub image_properties: BTreeMap<String, String>,
    /// The zone asked for.
    pub zone: Option<String>,
    /// The host asked for (administrators).
    pub force_host: Option<String>,
    /// Hosts that failed already.
    pub tried: Vec<String>,
    /// Policy of the server group.
    pub group_policy: Option<String>,
    /// Members of the group per host, this instance excluded.
    pub group_hosts: BTreeMap<String, u64>,
    /// `max_server_per_host` of the group.
    pub group_max_per_host: u64,
    /// Scheduler hints.
    pub hints: Map<String, Value>,
}

impl RequestSpec {
    /// GiB of disk on the host.
    pub fn disk_gb(&self) -> u64 {
        let root = if self.local_root {
            self.flavor.root_gb
        } else {
            0
        };
        root + self.flavor.ephemeral_gb + self.flavor.swap_mb.div_ceil(1024)
    }
}

/// A claimed host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// `CONF.host`.
    pub host: String,
    /// The hypervisor's node.
    pub node: String,
    /// Its zone.
    pub zone: String,
}

oslo_messaging::interface! {
    /// A scheduler, as the conductor sees it.
    pub trait SchedulerApi, client SchedulerClient, topic "scheduler", exchange "nova", version "4.5" {
        /// Chooses a host and claims room on it; who was refused by which filter, and the weights of the others, is in
        /// the database then. `NoValidHost` says in words which filter removed how many; `ConsumerHasAllocations` is
        /// an earlier claim that must be given back first.
        call fn select_destinations(&self, spec_obj: RequestSpec) -> Destination;
    }
}
