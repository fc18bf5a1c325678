//! The seam between the agent and what makes guests.

use async_trait::async_trait;
use base::Result;
use nova_types::rpc::{
    ConsoleAddress, InstanceSpec, PortSpec, PowerAction, PowerState, VolumeSpec,
};
use serde_json::Value;

/// What a host is, as its driver sees it.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// `libvirt` or `fake`.
    pub driver: &'static str,
    /// `QEMU` or `fake`.
    pub hypervisor_type: String,
    /// `7002022`.
    pub hypervisor_version: u64,
    /// Processors.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Disk of the instances, GiB: all of it, and what is free.
    pub disk_gb: (u64, u64),
    /// Facts about the processor.
    pub cpu_info: Value,
    /// (architecture, hypervisor, vm mode).
    pub supported_instances: Vec<(String, String, String)>,
    /// Traits for placement.
    pub traits: Vec<String>,
}

/// What makes guests. The agent calls it for one instance at a time; all calls may be repeated.
#[async_trait]
pub trait VirtDriver: Send + Sync + 'static {
    /// Disks and taps, no guest yet.
    async fn prepare(&self, spec: &InstanceSpec) -> Result<()>;
    /// The guest, switched on if the spec says so.
    async fn ensure(&self, spec: &InstanceSpec) -> Result<PowerState>;
    /// Switches the guest off at once, if there is one. Called beside other calls, to end their waiting.
    async fn switch_off(&self, uuid: &str) -> Result<()>;
    /// Guest and taps, and disks if asked, are no more.
    async fn destroy(&self, uuid: &str, delete_disks: bool) -> Result<()>;
    /// Changes the power; returns what it is then.
    async fn power(&self, uuid: &str, action: PowerAction) -> Result<PowerState>;
    /// Attaches a volume.
    async fn attach_volume(&self, uuid: &str, volume: &VolumeSpec) -> Result<()>;
    /// Detaches a volume.
    async fn detach_volume(&self, uuid: &str, volume_id: &str) -> Result<()>;
    /// A volume has grown.
    async fn extend_volume(&self, uuid: &str, volume_id: &str, size_gb: u64) -> Result<()>;
    /// Attaches a port.
    async fn attach_port(&self, uuid: &str, port: &PortSpec) -> Result<()>;
    /// Detaches a port.
    async fn detach_port(&self, uuid: &str, port_id: &str) -> Result<()>;
    /// What the guest wrote to its serial port, at most its last 100 KiB.
    async fn console_log(&self, uuid: &str) -> Result<String>;
    /// Where its VNC listens.
    async fn vnc(&self, uuid: &str) -> Result<ConsoleAddress>;
    /// Its power; `None` if there is no such guest.
    async fn state(&self, uuid: &str) -> Result<Option<PowerState>>;
    /// Its counters.
    async fn diagnostics(&self, uuid: &str) -> Result<Value>;
    /// All guests, and instances of which only disks are there ([`PowerState::NoState`]).
    async fn list(&self) -> Result<Vec<(String, PowerState)>>;
    /// What the host is.
    async fn host(&self) -> Result<HostFacts>;
    /// Housekeeping, now and then.
    async fn tidy(&self) -> Result<()>;
}
