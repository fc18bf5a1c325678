//! Real guests: disks and taps made here, the rest by host/libvirt.
//!
//! Beside an instance's disks lies `instance.json`, the spec as it is now: a guest is defined anew from it at
//! each start, so what libvirt remembers is never the only copy.

mod config_drive;
mod disks;
mod facts;
mod folder;
mod images;
mod power;
mod taps;
mod volumes;

use crate::ImageSource;
use crate::agent::no_instance;
use crate::config::ComputeConf;
use crate::driver::{HostFacts, VirtDriver};
use async_trait::async_trait;
use base::Result;
use folder::Folder;
use host_brick::Brick;
use host_libvirt::{Cdrom, DaemonConf, DomainSpec, GuestState, Hypervisor, Nic};
use host_privsep::Privsep;
use images::ImageCache;
use nova_types::rpc::{
    ConsoleAddress, InstanceSpec, PortSpec, PowerAction, PowerState, VolumeSpec,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The driver.
pub struct LibvirtDriver {
    hypervisor: Hypervisor,
    privsep: Privsep,
    brick: Brick,
    images: ImageCache,
    instances_path: PathBuf,
    vnc_listen: String,
    my_ip: String,
    soft_reboot: Duration,
}

impl LibvirtDriver {
    /// Starts our libvirtd, or finds it with the guests it has.
    pub async fn start(
        conf: &ComputeConf,
        privsep: Privsep,
        source: Arc<dyn ImageSource>,
    ) -> Result<LibvirtDriver> {
        tokio::fs::create_dir_all(&conf.instances_path).await?;
        let daemon = DaemonConf {
            state: conf.libvirt_path.clone(),
            capability_cache: conf.capability_cache.clone(),
        };
        let hypervisor = Hypervisor::start(privsep.clone(), daemon).await?;
        let images = ImageCache::new(conf, privsep.clone(), source)?;
        let nbd = conf.libvirt_path.join("nbd");
        let brick = Brick::new(&nbd, &conf.host, privsep.clone());
        brick.keep();
        let driver = LibvirtDriver {
            hypervisor,
            brick,
            privsep,
            images,
            instances_path: conf.instances_path.clone(),
            vnc_listen: conf.vnc_listen.clone(),
            my_ip: conf.my_ip.clone(),
            soft_reboot: Duration::from_secs(conf.wait_soft_reboot_seconds),
        };
        let found = driver.list().await?;
        tracing::info!(
            instances = found.len(),
            "found again what this host carries"
        );
        Ok(driver)
    }

    /// libvirt itself, to stop it with the cloud.
    pub fn hypervisor(&self) -> &Hypervisor {
        &self.hypervisor
    }

    fn folder(&self, uuid: &str) -> Folder {
        Folder::new(self.instances_path.join(uuid))
    }

    async fn spec(&self, uuid: &str) -> Result<InstanceSpec> {
        self.folder(uuid)
            .read()
            .await?
            .ok_or_else(|| no_instance(uuid))
    }

    /// Defines the guest as `spec` says.
    async fn define(&self, spec: &InstanceSpec) -> Result<()> {
        let folder = self.folder(&spec.uuid);
        let (project, user) = (spec.project_id.clone(), spec.user_id.clone());
        let domain = DomainSpec {
            name: format!("instance-{}", spec.uuid),
            uuid: spec.uuid.clone(),
            display_name: spec.name.clone(),
            flavor: spec.flavor.name.clone(),
            owner: (project, user),
            vcpus: spec.flavor.vcpus.max(1),
            memory_mb: spec.flavor.memory_mb.max(1),
            acceleration: self.hypervisor.acceleration(),
            disks: self.disks(spec).await?,
            cdrom: spec.config_drive.then(|| Cdrom {
                path: folder.config_drive(),
            }),
            nics: spec.ports.iter().map(nic).collect(),
            console_log: folder.console(),
            vnc_listen: self.vnc_listen.clone(),
        };
        self.hypervisor.define(&domain).await
    }

    async fn power_state(&self, uuid: &str) -> Result<PowerState> {
        Ok(self.state(uuid).await?.unwrap_or(PowerState::NoState))
    }
}

fn nic(port: &PortSpec) -> Nic {
    Nic {
        tap: port.tap(),
        mac: port.mac.clone(),
        mtu: port.mtu,
    }
}

fn translate(state: GuestState) -> PowerState {
    match state {
        GuestState::Running => PowerState::Running,
        GuestState::Paused => PowerState::Paused,
        GuestState::Off => PowerState::Shutdown,
        GuestState::Saved => PowerState::Suspended,
        GuestState::Crashed => PowerState::Crashed,
    }
}

#[async_trait]
impl VirtDriver for LibvirtDriver {
    async fn prepare(&self, spec: &InstanceSpec) -> Result<()> {
        let folder = self.folder(&spec.uuid);
        folder.write(spec).await?;
        self.make_disks(spec).await?;
        if spec.config_drive {
            config_drive::ensure(&self.privsep, spec, &folder).await?;
        }
        for port in &spec.ports {
            taps::ensure(&self.privsep, port).await?;
        }
        Ok(())
    }

    async fn ensure(&self, spec: &InstanceSpec) -> Result<PowerState> {
        let state = self.state(&spec.uuid).await?;
        if !matches!(
            state,
            None | Some(PowerState::Shutdown | PowerState::Crashed)
        ) {
            return self.power_state(&spec.uuid).await;
        }
        self.prepare(spec).await?;
        self.define(spec).await?;
        if spec.power_on {
            self.hypervisor.create(&spec.uuid).await?;
        }
        self.power_state(&spec.uuid).await
    }

    async fn switch_off(&self, uuid: &str) -> Result<()> {
        match self.hypervisor.destroy(uuid).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn destroy(&self, uuid: &str, delete_disks: bool) -> Result<()> {
        let folder = self.folder(uuid);
        let mut taps: BTreeSet<String> = BTreeSet::new();
        let mut volumes = Vec::new();
        if let Some(spec) = folder.read().await? {
            taps.extend(spec.ports.iter().map(PortSpec::tap));
            volumes = spec.volumes;
        }
        match self.hypervisor.taps(uuid).await {
            Ok(found) => taps.extend(found.into_iter().map(|(tap, _)| tap)),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        self.switch_off(uuid).await?;
        self.hypervisor.undefine(uuid).await?;
        for volume in volumes {
            self.brick.disconnect(&volume.connection_info).await?;
        }
        for tap in taps {
            taps::remove(&self.privsep, &tap).await?;
        }
        if delete_disks {
            folder.remove().await?;
        }
        Ok(())
    }

    async fn power(&self, uuid: &str, action: PowerAction) -> Result<PowerState> {
        self.change_power(uuid, action).await?;
        self.power_state(uuid).await
    }

    async fn attach_volume(&self, uuid: &str, volume: &VolumeSpec) -> Result<()> {
        self.plug_volume(uuid, volume).await
    }

    async fn detach_volume(&self, uuid: &str, volume_id: &str) -> Result<()> {
        self.unplug_volume(uuid, volume_id).await
    }

    async fn extend_volume(&self, uuid: &str, volume_id: &str, size_gb: u64) -> Result<()> {
        if !self.hypervisor.is_active(uuid).await? {
            return Ok(());
        }
        self.hypervisor
            .resize_disk(uuid, volume_id, size_gb << 30)
            .await
    }

    async fn attach_port(&self, uuid: &str, port: &PortSpec) -> Result<()> {
        taps::ensure(&self.privsep, port).await?;
        self.hypervisor.attach_nic(uuid, &nic(port)).await?;
        self.folder(uuid)
            .change(|spec| {
                spec.ports.retain(|p| p.id != port.id);
                spec.ports.push(port.clone());
            })
            .await
    }

    async fn detach_port(&self, uuid: &str, port_id: &str) -> Result<()> {
        let spec = self.spec(uuid).await?;
        let Some(port) = spec.ports.iter().find(|p| p.id == port_id) else {
            return Ok(());
        };
        self.hypervisor.detach_nic(uuid, &port.mac).await?;
        taps::remove(&self.privsep, &port.tap()).await?;
        self.folder(uuid)
            .change(|spec| spec.ports.retain(|p| p.id != port_id))
            .await
    }

    async fn console_log(&self, uuid: &str) -> Result<String> {
        self.folder(uuid).console_end().await
    }

    async fn vnc(&self, uuid: &str) -> Result<ConsoleAddress> {
        let (host, port) = self.hypervisor.vnc(uuid).await?;
        let anywhere = matches!(host.as_str(), "0.0.0.0" | "::");
        Ok(ConsoleAddress {
            host: if anywhere { self.my_ip.clone() } else { host },
            port,
        })
    }

    async fn state(&self, uuid: &str) -> Result<Option<PowerState>> {
        Ok(self.hypervisor.state(uuid).await?.map(translate))
    }

    async fn diagnostics(&self, uuid: &str) -> Result<Value> {
        let spec = self.spec(uuid).await?;
        facts::diagnostics(&self.hypervisor, &spec).await
    }

    async fn list(&self) -> Result<Vec<(String, PowerState)>> {
        let guests = self.hypervisor.list().await?;
        let mut found: Vec<_> = guests
            .into_iter()
            .map(|(uuid, s)| (uuid, translate(s)))
            .collect();
        for uuid in folder::list(&self.instances_path).await? {
            if !found.iter().any(|(known, _)| *known == uuid) {
                found.push((uuid, PowerState::NoState));
            }
        }
        Ok(found)
    }

    async fn host(&self) -> Result<HostFacts> {
        facts::host(&self.hypervisor, &self.instances_path).await
    }

    async fn tidy(&self) -> Result<()> {
        let mut used = BTreeSet::new();
        for uuid in folder::list(&self.instances_path).await? {
            if let Some(spec) = self.folder(&uuid).read().await? {
                used.extend(spec.image.map(|i| i.id));
            }
        }
        self.images.remove_unused(&used).await
    }
}
