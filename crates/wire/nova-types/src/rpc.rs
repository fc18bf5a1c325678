//! What nova's conductor asks of a compute host, and what a compute host tells the conductor.
//!
//! Every request is a desired state and may be repeated: the conductor's flows are resumed after a crash and ask
//! again. A compute host has no database; all it needs comes in the request.

use base::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The size of a guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FlavorSpec {
    /// The flavor's API id.
    pub flavor_id: String,
    /// Its name.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Root disk, GiB; 0 means as large as the image.
    pub root_gb: u64,
    /// Ephemeral disk, GiB.
    pub ephemeral_gb: u64,
    /// Swap disk, MiB.
    pub swap_mb: u64,
    /// Extra specs.
    pub extra_specs: BTreeMap<String, String>,
}

/// The image of the root disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Glance's id.
    pub id: String,
    /// `qcow2`, `raw`, …
    pub disk_format: String,
    /// Bytes of the image file.
    pub size: u64,
    /// sha512 of the file, hex, where glance knows it.
    pub sha512: Option<String>,
    /// Image properties (`hw_disk_bus`, …).
    pub properties: BTreeMap<String, String>,
}

/// An address of a port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressSpec {
    /// The address.
    pub ip: String,
    /// The subnet's CIDR.
    pub cidr: String,
    /// The subnet's gateway.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// (destination CIDR, next hop).
    pub routes: Vec<(String, String)>,
    /// Whether the guest learns it by DHCP.
    pub dhcp: bool,
}

/// A network card.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PortSpec {
    /// Neutron's port.
    pub id: String,
    /// Neutron's network.
    pub network_id: String,
    /// MAC address.
    pub mac: String,
    /// MTU of the network.
    pub mtu: u32,
    /// Addresses.
    pub addresses: Vec<AddressSpec>,
    /// `bridge`, `ovs`, …
    pub vif_type: String,
    /// A device tag.
    pub tag: Option<String>,
}

impl PortSpec {
    /// The host's device: `tap` and the first 11 characters of the port's id, by which the L2 agent finds it.
    pub fn tap(&self) -> String {
        format!("tap{}", &self.id[..self.id.len().min(11)])
    }
}

/// A volume of a guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Cinder's volume; the guest sees its first 20 characters as the disk's serial.
    pub volume_id: String,
    /// What cinder's driver says about how to reach it: `{driver_volume_type, data}`.
    pub connection_info: Value,
    /// `vdb`.
    pub device: String,
    /// 0 for the root disk.
    pub boot_index: Option<i64>,
    /// Size, GiB.
    pub size_gb: u64,
    /// A device tag.
    pub tag: Option<String>,
}

/// A whole guest as it should be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceSpec {
    /// The server's id; also the domain's uuid.
    pub uuid: String,
    /// The server's name.
    pub name: String,
    /// The name inside the guest.
    pub hostname: String,
    /// Its project.
    pub project_id: String,
    /// Its creator.
    pub user_id: String,
    /// Its size.
    pub flavor: FlavorSpec,
    /// The image of the root disk; none when it boots from a volume.
    pub image: Option<ImageSpec>,
    /// Cards, in order.
    pub ports: Vec<PortSpec>,
    /// Volumes.
    pub volumes: Vec<VolumeSpec>,
    /// Whether a config drive is wanted.
    pub config_drive: bool,
    /// base64, as the user gave it.
    pub user_data: Option<String>,
    /// Name and public key.
    pub key: Option<(String, String)>,
    /// The server's metadata.
    pub metadata: Map<String, Value>,
    /// The administrator's password, for the config drive.
    pub admin_pass: Option<Secret>,
    /// The zone.
    pub availability_zone: String,
    /// Place in a multi-create.
    pub launch_index: u32,
    /// Reservation of a multi-create.
    pub reservation_id: String,
    /// Whether the guest should run once it is there.
    pub power_on: bool,
}

/// nova's power states with upstream's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// 0: not known.
    #[default]
    NoState,
    /// 1.
    Running,
    /// 3.
    Paused,
    /// 4: shut down.
    Shutdown,
    /// 6.
    Crashed,
    /// 7: saved to disk.
    Suspended,
}

impl PowerState {
    /// Upstream's number.
    pub fn code(self) -> i64 {
        match self {
            PowerState::NoState => 0,
            PowerState::Running => 1,
            PowerState::Paused => 3,
            PowerState::Shutdown => 4,
            PowerState::Crashed => 6,
            PowerState::Suspended => 7,
        }
    }

    /// From upstream's number.
    pub fn from_code(code: i64) -> PowerState {
        match code {
            1 => PowerState::Running,
            3 => PowerState::Paused,
            4 => PowerState::Shutdown,
            6 => PowerState::Crashed,
            7 => PowerState::Suspended,
            _ => PowerState::NoState,
        }
    }
}

/// What is to be done to a guest's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum PowerAction {
    /// Power on.
    Start,
    /// Ask the guest to shut down; pull the plug after `timeout_s` seconds (0: at once).
    Stop {
        /// Seconds.
        timeout_s: u64,
    },
    /// Shut down and start, or reset if the guest does not co-operate.
    RebootSoft,
    /// Destroy and start.
    RebootHard,
    /// Freeze.
    Pause,
    /// Thaw.
    Unpause,
    /// Save to disk and stop.
    Suspend,
    /// Restore from disk.
    Resume,
}

/// What a host has (and is), for the scheduler and `openstack hypervisor list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// `CONF.host`.
    pub host: String,
    /// The hypervisor's node name.
    pub hypervisor_hostname: String,
    /// `QEMU`, `fake`.
    pub hypervisor_type: String,
    /// As libvirt counts: 7002000 is 7.2.0.
    pub hypervisor_version: u64,
    /// The host's address.
    pub host_ip: String,
    /// Processors.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Disk of the instances directory, GiB.
    pub local_gb: u64,
    /// Free disk, GiB.
    pub disk_available_gb: u64,
    /// `{"arch", "model", "vendor", "topology", "features"}`.
    pub cpu_info: Value,
    /// (architecture, hypervisor, vm mode): `("x86_64", "qemu", "hvm")`.
    pub supported_instances: Vec<(String, String, String)>,
    /// Guests and their state.
    pub instances: Vec<(String, PowerState)>,
    /// `libvirt` or `fake`.
    pub driver: String,
    /// Traits for placement (`COMPUTE_…`, `HW_CPU_…`).
    pub traits: Vec<String>,
    /// Host uptime, seconds.
    pub uptime_s: u64,
    /// When the report was made, by the host's clock.
    pub reported_at: Timestamp,
}

/// Where a console listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsoleAddress {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

oslo_messaging::interface! {
    /// A compute host, as the conductor sees it. All calls are idempotent by instance (and port, volume) id.
    pub trait ComputeApi, client ComputeClient, topic "compute", exchange "nova", version "6.0" {
        /// Makes disks (image cache, overlays, config drive) and taps, but does not start the guest: the L2 agent
        /// can now wire the taps. Long: downloads the image.
        call fn prepare_instance(&self, spec: InstanceSpec) -> ();
        /// Makes the guest and, if `power_on`, starts it; finds it if it exists. Prepares first what is not prepared.
        call fn ensure_instance(&self, spec: InstanceSpec) -> PowerState;
        /// Destroys the guest and its taps, and its disks if asked; success if there is none.
        call fn destroy_instance(&self, uuid: String, delete_disks: bool) -> ();
        /// Changes the power; returns the state reached. Success if it is already so.
        call fn power(&self, uuid: String, action: PowerAction) -> PowerState;
        /// Attaches a volume, live or for the next start.
        call fn attach_volume(&self, uuid: String, volume: VolumeSpec) -> ();
        /// Detaches; success if it is not attached.
        call fn detach_volume(&self, uuid: String, volume_id: String) -> ();
        /// Tells the guest that its volume grew. `size_gb`: the new size.
        call fn extend_volume(&self, uuid: String, volume_id: String, size_gb: u64) -> ();
        /// Makes the tap and attaches the card.
        call fn attach_port(&self, uuid: String, port: PortSpec) -> ();
        /// Detaches the card and removes the tap.
        call fn detach_port(&self, uuid: String, port_id: String) -> ();
        /// The last `length` lines of the console log (all if none).
        call fn console_output(&self, uuid: String, length: Option<i64>) -> String;
        /// Where the guest's VNC listens.
        call fn vnc_console(&self, uuid: String) -> ConsoleAddress;
        /// The guest's power state; not found if there is no such guest.
        call fn instance_state(&self, uuid: String) -> PowerState;
        /// Counters of the guest, as `GET /servers/{id}/diagnostics` (2.48) names them.
        call fn diagnostics(&self, uuid: String) -> Value;
    }
}

oslo_messaging::interface! {
    /// The conductor, as compute hosts and nova's API see it.
    pub trait ConductorApi, client ConductorClient, topic "conductor", exchange "nova", version "3.0" {
        /// At start and every 10 s. Answers the ids of all instances that belong on the host; a guest that is missing
        /// from two answers in a row is an orphan and may be removed.
        call fn report_host(&self, report: HostReport) -> Vec<String>;
        /// A guest's power changed by itself (it shut down, it crashed).
        cast fn power_state_changed(&self, host: String, uuid: String, state: PowerState);
        /// There is a new flow to run. Only to be quicker: conductors look by themselves each second.
        cast fn wake(&self);
    }
}
