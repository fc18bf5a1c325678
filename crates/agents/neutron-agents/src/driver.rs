//! The seam between the agents and the host: kernel bridges, or nothing at all.

use async_trait::async_trait;
use base::Result;
use host_netns::Namespace;
use neutron_types::rpc::{FloatingIpStatus, HostState, MetadataSource};
use std::collections::BTreeSet;

/// What one pass over the host found and did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Ports in place.
    pub up: BTreeSet<String>,
    /// Ports whose device is not there yet.
    pub missing: BTreeSet<String>,
    /// Floating addresses.
    pub floating: Vec<FloatingIpStatus>,
    /// Where metadata must be served.
    pub metadata: Vec<(Namespace, MetadataSource)>,
    /// Another process of this host has not made all of it yet; the next pass looks again.
    pub incomplete: bool,
    /// What went wrong; the next pass tries again.
    pub problems: Vec<String>,
}

/// Makes a host equal to what the server wants.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// One pass. `everything` looks at what seldom changes too (filters that somebody else may have removed),
    /// and tells neighbours again who holds the addresses of routers and DHCP servers.
    async fn apply(&self, state: &HostState, everything: bool) -> Result<Applied>;

    /// Changes when a guest's device comes, goes or is made anew. Cheap.
    fn fingerprint(&self, state: &HostState) -> u64;

    /// Whether the fingerprint may change without a new state, so that it must be looked at.
    fn watches(&self) -> bool {
        true
    }

    /// Whether it does something about other hosts' guests: tunnels to them, filters that let them in.
    fn minds_others(&self) -> bool {
        true
    }
}
