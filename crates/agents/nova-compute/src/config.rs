//! The `[nova_compute]` section.

use base::{Error, Result};
use std::path::PathBuf;

oslo_config::section! {
    /// A compute host.
    pub struct ComputeConf in "nova_compute" {
        /// The name under which the host is known; the machine's own name if empty.
        pub host: String = String::new(),
        /// What makes guests: `libvirt.LibvirtDriver` or `fake.FakeDriver` (no guests at all, for tests and demonstrations).
        pub compute_driver: String = "libvirt.LibvirtDriver".into(),
        /// Where disks of guests lie.
        pub instances_path: PathBuf = "/var/lib/nova/instances".into(),
        /// Where our own libvirtd keeps its files; nothing of a libvirtd of the host is used.
        pub libvirt_path: PathBuf = "/var/lib/nova/libvirt".into(),
        /// Where facts about emulators are kept, for all clouds of one machine: asking takes seconds.
        pub capability_cache: Option<PathBuf> = Some("/var/cache/ferrostack/capabilities".into()),
        /// The host's address, for the list of hypervisors and for consoles.
        pub my_ip: String = "127.0.0.1".into(),
        /// The address on which consoles of guests listen.
        pub vnc_listen: String = "127.0.0.1".into(),
        /// Whether images are kept as raw files in the cache: faster guests, more disk.
        pub force_raw_images: bool = true,
        /// Seconds until a cached image that no guest uses is removed; 0 keeps them.
        pub remove_unused_original_minimum_age_seconds: u64 = 86_400,
        /// Seconds that a guest has for a soft reboot before it is done by force.
        pub wait_soft_reboot_seconds: u64 = 60,
        /// Seconds between reports to the conductor.
        pub report_interval: u64 = 10,
        /// Seconds between looks at the power of guests.
        pub power_poll_interval: u64 = 2,
        /// Processors of a fake host.
        pub fake_vcpus: u32 = 1000,
        /// Memory of a fake host, MiB.
        pub fake_memory_mb: u64 = 800_000,
        /// Disk of a fake host, GiB.
        pub fake_disk_gb: u64 = 600_000,
        /// Milliseconds that a fake driver takes for anything.
        pub fake_delay_ms: u64 = 20,
        /// How many fake hosts this process stands for, to see how a large cloud behaves: `HOST-1` to `HOST-N`, each with
        /// its own name on the bus, heartbeat, hypervisor and provider in placement. With 1 it is `HOST` itself.
        pub fake_hosts: u32 = 1,
    }
}

impl ComputeConf {
    pub(crate) fn with_host_name(mut self) -> Result<ComputeConf> {
        if self.host.is_empty() {
            let name = nix::unistd::gethostname().map_err(Error::internal)?;
            self.host = name.to_string_lossy().into_owned();
        }
        Ok(self)
    }

    /// The hosts that this process stands for.
    pub(crate) fn hosts(self) -> Result<Vec<ComputeConf>> {
        let conf = self.with_host_name()?;
        if conf.fake_hosts <= 1 {
            return Ok(vec![conf]);
        }
        if conf.compute_driver != FAKE {
            return Err(Error::bad_request(format!(
                "[nova_compute] fake_hosts: only {FAKE} makes several hosts of one."
            )));
        }
        let one = |n: u32| ComputeConf {
            host: format!("{}-{n}", conf.host),
            fake_hosts: 1,
            ..conf.clone()
        };
        Ok((1..=conf.fake_hosts).map(one).collect())
    }
}

/// The driver without guests.
pub(crate) const FAKE: &str = "fake.FakeDriver";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fake_hosts_are_many() {
        let conf = |driver: &str, fake_hosts| ComputeConf {
            host: "rack".into(),
            compute_driver: driver.into(),
            fake_hosts,
            ..ComputeConf::default()
        };
        let names = |conf: ComputeConf| -> Vec<String> {
            let hosts = conf.hosts().unwrap().into_iter();
            hosts.map(|c| c.host).collect()
        };
        assert_eq!(names(conf(FAKE, 1)), ["rack"]);
        assert_eq!(names(conf(FAKE, 3)), ["rack-1", "rack-2", "rack-3"]);
        assert_eq!(names(conf("libvirt.LibvirtDriver", 1)), ["rack"]);
        assert!(conf("libvirt.LibvirtDriver", 2).hosts().is_err());
    }
}
