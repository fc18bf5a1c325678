//! A guest without an operating system, on a libvirtd of our own: from its making to its end, nothing left.

use host_imagefmt::{Format, create};
use host_libvirt::{DaemonConf, Disk, DiskSource, DomainSpec, GuestState, Hypervisor, Nic};
use host_privsep::{Privsep, Program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;

const UUID: &str = "6a6d2b5e-0f39-4a5e-9a43-0b5a6d6f7a01";
/// A name of this process alone: a run that broke off leaves its own tap behind, and must not break the next one.
fn tap() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| format!("tapfs{:08x}", std::process::id()))
}

fn spec(folder: &Path, hypervisor: &Hypervisor) -> DomainSpec {
    DomainSpec {
        name: "instance-00000001".into(),
        uuid: UUID.into(),
        display_name: "a <name> & more".into(),
        flavor: "m1.nano".into(),
        owner: ("p".into(), "u".into()),
        vcpus: 1,
        memory_mb: 64,
        acceleration: hypervisor.acceleration(),
        disks: vec![disk(folder, "root", "vda")],
        cdrom: None,
        nics: vec![Nic {
            tap: tap().into(),
            mac: "fa:16:3e:00:00:01".into(),
            mtu: 1450,
        }],
        console_log: folder.join("console.log"),
        vnc_listen: "127.0.0.1".into(),
    }
}

fn disk(folder: &Path, name: &str, target: &str) -> Disk {
    Disk {
        source: DiskSource::File(folder.join(name)),
        format: "qcow2".into(),
        target: target.into(),
        serial: Some(name.into()),
        read_only: false,
        limits: vec![("total_iops_sec", 500)],
    }
}

#[tokio::test]
async fn a_guest_lives_and_dies() {
    let host = Privsep::new();
    if !nix::unistd::geteuid().is_root() || !host.has(Program::Libvirtd) {
        println!("skipped: needs root and libvirtd");
        return;
    }
    let folder = std::env::temp_dir().join(format!("fs-libvirt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["root", "extra"] {
        create(&host, &folder.join(name), Format::Qcow2, 16 << 20, None)
            .await
            .unwrap();
    }
    host.run(
        Program::Ip,
        ["tuntap", "add", tap(), "mode", "tap", "vnet_hdr"],
    )
    .await
    .unwrap();

    let cache = std::env::temp_dir().join("fs-libvirt-capabilities");
    let conf = DaemonConf {
        state: folder.join("libvirt"),
        capability_cache: Some(cache),
    };
    let hypervisor = Hypervisor::start(host.clone(), conf.clone()).await.unwrap();
    let info = hypervisor.host_info().await.unwrap();
    assert!(
        info.cpus > 0 && info.memory_mb > 100 && info.hypervisor_version > 0,
        "{info:?}"
    );

    let spec = spec(&folder, &hypervisor);
    for _ in 0..2 {
        hypervisor.define(&spec).await.unwrap();
        hypervisor.create(UUID).await.unwrap();
    }
    assert_eq!(
        hypervisor.list().await.unwrap(),
        [(UUID.to_string(), GuestState::Running)]
    );
    assert!(hypervisor.vnc(UUID).await.unwrap().1 >= 5900);
    hypervisor.pause(UUID).await.unwrap();
    assert_eq!(
        hypervisor.state(UUID).await.unwrap(),
        Some(GuestState::Paused)
    );
    hypervisor.unpause(UUID).await.unwrap();

    for _ in 0..2 {
        hypervisor
            .attach_disk(UUID, &disk(&folder, "extra", "vdb"))
            .await
            .unwrap();
    }
    for name in ["root", "extra"] {
        assert_eq!(
            hypervisor.disk_limits(UUID, name).await.unwrap(),
            [("total_iops_sec".to_string(), "500".to_string())]
        );
    }
    hypervisor
        .resize_disk(UUID, "extra", 32 << 20)
        .await
        .unwrap();
    let (disks, nics) = hypervisor.stats(UUID).await.unwrap();
    assert_eq!((disks.len(), nics.len()), (2, 1));

    // libvirtd is killed: the guest goes on, the next question starts a new daemon that knows it.
    kill(
        Pid::from_raw(hypervisor.daemon().pid("libvirtd").unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(
        hypervisor.state(UUID).await.unwrap(),
        Some(GuestState::Running)
    );
    assert_eq!(hypervisor.disk_targets(UUID).await.unwrap().len(), 2);

    hypervisor.save(UUID).await.unwrap();
    assert_eq!(
        hypervisor.state(UUID).await.unwrap(),
        Some(GuestState::Saved)
    );
    hypervisor.create(UUID).await.unwrap();
    assert_eq!(
        hypervisor.state(UUID).await.unwrap(),
        Some(GuestState::Running)
    );

    for _ in 0..2 {
        hypervisor.destroy(UUID).await.unwrap();
    }
    assert_eq!(hypervisor.state(UUID).await.unwrap(), Some(GuestState::Off));
    hypervisor.detach_disk(UUID, "extra").await.unwrap();
    hypervisor.detach_disk(UUID, "extra").await.unwrap();
    assert_eq!(hypervisor.disk_targets(UUID).await.unwrap().len(), 1);
    for _ in 0..2 {
        hypervisor.undefine(UUID).await.unwrap();
    }
    assert!(hypervisor.list().await.unwrap().is_empty());
    hypervisor.daemon().stop().await;
    host.run(Program::Ip, ["link", "delete", tap()])
        .await
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
