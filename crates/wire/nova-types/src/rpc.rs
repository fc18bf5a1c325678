//! What nova's conductor and its compute agents say to each other.
//!
//! Specs are desired states: every call names what shall be, not what to do next, so that a flow may repeat any
//! of them after a crash. `ensure_instance` on a running guest answers what runs; `destroy_instance` of what is
//! gone is success. Topics and exchange are upstream's; the messages are our own.

use async_trait::async_trait;
use base::{Result, Secret, str_enum};
use oslo_context::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

str_enum! {
    /// What the hypervisor says about a guest (upstream's `power_state`).
    pub enum PowerState {
        /// The hypervisor does not say, or does not know the guest.
        NoState = "pending",
        Running = "running",
        Paused = "paused",
        Shutdown = "shutdown",
        Crashed = "crashed",
        Suspended = "suspended",
    }
}

impl PowerState {
    /// The number in the API's `OS-EXT-STS:power_state`.
    pub fn code(self) -> u8 {
        match self {
            PowerState::NoState => 0,
            PowerState::Running => 1,
            PowerState::Paused => 3,
            PowerState::Shutdown => 4,
            PowerState::Crashed => 6,
            PowerState::Suspended => 7,
        }
    }
}

/// Everything a compute host needs to know to make an instance be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceSpec {
    /// The server's id.
    pub uuid: String,
    /// The hypervisor's name for it, `instance-0000002a`.
    pub name: String,
    /// The name users gave it.
    pub display_name: String,
    /// What it calls itself.
    pub hostname: String,
    /// Its owner.
    pub project_id: String,
    /// Who made it.
    pub user_id: String,
    /// Where it was asked for; part of the metadata.
    pub availability_zone: String,
    /// Order among those made together.
    pub launch_index: u32,
    /// Its size.
    pub flavor: FlavorSpec,
    /// The image of the root disk; `None` if it boots from a volume.
    pub image: Option<ImageSpec>,
    /// Hardware wishes from the image (`hw_disk_bus`, `hw_rng_model`, …).
    pub image_properties: BTreeMap<String, String>,
    /// Network ports in the order of its devices.
    pub ports: Vec<PortSpec>,
    /// Volumes attached from the start.
    pub volumes: Vec<VolumeSpec>,
    /// Whether a config drive is attached.
    pub config_drive: bool,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// User data, base64 as the API took it.
    pub user_data: Option<String>,
    /// Name and public half of its key.
    pub key: Option<KeySpec>,
    /// The administrator's password.
    pub admin_pass: Option<Secret>,
    /// Files to inject, by way of the config drive: path and base64 contents.
    pub personality: Vec<(String, String)>,
    /// Whether it shall run when all is done.
    pub running: bool,
}

/// A flavor, as the host sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FlavorSpec {
    /// Its name, for the domain's metadata.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Root disk in GiB; 0 takes the image's size.
    pub root_gb: u64,
    /// Ephemeral disk in GiB.
    pub ephemeral_gb: u64,
    /// Swap in MiB.
    pub swap_mb: u64,
    /// Free-form wishes.
    pub extra_specs: BTreeMap<String, String>,
}

/// An image in glance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Its id.
    pub id: String,
    /// `qcow2`, `raw`, …: what glance was told; the bytes are inspected again.
    pub disk_format: String,
    /// Bytes in glance.
    pub size: Option<u64>,
    /// Hash of the data: algorithm and hex digest.
    pub hash: Option<(String, String)>,
    /// The least disk it asks for, GiB.
    pub min_disk: u64,
}

/// A key for ssh.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeySpec {
    /// Its name.
    pub name: String,
    /// The public key.
    pub public_key: String,
}

/// A port of neutron, bound to this host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PortSpec {
    /// Its id.
    pub id: String,
    /// Its MAC address.
    pub mac: String,
    /// Its network.
    pub network_id: String,
    /// The network's MTU.
    pub mtu: u32,
    /// `ovs`, `bridge`, `tap`, …
    pub vif_type: String,
    /// What the binding added.
    pub vif_details: Map<String, Value>,
    /// Addresses with the subnets they are from, for the config drive.
    pub fixed_ips: Vec<FixedIpSpec>,
}

impl PortSpec {
    /// The name of its device on the host; the L2 agent looks for it.
    pub fn tap(&self) -> String {
        tap_name(&self.id)
    }
}

/// The device of a port on its host: `tap` and the first 11 characters of the port's id.
pub fn tap_name(port_id: &str) -> String {
    format!("tap{}", port_id.chars().take(11).collect::<String>())
}

/// An address of a port with what the guest must know of its subnet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FixedIpSpec {
    /// The address.
    pub ip_address: String,
    /// The subnet's CIDR.
    pub cidr: String,
    /// The subnet's router.
    pub gateway: Option<String>,
    /// Its name servers.
    pub dns: Vec<String>,
    /// Whether the guest learns the address by DHCP.
    pub dhcp: bool,
}

/// A volume and how to reach it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Its id; also the disk's serial number.
    pub volume_id: String,
    /// What cinder's attachment says: `driver_volume_type` and `data`.
    pub connection_info: Value,
    /// `/dev/vdb`; the agent chooses if empty.
    pub device: String,
    /// 0 is the root disk.
    pub boot_index: Option<i64>,
    /// `virtio`, `scsi`, …; virtio if empty.
    pub bus: String,
    /// `disk` or `cdrom`; disk if empty.
    pub device_type: String,
    /// A tag for the metadata.
    pub tag: Option<String>,
}

/// What runs (or not) on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceRuntime {
    /// Its power state.
    pub power_state: PowerState,
    /// The device of each volume, by volume id.
    pub devices: BTreeMap<String, String>,
    /// The root disk's device name, `/dev/vda`.
    pub root_device: String,
}

/// What to do with the power of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Switch on.
    Start,
    /// Ask the guest to shut down; after `timeout` seconds switch off (at once if 0).
    Stop {
        /// Seconds.
        timeout: u64,
    },
    /// Ask the guest to restart; by force if it does not follow.
    RebootSoft,
    /// Switch off and on.
    RebootHard,
    /// Stop the processors, keep memory.
    Pause,
    /// Undo `Pause`.
    Unpause,
    /// Save memory to disk and switch off.
    Suspend,
    /// Undo `Suspend`.
    Resume,
}

/// Where the console of an instance listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleAddress {
    /// `vnc` or `spice`.
    pub protocol: String,
    /// The host's address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Usage of an instance, for its diagnostics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceDiagnostics {
    /// Its power state, spelled as [`PowerState`].
    pub state: String,
    /// `libvirt` or `fake`.
    pub driver: String,
    /// `qemu`, `kvm` or `fake`.
    pub hypervisor: String,
    /// Nanoseconds per virtual processor.
    pub cpu_time_ns: Vec<u64>,
    /// Memory of the guest, MiB.
    pub memory_max_mb: u64,
    /// What it uses of it, MiB.
    pub memory_used_mb: u64,
    /// Disks.
    pub disks: Vec<DiskUsage>,
    /// Network devices.
    pub nics: Vec<NicUsage>,
    /// Whether a config drive is attached.
    pub config_drive: bool,
}

/// What a disk has carried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskUsage {
    /// `vda`.
    pub device: String,
    /// Bytes read.
    pub read_bytes: i64,
    /// Requests.
    pub read_requests: i64,
    /// Bytes written.
    pub write_bytes: i64,
    /// Requests.
    pub write_requests: i64,
    /// Errors.
    pub errors: i64,
}

/// What a network device has carried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NicUsage {
    /// MAC address.
    pub mac: String,
    /// Bytes received.
    pub rx_bytes: i64,
    /// Packets received.
    pub rx_packets: i64,
    /// Bytes sent.
    pub tx_bytes: i64,
    /// Packets sent.
    pub tx_packets: i64,
}

/// What a compute host is and carries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// The service's host name.
    pub host: String,
    /// The node's name (placement's resource provider).
    pub hypervisor_hostname: String,
    /// `libvirt` or `fake`.
    pub driver: String,
    /// `QEMU` (with or without KVM, as upstream) or `fake`.
    pub hypervisor_type: String,
    /// `7002000` for 7.2.0.
    pub hypervisor_version: u64,
    /// Its address.
    pub host_ip: String,
    /// Processors.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Memory kept for the host itself, MiB.
    pub reserved_memory_mb: u64,
    /// Free memory now, MiB.
    pub free_memory_mb: u64,
    /// Disk, GiB.
    pub local_gb: u64,
    /// Free disk now, GiB.
    pub free_disk_gb: u64,
    /// Free-form facts about the processor.
    pub cpu_info: Value,
    /// (architecture, hypervisor, kind), upstream's `supported_instances`.
    pub supported_instances: Vec<(String, String, String)>,
    /// Traits for placement.
    pub traits: Vec<String>,
    /// Every instance with its power state.
    pub instances: Vec<(String, PowerState)>,
    /// Seconds since the host started.
    pub uptime_seconds: u64,
}

/// What a compute agent does when asked: topic `compute`, exchange `nova`, server = the host's name.
#[async_trait]
pub trait ComputeApi: Send + Sync + 'static {
    /// Makes the instance be as the spec says, and switches it on if the spec says so.
    async fn ensure_instance(
        &self,
        ctx: &RequestContext,
        spec: InstanceSpec,
    ) -> Result<InstanceRuntime>;
    /// Ends it and removes what the host holds of it. Gone already is success.
    async fn destroy_instance(
        &self,
        ctx: &RequestContext,
        uuid: String,
        delete_disks: bool,
    ) -> Result<()>;
    /// Changes its power; being there already is success.
    async fn power(
        &self,
        ctx: &RequestContext,
        uuid: String,
        action: PowerAction,
    ) -> Result<PowerState>;
    /// Attaches a volume, now and for later starts; returns the device. Attached already is success.
    async fn attach_volume(
        &self,
        ctx: &RequestContext,
        uuid: String,
        volume: VolumeSpec,
    ) -> Result<String>;
    /// Detaches a volume; returns when the guest has let go. Not attached is success.
    async fn detach_volume(
        &self,
        ctx: &RequestContext,
        uuid: String,
        volume_id: String,
    ) -> Result<()>;
    /// Tells a running guest that the volume is larger now (bytes).
    async fn extend_volume(
        &self,
        ctx: &RequestContext,
        uuid: String,
        volume_id: String,
        new_size: u64,
    ) -> Result<()>;
    /// Attaches a port. Attached already is success.
    async fn attach_port(&self, ctx: &RequestContext, uuid: String, port: PortSpec) -> Result<()>;
    /// Detaches a port and removes its device. Not attached is success.
    async fn detach_port(&self, ctx: &RequestContext, uuid: String, port_id: String) -> Result<()>;
    /// The end of what the guest wrote to its serial port: `length` lines, everything if `None`.
    async fn console_output(
        &self,
        ctx: &RequestContext,
        uuid: String,
        length: Option<u32>,
    ) -> Result<String>;
    /// Where its graphical console listens.
    async fn vnc_console(&self, ctx: &RequestContext, uuid: String) -> Result<ConsoleAddress>;
    /// Its power state; 404 if the host does not know it.
    async fn instance_state(&self, ctx: &RequestContext, uuid: String) -> Result<PowerState>;
    /// What it uses.
    async fn diagnostics(&self, ctx: &RequestContext, uuid: String) -> Result<InstanceDiagnostics>;
    /// Every instance here.
    async fn list_instances(&self, ctx: &RequestContext) -> Result<Vec<(String, PowerState)>>;
    /// What the host is and carries.
    async fn host_report(&self, ctx: &RequestContext) -> Result<HostReport>;
}

/// What compute agents tell and ask: topic `conductor`, exchange `nova`.
#[async_trait]
pub trait ConductorApi: Send + Sync + 'static {
    /// At start and every few seconds: the host lives, and this is what it carries.
    async fn report_host(&self, ctx: &RequestContext, report: HostReport) -> Result<()>;
    /// A guest changed its power by itself.
    async fn power_state_changed(
        &self,
        ctx: &RequestContext,
        uuid: String,
        state: PowerState,
    ) -> Result<()>;
    /// The instances that belong on this host (those on their way in or out included).
    async fn instances_on_host(&self, ctx: &RequestContext, host: String) -> Result<Vec<String>>;
}
