//! The disks of an instance: root overlay, ephemeral, swap; and all of them, with volumes, as the guest sees them.

use super::LibvirtDriver;
use super::folder::Folder;
use super::images::{Base, fits};
use base::Result;
use host_imagefmt::{Format, create};
use host_libvirt::{Disk, DiskSource};
use host_privsep::Program;
use nova_types::rpc::{InstanceSpec, VolumeSpec};
use std::path::{Path, PathBuf};
use tokio::fs;

impl LibvirtDriver {
    /// Makes what is not there. Each file gets its name when it is complete.
    pub(super) async fn make_disks(&self, spec: &InstanceSpec) -> Result<()> {
        let folder = self.folder(&spec.uuid);
        if let Some(image) = &spec.image
            && !folder.root_disk().exists()
        {
            let base = self.images.get(image, room(spec)).await?;
            let size = root_size(spec, &base)?;
            let fresh = folder.path().join("disk.new");
            let backing = Some((base.path.as_path(), base.format));
            create(&self.privsep, &fresh, Format::Qcow2, size, backing).await?;
            fs::rename(fresh, folder.root_disk()).await?;
        }
        let flavor = &spec.flavor;
        if flavor.ephemeral_gb > 0 && !folder.ephemeral_disk().exists() {
            let fresh = empty(&folder, "eph.new", flavor.ephemeral_gb << 30).await?;
            let options = ["-q", "-F", "-t", "ext4", "-L", "ephemeral0"];
            self.privsep
                .command(Program::Mke2fs)
                .args(options)
                .arg(&fresh)
                .run()
                .await?;
            fs::rename(fresh, folder.ephemeral_disk()).await?;
        }
        if flavor.swap_mb > 0 && !folder.swap_disk().exists() {
            let fresh = empty(&folder, "swap.new", flavor.swap_mb << 20).await?;
            self.privsep
                .command(Program::Mkswap)
                .arg(&fresh)
                .run()
                .await?;
            fs::rename(fresh, folder.swap_disk()).await?;
        }
        Ok(())
    }

    /// Every disk, the one to boot from first.
    pub(super) async fn disks(&self, spec: &InstanceSpec) -> Result<Vec<Disk>> {
        let folder = self.folder(&spec.uuid);
        let mut disks = Vec::new();
        let mut volumes: Vec<&VolumeSpec> = spec.volumes.iter().collect();
        volumes.sort_by_key(|v| v.boot_index.filter(|i| *i >= 0).unwrap_or(i64::MAX));
        let mut rest = volumes.into_iter();
        if spec.image.is_some() {
            disks.push(local(folder.root_disk(), "qcow2", "vda"));
        } else if let Some(root) = rest.next() {
            disks.push(self.volume_disk(root, target(root, &[])).await?);
        }
        // The conductor chose devices for volumes; what is local takes what they leave.
        let rest: Vec<&VolumeSpec> = rest.collect();
        let mut taken: Vec<String> = disks.iter().map(|d| d.target.clone()).collect();
        taken.extend(rest.iter().map(|v| short(&v.device).to_string()));
        let extras = [
            (spec.flavor.ephemeral_gb, folder.ephemeral_disk()),
            (spec.flavor.swap_mb, folder.swap_disk()),
        ];
        for (_, path) in extras.into_iter().filter(|(size, _)| *size > 0) {
            let name = free(&taken);
            taken.push(name.clone());
            disks.push(local(path, "raw", &name));
        }
        for volume in rest {
            let used: Vec<String> = disks.iter().map(|d| d.target.clone()).collect();
            disks.push(self.volume_disk(volume, target(volume, &used)).await?);
        }
        Ok(disks)
    }

    /// A volume as a disk; `target` was chosen by the caller.
    pub(super) async fn volume_disk(&self, volume: &VolumeSpec, target: String) -> Result<Disk> {
        let device = self.brick.connect(&volume.connection_info).await?;
        let source = match device.source {
            host_brick::Source::Path(path) if device.block => DiskSource::Block(path),
            host_brick::Source::Path(path) => DiskSource::File(path),
            host_brick::Source::Nbd {
                host, port, export, ..
            } => DiskSource::Nbd(host, port, export),
        };
        Ok(Disk {
            source,
            format: device.format,
            target,
            serial: Some(volume.volume_id.clone()),
            read_only: device.read_only,
            limits: device.limits,
        })
    }
}

/// How large the flavor wants the root disk; nothing: as large as the image.
fn room(spec: &InstanceSpec) -> Option<u64> {
    Some(spec.flavor.root_gb << 30).filter(|bytes| *bytes > 0)
}

fn root_size(spec: &InstanceSpec, base: &Base) -> Result<u64> {
    let room = room(spec);
    fits(base.virtual_size, room)?;
    Ok(room.unwrap_or(base.virtual_size))
}

async fn empty(folder: &Folder, name: &str, size: u64) -> Result<PathBuf> {
    let path = folder.path().join(name);
    let file = fs::File::create(&path).await?;
    file.set_len(size).await?;
    Ok(path)
}

fn local(path: impl AsRef<Path>, format: &str, target: &str) -> Disk {
    Disk {
        source: DiskSource::File(path.as_ref().to_path_buf()),
        format: format.into(),
        target: target.into(),
        serial: None,
        read_only: false,
        limits: Vec::new(),
    }
}

fn short(device: &str) -> &str {
    device.strip_prefix("/dev/").unwrap_or(device)
}

/// The device a volume asks for, unless it is taken or of a bus that guests here do not have.
pub(super) fn target(volume: &VolumeSpec, taken: &[String]) -> String {
    let wanted = short(&volume.device);
    let usable =
        wanted.len() >= 3 && wanted.starts_with("vd") && !taken.iter().any(|t| t == wanted);
    if usable {
        wanted.to_string()
    } else {
        free(taken)
    }
}

/// The first of vda, vdb, … that is free.
fn free(taken: &[String]) -> String {
    let letters = || 'a'..='z';
    let one = letters().map(|c| format!("vd{c}"));
    let two = letters().flat_map(|a| letters().map(move |b| format!("vd{a}{b}")));
    one.chain(two)
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| "vdaaa".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_given_once() {
        let volume = |device: &str| VolumeSpec {
            device: device.into(),
            ..VolumeSpec::default()
        };
        let taken = ["vda".to_string(), "vdb".to_string()];
        assert_eq!(target(&volume("/dev/vdd"), &taken), "vdd");
        assert_eq!(target(&volume("vdb"), &taken), "vdc");
        assert_eq!(target(&volume("/dev/sdx"), &taken), "vdc");
        assert_eq!(target(&volume(""), &[]), "vda");
        let all: Vec<String> = ('a'..='z').map(|c| format!("vd{c}")).collect();
        assert_eq!(free(&all), "vdaa");
    }
}
