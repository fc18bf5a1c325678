//! A host without guests: it remembers what it was asked for and says so. For tests of the cloud around it and
//! for demonstrations. Its guests are files, so that they outlive the process as real ones do.

use crate::agent::no_instance;
use crate::config::ComputeConf;
use crate::driver::{HostFacts, VirtDriver};
use async_trait::async_trait;
use base::{Error, Result};
use nova_types::rpc::{
    ConsoleAddress, InstanceSpec, PortSpec, PowerAction, PowerState, VolumeSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// The driver.
pub struct FakeDriver {
    folder: PathBuf,
    delay: Duration,
    vcpus: u32,
    memory_mb: u64,
    disk_gb: u64,
}

#[derive(Serialize, Deserialize)]
struct Guest {
    spec: InstanceSpec,
    state: PowerState,
}

impl FakeDriver {
    /// Takes up the guests of an earlier process.
    pub fn open(conf: &ComputeConf) -> Result<FakeDriver> {
        let folder = conf.instances_path.join(format!("fake-{}", conf.host));
        fs::create_dir_all(&folder)?;
        Ok(FakeDriver {
            folder,
            delay: Duration::from_millis(conf.fake_delay_ms),
            vcpus: conf.fake_vcpus,
            memory_mb: conf.fake_memory_mb,
            disk_gb: conf.fake_disk_gb,
        })
    }

    async fn work(&self) {
        tokio::time::sleep(self.delay).await;
    }

    fn find(&self, uuid: &str) -> Result<Option<Guest>> {
        match fs::read(self.folder.join(format!("{uuid}.json"))) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn get(&self, uuid: &str) -> Result<Guest> {
        self.find(uuid)?.ok_or_else(|| no_instance(uuid))
    }

    /// All of them, by id.
    fn guests(&self) -> Result<Vec<Guest>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let path = entry.path();
            let uuid = path.file_stem().and_then(|s| s.to_str());
            let is_guest = path.extension().is_some_and(|e| e == "json");
            if let Some(uuid) = uuid.filter(|_| is_guest) {
                found.extend(self.find(uuid)?);
            }
        }
        found.sort_by(|a, b| a.spec.uuid.cmp(&b.spec.uuid));
        Ok(found)
    }

    fn put(&self, mut guest: Guest) -> Result<()> {
        // The password has no place on a disk.
        guest.spec.admin_pass = None;
        let path = self.folder.join(format!("{}.json", guest.spec.uuid));
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&guest)?)?;
        fs::rename(fresh, path)?;
        Ok(())
    }

    async fn change(
        &self,
        uuid: &str,
        change: impl FnOnce(&mut Guest) + Send,
    ) -> Result<PowerState> {
        self.work().await;
        let mut guest = self.get(uuid)?;
        change(&mut guest);
        let state = guest.state;
        self.put(guest)?;
        Ok(state)
    }
}

#[async_trait]
impl VirtDriver for FakeDriver {
    async fn prepare(&self, spec: &InstanceSpec) -> Result<()> {
        self.work().await;
        match self.find(&spec.uuid)? {
            Some(_) => Ok(()),
            None => self.put(Guest {
                spec: spec.clone(),
                state: PowerState::NoState,
            }),
        }
    }

    async fn ensure(&self, spec: &InstanceSpec) -> Result<PowerState> {
        self.work().await;
        let before = self
            .find(&spec.uuid)?
            .map_or(PowerState::NoState, |g| g.state);
        let state = match before {
            PowerState::NoState | PowerState::Shutdown if spec.power_on => PowerState::Running,
            PowerState::NoState => PowerState::Shutdown,
            there => there,
        };
        self.put(Guest {
            spec: spec.clone(),
            state,
        })?;
        Ok(state)
    }

    async fn switch_off(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn destroy(&self, uuid: &str, _: bool) -> Result<()> {
        self.work().await;
        match fs::remove_file(self.folder.join(format!("{uuid}.json"))) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn power(&self, uuid: &str, action: PowerAction) -> Result<PowerState> {
        self.change(uuid, |guest| {
            guest.state = match (action, guest.state) {
                (PowerAction::Stop { .. }, _) => PowerState::Shutdown,
                (PowerAction::Pause, PowerState::Running) => PowerState::Paused,
                (PowerAction::Suspend, PowerState::Running | PowerState::Paused) => {
                    PowerState::Suspended
                }
                (PowerAction::Pause | PowerAction::Suspend, other) => other,
                _ => PowerState::Running,
            }
        })
        .await
    }

    async fn attach_volume(&self, uuid: &str, volume: &VolumeSpec) -> Result<()> {
        self.change(uuid, |guest| {
            guest
                .spec
                .volumes
                .retain(|v| v.volume_id != volume.volume_id);
            guest.spec.volumes.push(volume.clone());
        })
        .await
        .map(drop)
    }

    async fn detach_volume(&self, uuid: &str, volume_id: &str) -> Result<()> {
        self.change(uuid, |guest| {
            guest.spec.volumes.retain(|v| v.volume_id != volume_id)
        })
        .await
        .map(drop)
    }

    async fn extend_volume(&self, uuid: &str, volume_id: &str, size_gb: u64) -> Result<()> {
        let attached = self
            .get(uuid)?
            .spec
            .volumes
            .iter()
            .any(|v| v.volume_id == volume_id);
        if !attached {
            return Err(Error::not_found(format!(
                "Volume {volume_id} is not attached."
            )));
        }
        self.change(uuid, |guest| {
            for volume in guest
                .spec
                .volumes
                .iter_mut()
                .filter(|v| v.volume_id == volume_id)
            {
                volume.size_gb = size_gb;
            }
        })
        .await
        .map(drop)
    }

    async fn attach_port(&self, uuid: &str, port: &PortSpec) -> Result<()> {
        self.change(uuid, |guest| {
            guest.spec.ports.retain(|p| p.id != port.id);
            guest.spec.ports.push(port.clone());
        })
        .await
        .map(drop)
    }

    async fn detach_port(&self, uuid: &str, port_id: &str) -> Result<()> {
        self.change(uuid, |guest| guest.spec.ports.retain(|p| p.id != port_id))
            .await
            .map(drop)
    }

    async fn console_log(&self, uuid: &str) -> Result<String> {
        let spec = self.get(uuid)?.spec;
        let addresses = spec
            .ports
            .iter()
            .flat_map(|p| &p.addresses)
            .map(|a| a.ip.as_str());
        let addresses = addresses.collect::<Vec<_>>().join(" ");
        Ok(format!(
            "[    0.000000] Linux version 6.1.0-fake (fake driver: there is no guest)\n\
             [    0.000000] Command line: root=/dev/vda1 console=ttyS0\n\
             [    0.004000] smpboot: Allowing {} CPUs, 0 hotplug CPUs\n\
             [    0.010000] Memory: {}K available\n\
             [    0.500000] virtio_blk virtio0: [vda]\n\
             [    1.000000] EXT4-fs (vda1): mounted filesystem\n\
             fake: network: {addresses}\n\
             fake: instance-id: {}\n\
             login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root.\n\
             {} login: \n",
            spec.flavor.vcpus,
            spec.flavor.memory_mb * 1024,
            spec.uuid,
            spec.hostname,
        ))
    }

    async fn vnc(&self, uuid: &str) -> Result<ConsoleAddress> {
        self.get(uuid)?;
        // COMPAT: the name and port of upstream's fake driver.
        Ok(ConsoleAddress {
            host: "fakevncconsole.com".into(),
            port: 6969,
        })
    }

    async fn state(&self, uuid: &str) -> Result<Option<PowerState>> {
        let found = self.find(uuid)?.map(|g| g.state);
        Ok(found.filter(|state| *state != PowerState::NoState))
    }

    async fn diagnostics(&self, uuid: &str) -> Result<Value> {
        let Guest { spec, state } = self.get(uuid)?;
        let cpu = |id: u32| json!({"id": id, "time": 17_300_000_000u64, "utilisation": 15});
        let cpus: Vec<_> = (0..spec.flavor.vcpus).map(cpu).collect();
        let nics = spec.ports.iter().map(|p| {
            json!({"mac_address": p.mac, "rx_octets": 2_070_139, "rx_errors": 0, "rx_drop": 0,
                "rx_packets": 26_701, "rx_rate": null, "tx_octets": 140_208, "tx_errors": 0,
                "tx_drop": 0, "tx_packets": 662, "tx_rate": null})
        });
        let nics: Vec<_> = nics.collect();
        let disk = json!({"read_bytes": 262_144, "read_requests": 112, "write_bytes": 5_778_432,
            "write_requests": 488, "errors_count": 1});
        // COMPAT: the API's schema knows drivers that make guests only; upstream's fake calls itself libvirt, too.
        Ok(json!({
            "state": if state == PowerState::NoState { "pending".into() } else { json!(state) },
            "driver": "libvirt", "hypervisor": "fake", "hypervisor_os": "fake", "uptime": 46_664,
            "config_drive": spec.config_drive, "num_cpus": cpus.len(), "num_nics": nics.len(),
            "num_disks": 1, "cpu_details": cpus, "nic_details": nics, "disk_details": [disk],
            "memory_details": {"maximum": spec.flavor.memory_mb, "used": spec.flavor.memory_mb / 2},
        }))
    }

    async fn list(&self) -> Result<Vec<(String, PowerState)>> {
        let guests = self.guests()?.into_iter();
        Ok(guests.map(|guest| (guest.spec.uuid, guest.state)).collect())
    }

    async fn host(&self) -> Result<HostFacts> {
        let guests = self.guests()?.into_iter();
        let used: u64 = guests
            .map(|g| g.spec.flavor.root_gb + g.spec.flavor.ephemeral_gb)
            .sum();
        Ok(HostFacts {
            driver: "fake",
            hypervisor_type: "fake".into(),
            hypervisor_version: 1,
            vcpus: self.vcpus,
            memory_mb: self.memory_mb,
            disk_gb: (self.disk_gb, self.disk_gb.saturating_sub(used)),
            cpu_info: json!({"arch": "x86_64", "model": "fake", "vendor": "fake",
                "topology": {"cores": 1, "sockets": self.vcpus, "threads": 1}, "features": []}),
            supported_instances: vec![("x86_64".into(), "fake".into(), "hvm".into())],
            traits: [
                "COMPUTE_NODE",
                "COMPUTE_VOLUME_EXTEND",
                "COMPUTE_NET_ATTACH_INTERFACE",
            ]
            .map(str::to_string)
            .into(),
        })
    }

    async fn tidy(&self) -> Result<()> {
        Ok(())
    }
}
