//! Volumes of a guest that is there already.

use super::LibvirtDriver;
use super::disks::target;
use base::Result;
use nova_types::rpc::VolumeSpec;

impl LibvirtDriver {
    pub(super) async fn plug_volume(&self, uuid: &str, volume: &VolumeSpec) -> Result<()> {
        let targets = self.hypervisor.disk_targets(uuid).await?;
        // Repeated: it keeps the device that it has.
        let own = |serial: &Option<String>| serial.as_deref() == Some(volume.volume_id.as_str());
        let device = match targets.iter().find(|(_, serial)| own(serial)) {
            Some((device, _)) => device.clone(),
            None => target(
                volume,
                &targets.into_iter().map(|(t, _)| t).collect::<Vec<_>>(),
            ),
        };
        let disk = self.volume_disk(volume, device.clone()).await?;
        self.hypervisor.attach_disk(uuid, &disk).await?;
        let kept = VolumeSpec {
            device,
            ..volume.clone()
        };
        self.folder(uuid)
            .change(|spec| {
                spec.volumes.retain(|v| v.volume_id != kept.volume_id);
                spec.volumes.push(kept);
            })
            .await
    }

    pub(super) async fn unplug_volume(&self, uuid: &str, volume_id: &str) -> Result<()> {
        self.hypervisor.detach_disk(uuid, volume_id).await?;
        let spec = self.spec(uuid).await?;
        if let Some(volume) = spec.volumes.iter().find(|v| v.volume_id == volume_id) {
            self.brick.disconnect(&volume.connection_info).await?;
        }
        self.folder(uuid)
            .change(|spec| spec.volumes.retain(|v| v.volume_id != volume_id))
            .await
    }
}
