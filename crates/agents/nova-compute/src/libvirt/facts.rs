//! Counters of a guest and facts about the host, in the words that nova's API and placement use.

use crate::driver::HostFacts;
use base::{Error, Result};
use host_libvirt::{Acceleration, GuestState, HostInfo, Hypervisor};
use nova_types::rpc::InstanceSpec;
use serde_json::{Value, json};
use std::path::Path;

/// COMPAT: the body of `GET /servers/{id}/diagnostics` since 2.48.
pub(super) async fn diagnostics(hypervisor: &Hypervisor, spec: &InstanceSpec) -> Result<Value> {
    let info = hypervisor.info(&spec.uuid).await?;
    let (disks, nics) = hypervisor.stats(&spec.uuid).await?;
    let state = match info.state {
        GuestState::Running => "running",
        GuestState::Paused => "paused",
        GuestState::Off => "shutdown",
        GuestState::Saved => "suspended",
        GuestState::Crashed => "crashed",
    };
    let share = info.cpu_time_ns / u64::from(info.vcpus.max(1));
    let cpus: Vec<_> = (0..info.vcpus)
        .map(|id| json!({"id": id, "time": share, "utilisation": null}))
        .collect();
    let disks: Vec<_> = disks
        .iter()
        .map(|d| {
            json!({"read_bytes": d.read.0, "read_requests": d.read.1, "write_bytes": d.write.0,
                "write_requests": d.write.1, "errors_count": d.errors})
        })
        .collect();
    let nics: Vec<_> = nics
        .iter()
        .map(|n| {
            json!({"mac_address": n.mac, "rx_octets": n.rx.0, "rx_packets": n.rx.1, "rx_errors": 0,
                "rx_drop": 0, "rx_rate": null, "tx_octets": n.tx.0, "tx_packets": n.tx.1, "tx_errors": 0,
                "tx_drop": 0, "tx_rate": null})
        })
        .collect();
    Ok(json!({
        "state": state, "driver": "libvirt", "hypervisor": hypervisor.acceleration().domain_type(),
        "hypervisor_os": "linux", "uptime": null, "config_drive": spec.config_drive,
        "num_cpus": cpus.len(), "num_nics": nics.len(), "num_disks": disks.len(),
        "cpu_details": cpus, "disk_details": disks, "nic_details": nics,
        "memory_details": {"maximum": info.memory_max_kb / 1024, "used": info.memory_kb / 1024},
    }))
}

pub(super) async fn host(hypervisor: &Hypervisor, instances: &Path) -> Result<HostFacts> {
    let info = hypervisor.host_info().await?;
    let disk = nix::sys::statvfs::statvfs(instances).map_err(Error::internal)?;
    let gib = |blocks: u64| (blocks * disk.fragment_size()) >> 30;
    let kind = |virt: &str| ("x86_64".to_string(), virt.to_string(), "hvm".to_string());
    let mut supported = vec![kind("qemu")];
    if hypervisor.acceleration() == Acceleration::Kvm {
        supported.push(kind("kvm"));
    }
    let (sockets, cores, threads) = info.topology;
    Ok(HostFacts {
        driver: "libvirt",
        hypervisor_type: "QEMU".into(),
        hypervisor_version: info.hypervisor_version,
        vcpus: info.cpus,
        memory_mb: info.memory_mb,
        disk_gb: (gib(disk.blocks()), gib(disk.blocks_available())),
        traits: traits(&info, hypervisor.acceleration()),
        cpu_info: json!({"arch": "x86_64", "model": info.cpu_model, "vendor": info.cpu_vendor,
            "topology": {"sockets": sockets, "cores": cores, "threads": threads},
            "features": info.cpu_features}),
        supported_instances: supported,
    })
}

fn traits(info: &HostInfo, acceleration: Acceleration) -> Vec<String> {
    let mut traits: Vec<&str> = vec![
        "COMPUTE_NODE",
        "COMPUTE_VOLUME_EXTEND",
        "COMPUTE_NET_ATTACH_INTERFACE",
        "COMPUTE_NET_VIF_MODEL_VIRTIO",
        "COMPUTE_STORAGE_BUS_VIRTIO",
        "COMPUTE_GRAPHICS_MODEL_CIRRUS",
        "COMPUTE_IMAGE_TYPE_RAW",
        "COMPUTE_IMAGE_TYPE_QCOW2",
        "COMPUTE_IMAGE_TYPE_ISO",
        "COMPUTE_IMAGE_TYPE_VMDK",
        "COMPUTE_IMAGE_TYPE_VHD",
        "COMPUTE_IMAGE_TYPE_VHDX",
        "COMPUTE_IMAGE_TYPE_VDI",
    ];
    // Under translation guests get a plain processor, whatever the host's can do.
    if acceleration == Acceleration::Kvm {
        let known = [
            ("avx", "HW_CPU_X86_AVX"),
            ("avx2", "HW_CPU_X86_AVX2"),
            ("aes", "HW_CPU_X86_AESNI"),
            ("vmx", "HW_CPU_X86_VMX"),
        ];
        let has = |name: &str| info.cpu_features.iter().any(|f| f == name);
        traits.extend(
            known
                .iter()
                .filter(|(name, _)| has(name))
                .map(|(_, word)| *word),
        );
    }
    traits.into_iter().map(str::to_string).collect()
}
