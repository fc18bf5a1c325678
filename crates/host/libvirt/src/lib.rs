//! The hypervisor: a libvirtd of the cloud's own, guests as typed values, and the verbs on them.
//!
//! Nothing of a libvirt that the host may have is touched: the daemons run in a mount namespace in which
//! libvirt's folders are the cloud's. Guests are children of nobody: they survive our death and libvirtd's.

mod daemon;
mod devices;
mod domain;
mod element;
mod guest;
mod hypervisor;
mod kvm;

pub use daemon::{Daemon, DaemonConf};
pub use domain::{Acceleration, Cdrom, Disk, DiskSource, DomainSpec, Nic};
pub use guest::{DiskStats, GuestInfo, GuestState, NicStats};
pub use hypervisor::{HostInfo, Hypervisor};
pub use kvm::probe as probe_kvm;
